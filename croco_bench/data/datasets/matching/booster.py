"""Booster: rooms with glass and mirrors, in several lights; its balanced part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from croco_bench.data.catalogue import is_miniature
from croco_bench.data.datasets.matching.image_pairs import ViewPair, plain
from croco_bench.data.datasets.matching.stereo import DisparityReader
from croco_bench.data.formats.disparity import read_npy_disparity
from croco_bench.data.formats.layout import base_of, file_names, match, require, subfolders

Split = Literal["train", "test"]
LINK = "https://cvlab-unibo.github.io/booster-web"
ARCHIVES = ("booster_gt",)


def open_split(root: Path, split: Split, *, scenes: Sequence[str] | None = None) -> DisparityReader:
    """All pairs, or those of some scenes; the lights of a scene share one disparity. `test` has none.

    CroCo v2 selects by the last two of `scenes_of` and trains on the others.

    Raises:
        DataError: files are missing.
    """
    base, present = _base(root, split), scenes_of(root, split)
    require(base / split / "balanced", scenes or (), present, LINK)
    pairs = [pair for scene in (present if scenes is None else scenes) for pair in _pairs(base, split, scene)]
    truth = plain("disparity_px", read_npy_disparity)
    return DisparityReader("booster", split, base, pairs, truth, miniature=is_miniature(root))


def scenes_of(root: Path, split: Split) -> list[str]:
    """The scenes that are there.

    Raises:
        DataError: none is.
    """
    return subfolders(_base(root, split) / split / "balanced", LINK)


def _base(root: Path, split: Split) -> Path:
    return base_of(root, ARCHIVES, f"{split}/balanced", LINK)


def _pairs(base: Path, split: Split, scene: str) -> Iterator[ViewPair]:
    folder = f"{split}/balanced/{scene}"
    lefts = file_names(base / folder / "camera_00", "", ".png", LINK)
    match(base / folder / "camera_02", lefts, file_names(base / folder / "camera_02", "", ".png", LINK), LINK)
    if split == "train":
        require(base / folder, ("disp_00.npy",), file_names(base / folder, "disp_", ".npy", LINK), LINK)
    for left in lefts:
        yield ViewPair(
            id=f"{scene}/{left.removesuffix('.png')}",
            group=scene,
            image1=f"{folder}/camera_00/{left}",
            image2=f"{folder}/camera_02/{left}",
            truth=f"{folder}/disp_00.npy" if split == "train" else None,
        )
