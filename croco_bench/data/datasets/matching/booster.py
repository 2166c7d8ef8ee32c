"""Booster: indoor scenes with glass and mirrors under several lights; its balanced part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from croco_bench.data.checks.image_pairs import check_splits
from croco_bench.data.checks.run_check import Finding
from croco_bench.data.datasets.matching.image_pairs import MatchingReader, PairPaths, read_truth_file
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.disparity import read_npy_disparity
from croco_bench.data.formats.layout import base_of, file_names, require, require_exactly, subfolders

Split = Literal["train", "test"]
LINK = "https://cvlab-unibo.github.io/booster-web"
PAIRS: dict[Split, int] = {"train": 228, "test": 191}
ARCHIVES = ("booster_gt",)


def open_split(root: Path, split: Split, *, scenes: Sequence[str] | None = None) -> MatchingReader:
    """All pairs, or those of some scenes; the lights of a scene share one disparity. `test` has none.

    CroCo v2 selects by the last two of `scenes_of` and trains on the others.

    Raises:
        DataError: files are missing.
    """
    base, present = _base(root, split), scenes_of(root, split)
    require(base / split / "balanced", scenes or (), present, LINK)
    pairs = [pair for scene in (present if scenes is None else scenes) for pair in _pairs(base, split, scene)]
    read_truth = partial(read_truth_file, "disparity_px", read_npy_disparity)
    return MatchingReader("booster", split, base, pairs, read_truth, miniature=is_miniature(root))


def scenes_of(root: Path, split: Split) -> list[str]:
    """The scenes that are there.

    Raises:
        DataError: none is.
    """
    return subfolders(_base(root, split) / split / "balanced", LINK)


def _base(root: Path, split: Split) -> Path:
    return base_of(root, ARCHIVES, f"{split}/balanced", LINK)


def _pairs(base: Path, split: Split, scene: str) -> Iterator[PairPaths]:
    folder = f"{split}/balanced/{scene}"
    lefts = file_names(base / folder / "camera_00", "", ".png", LINK)
    require_exactly(base / folder / "camera_02", lefts, file_names(base / folder / "camera_02", "", ".png", LINK), LINK)
    if split == "train":
        require(base / folder, ("disp_00.npy",), file_names(base / folder, "disp_", ".npy", LINK), LINK)
    for left in lefts:
        yield PairPaths(
            id=f"{scene}/{left.removesuffix('.png')}",
            group=scene,
            image1=f"{folder}/camera_00/{left}",
            image2=f"{folder}/camera_02/{left}",
            truth=f"{folder}/disp_00.npy" if split == "train" else None,
        )


def check(root: Path) -> list[Finding]:
    """Findings on both splits of the balanced part."""
    return check_splits(root, LINK, open_split, PAIRS)
