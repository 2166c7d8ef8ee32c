"""ETH3D's low-resolution two-view stereo: grey images, indoors and outdoors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from croco_bench.data.checks.image_pairs import check_splits
from croco_bench.data.checks.run_check import Finding
from croco_bench.data.datasets.matching.image_pairs import MatchingReader
from croco_bench.data.datasets.matching.middlebury import evaluation_pair, read_masked_truth
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.layout import require, subfolders
from croco_bench.errors import AbsentError

Split = Literal["train", "test"]
LINK = "https://www.eth3d.net/datasets"
PAIRS: dict[Split, int] = {"train": 27, "test": 20}
# CroCo v2 selects by these scenes and trains on the others.
SELECT_SCENES = ("delivery_area_3s", "electro_3l", "playground_3l")
# CroCo's names of the folders, and the archives'.
_FOLDERS: dict[Split, tuple[str, str]] = {
    "train": ("train", "two_view_training"),
    "test": ("test", "two_view_test"),
}


def open_split(root: Path, split: Split, *, scenes: Sequence[str] | None = None) -> MatchingReader:
    """All pairs, or those of some scenes; `occluded` is there where the mask of non-occluded pixels is.

    `test` has no disparity: it is for submissions.

    Raises:
        DataError: files are missing.
    """
    folder = next((name for name in _FOLDERS[split] if (root / name).is_dir()), None)
    if folder is None:
        raise AbsentError(f"{root} holds no folder {' or '.join(_FOLDERS[split])}", f"get {LINK}")
    present = subfolders(root / folder, LINK)
    require(root / folder, scenes or (), present, LINK)
    chosen = present if scenes is None else scenes
    pairs = [evaluation_pair(root, folder, _truths(root, folder, split), scene, LINK) for scene in chosen]
    mini, released = is_miniature(root), PAIRS[split] if scenes is None else len(scenes)
    return MatchingReader("eth3d", split, root, pairs, read_masked_truth, miniature=mini, released=released)


def _truths(root: Path, folder: str, split: Split) -> str | None:
    """The folder of truth. Both archives hold the scenes' folders alone: unpacked in one place, images and truth are together."""
    if split == "test":
        return None
    return f"{folder}_gt" if (root / f"{folder}_gt").is_dir() else folder


def check(root: Path) -> list[Finding]:
    """Findings on both splits."""
    return check_splits(root, LINK, open_split, PAIRS)
