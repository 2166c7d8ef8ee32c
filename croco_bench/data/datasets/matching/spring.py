"""Spring: scenes of an animated film in high resolution, with four truth values for every pixel of an image.

Samples have `flow_px` (H, W, 2) and `valid` (H, W) for training, the mean of the known values among a pixel's four; and
`flow4_px` (H, W, 4, 2) and `valid4` (H, W, 4) for evaluation, upper left, upper right, lower left, lower right (the error of a
prediction is the smallest of the four). All are in pixels of the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from croco_bench.data.checks.image_pairs import Part, check_parts
from croco_bench.data.checks.run_check import Finding
from croco_bench.data.datasets.matching.image_pairs import MatchingReader, PairPaths
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.disparity import read_dsp5
from croco_bench.data.formats.flow import read_flo5
from croco_bench.data.formats.layout import (
    base_of,
    check_choice,
    frames_with_successor,
    numbered,
    require,
    require_exactly,
    subfolders,
)
from croco_bench.errors import DataError
from croco_bench.types import Array, Sample

Split = Literal["train", "test"]
LINK = "https://spring-benchmark.org"
DIRECTIONS, CAMERAS = ("FW", "BW"), ("left", "right")
# CroCo v2 selects by this sequence and trains on the others.
SELECT_SCENES = ("0041",)
SELECT_PAIRS = 380
# Pairs of both cameras and directions, and of stereo.
PAIRS: dict[Split, int] = {"train": 19_852, "test": 3_960}
STEREO_PAIRS: dict[Split, int] = {"train": 5_000, "test": 2_000}


def open_split(
    root: Path,
    split: Split,
    *,
    scenes: Sequence[str] | None = None,
    directions: Sequence[str] = DIRECTIONS,
    cameras: Sequence[str] = CAMERAS,
) -> MatchingReader:
    """Pairs of both cameras, forwards and backwards in time, or of some. `test` has no flow: it is for submissions.

    Raises:
        DataError: files are missing.
        UsageError: no such direction or camera.
    """
    check_choice("direction of Spring", directions, DIRECTIONS)
    check_choice("camera of Spring", cameras, CAMERAS)
    base, present = _base(root, split), scenes_of(root, split)
    require(base / split, scenes or (), present, LINK)
    pairs = [
        pair
        for camera in cameras
        for direction in directions
        for scene in (present if scenes is None else scenes)
        for pair in _pairs(base, split, scene, direction, camera)
    ]
    return MatchingReader("spring", split, base, pairs, _flow, miniature=is_miniature(root))


def open_stereo(
    root: Path, split: Split, *, scenes: Sequence[str] | None = None, cameras: Sequence[str] = ("left",)
) -> MatchingReader:
    """All frames as stereo pairs, or those of some sequences. `test` has no disparity: it is for submissions.

    Samples have `disparity_px` (H, W), and `disparity4_px` and `valid4` (H, W, 4) in the order of flow; 0 is a known
    disparity. With the camera `right`, the first view is the right one, so that points lie further right in the second:
    mirror both to get pairs like the others.

    Raises:
        DataError: files are missing.
        UsageError: no such camera.
    """
    check_choice("camera of Spring", cameras, CAMERAS)
    base, present = _base(root, split), scenes_of(root, split)
    require(base / split, scenes or (), present, LINK)
    pairs = [
        pair
        for camera in cameras
        for scene in (present if scenes is None else scenes)
        for pair in _views(base, split, scene, camera)
    ]
    return MatchingReader("spring", split, base, pairs, _disparity, miniature=is_miniature(root))


def scenes_of(root: Path, split: Split) -> list[str]:
    """The sequences that are there.

    Raises:
        DataError: none is.
    """
    return subfolders(_base(root, split) / split, LINK)


def _base(root: Path, split: Split) -> Path:
    return base_of(root, ("spring",), split, LINK)


def _pairs(base: Path, split: Split, scene: str, direction: str, camera: str) -> Iterator[PairPaths]:
    """Pairs of one sequence: each frame with its successor, or for "BW" with its predecessor."""
    images, name = f"{split}/{scene}/frame_{camera}", f"flow_{direction}_{camera}"
    starts = frames_with_successor(base / images, f"frame_{camera}_", ".png", LINK)
    first, second = (0, 1) if direction == "FW" else (1, 0)
    if split == "train":
        flows = base / split / scene / name
        present = {f"{name}_{frame:04d}.flo5" for frame in numbered(flows, f"{name}_", ".flo5", LINK)}
        require_exactly(flows, (f"{name}_{start + first:04d}.flo5" for start in starts), present, LINK)
    for start in starts:
        yield PairPaths(
            id=f"{scene}/{name}_{start + first:04d}",
            group=scene,
            image1=f"{images}/frame_{camera}_{start + first:04d}.png",
            image2=f"{images}/frame_{camera}_{start + second:04d}.png",
            truth=f"{split}/{scene}/{name}/{name}_{start + first:04d}.flo5" if split == "train" else None,
        )


def _views(base: Path, split: Split, scene: str, camera: str) -> Iterator[PairPaths]:
    """Frames of one sequence, seen by both cameras, `camera` first."""
    other, name = "left" if camera == "right" else "right", f"disp1_{camera}"
    folder = f"{split}/{scene}"
    frames = numbered(base / folder / f"frame_{camera}", f"frame_{camera}_", ".png", LINK)
    kinds = [(f"frame_{other}", ".png"), *([(name, ".dsp5")] if split == "train" else [])]
    for kind, suffix in kinds:
        present = {f"{kind}_{frame:04d}{suffix}" for frame in numbered(base / folder / kind, f"{kind}_", suffix, LINK)}
        require_exactly(base / folder / kind, (f"{kind}_{frame:04d}{suffix}" for frame in frames), present, LINK)
    for frame in frames:
        yield PairPaths(
            id=f"{scene}/{name}_{frame:04d}",
            group=scene,
            image1=f"{folder}/frame_{camera}/frame_{camera}_{frame:04d}.png",
            image2=f"{folder}/frame_{other}/frame_{other}_{frame:04d}.png",
            truth=f"{folder}/{name}/{name}_{frame:04d}.dsp5" if split == "train" else None,
        )


def _flow(base: Path, pair: PairPaths) -> Sample:
    path = base / str(pair.truth)
    flow4, valid4 = by_pixel(path, *read_flo5(path))
    flow, valid = mean_of_known(flow4, valid4)
    return {"flow_px": flow, "valid": valid, "flow4_px": flow4, "valid4": valid4}


def _disparity(base: Path, pair: PairPaths) -> Sample:
    path = base / str(pair.truth)
    four, valid4 = by_pixel(path, *read_dsp5(path))
    disparity, valid = mean_of_known(four, valid4)
    return {"disparity_px": disparity, "valid": valid, "disparity4_px": four, "valid4": valid4}


def by_pixel(path: Path, values: Array, valid: Array) -> tuple[Array, Array]:
    """Values (2H, 2W, ...) and their validity (2H, 2W) -> (H, W, 4, ...) and (H, W, 4).

    Raises:
        DataError: a side is odd.
    """
    height, width = valid.shape
    if height % 2 or width % 2:
        raise DataError(
            f"{path} is {height}x{width}, but should have two rows and columns for each of the image",
            "one of them was resized: take both at the release's size",
        )
    four, known = (
        np.ascontiguousarray(array.reshape(height // 2, 2, width // 2, 2, -1).swapaxes(1, 2))
        for array in (values, valid)
    )
    shape = (height // 2, width // 2, 4)
    return four.reshape(*shape, *values.shape[2:]), known.reshape(shape)


def mean_of_known(four: Array, known: Array) -> tuple[Array, Array]:
    """(H, W, 4, ...) and (H, W, 4) -> means of the known values (H, W, ...), 0 where there is none, and validity (H, W)."""
    count = known.sum(axis=2, dtype=np.float32).reshape(*known.shape[:2], *(1,) * (four.ndim - 3))
    # Unknown values are 0.
    mean: Array = four.sum(axis=2, dtype=np.float32) / np.maximum(count, 1)
    valid: Array = np.asarray(known.any(axis=2))
    return mean, valid


def check(root: Path) -> list[Finding]:
    """Findings on both cameras and directions, on CroCo's selection sequence, and on stereo where disparities are there."""
    train = partial(open_split, root, "train")
    parts = [
        Part("train", train, PAIRS["train"], optional=False),
        Part("the sequence to select by", partial(train, scenes=SELECT_SCENES), SELECT_PAIRS),
        Part("test", partial(open_split, root, "test"), PAIRS["test"]),
    ]
    if any(root.glob("train/*/disp1_left")) or any(root.glob("spring/train/*/disp1_left")):
        parts += [
            Part("train, stereo", partial(open_stereo, root, "train"), STEREO_PAIRS["train"]),
            Part("test, stereo", partial(open_stereo, root, "test", cameras=CAMERAS), STEREO_PAIRS["test"]),
        ]
    return check_parts(root, LINK, parts)
