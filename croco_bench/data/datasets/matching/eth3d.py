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
_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "two_view_training"),
    "test": ("test", "two_view_test", "two_view_testing"),
}


def open_split(root: Path, split: Split, *, scenes: Sequence[str] | None = None) -> MatchingReader:
    """All pairs, or those of some scenes; `occluded` is there where the mask of non-occluded pixels is.

    `test` has no disparity: it is for submissions.

    Raises:
        DataError: files are missing.
    """
    folder = next((name for name in _FOLDERS[split] if (root / name).is_dir()), ".")
    present = subfolders(root / folder, LINK) if folder != "." else _scenes_in(root, split)
    require(root / folder, scenes or (), present, LINK)
    chosen = present if scenes is None else scenes
    pairs = [evaluation_pair(root, folder, _truths(root, folder, split), scene, LINK) for scene in chosen]
    mini, released = is_miniature(root), PAIRS[split] if scenes is None else len(scenes)
    return MatchingReader("eth3d", split, root, pairs, read_masked_truth, miniature=mini, released=released)


def _scenes_in(root: Path, split: Split) -> list[str]:
    """The scenes of a split in the dataset's own folder: those of `train` have truth beside their images.

    Raises:
        AbsentError: there is none.
    """
    known = {path.parent.name for path in root.glob("*/disp0GT.pfm")}
    scenes = sorted(
        path.parent.name for path in root.glob("*/im0.png") if (path.parent.name in known) == (split == "train")
    )
    if not scenes:
        folders = " or ".join(_FOLDERS[split])
        raise AbsentError(f"{root} holds no folder {folders}, nor scenes of that split", f"get {LINK}")
    return scenes


def _truths(root: Path, folder: str, split: Split) -> str | None:
    """The folder of truth. Both archives hold the scenes' folders alone: unpacked in one place, images and truth are together."""
    if split == "test":
        return None
    return f"{folder}_gt" if folder != "." and (root / f"{folder}_gt").is_dir() else folder


def check(root: Path) -> list[Finding]:
    """Findings on both splits."""
    return check_splits(root, LINK, open_split, PAIRS)
