"""FlyingThings3D, a part of SceneFlow: objects on random trajectories, seen by two cameras.

The folder is called `flyingthings` below the data root. Where SceneFlow's stereo is used too, its folder `sceneflow` holds
Driving, Monkaa and FlyingThings, the latter a link to `../flyingthings`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from croco_bench.data.checks.image_pairs import Part, check_parts
from croco_bench.data.checks.run_check import Finding
from croco_bench.data.datasets.matching.image_pairs import MatchingReader, PairPaths, read_truth_file
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.flow import read_pfm_flow
from croco_bench.data.formats.layout import (
    base_of,
    check_choice,
    file_names,
    frames_with_successor,
    require,
    require_exactly,
    subfolders,
)

Split = Literal["train", "test", "test1024"]
LINK = "https://lmb.informatik.uni-freiburg.de/resources/datasets/SceneFlowDatasets.en.html"
ARCHIVES = ("FlyingThings3D", "FlyingThings")
PASSES, CAMERAS = ("clean", "final"), ("left", "right")
_SUBSET = 1024
# Pairs of one pass, seen by one camera.
PAIRS: dict[Split, int] = {"train": 40_302, "test": 7_866, "test1024": _SUBSET}


def open_split(
    root: Path, split: Split, *, passes: Sequence[str] = PASSES, cameras: Sequence[str] = ("left",)
) -> MatchingReader:
    """Pairs of consecutive frames, forwards, then backwards in time, for each camera of each pass.

    `test1024` are 1024 pairs of `test` for each camera and pass, evenly spread over the list sorted by name (UniMatch, CroCo
    v2).

    Raises:
        DataError: files are missing.
        UsageError: no such pass or camera.
    """
    check_choice("pass of FlyingThings", passes, PASSES)
    check_choice("camera of FlyingThings", cameras, CAMERAS)
    base = base_of(root, ARCHIVES, "optical_flow", LINK)
    part = "TRAIN" if split == "train" else "TEST"
    scenes = [
        f"{part}/{letter}/{scene}"
        for letter in subfolders(base / "optical_flow" / part, LINK)
        for scene in subfolders(base / "optical_flow" / part / letter, LINK)
    ]
    pairs: list[PairPaths] = []
    for name in passes:
        for camera in cameras:
            steps = [step for scene in scenes for step in _pairs(base, name, camera, scene)]
            ordered = [forwards for forwards, _ in steps] + [backwards for _, backwards in steps]
            pairs += spread(ordered) if split == "test1024" else ordered
    read_truth = partial(read_truth_file, "flow_px", read_pfm_flow)
    return MatchingReader("flyingthings", split, base, pairs, read_truth, miniature=is_miniature(root))


def spread(pairs: Sequence[PairPaths]) -> list[PairPaths]:
    """1024 pairs at equal steps in the order of their names, the remainder at the end left out; all if there are fewer."""
    ordered = sorted(pairs, key=lambda pair: str(pair.truth))
    kept = len(ordered) - len(ordered) % _SUBSET
    return ordered[: kept or None][:: max(len(ordered) // _SUBSET, 1)]


def _pairs(base: Path, name: str, camera: str, scene: str) -> Iterator[tuple[PairPaths, PairPaths]]:
    """Each frame but the last with the next, forwards and backwards."""
    images, mark = f"frames_{name}pass/{scene}/{camera}", camera[0].upper()
    flows = {way: f"optical_flow/{scene}/into_{way.lower()}/{camera}" for way in ("Future", "Past")}
    starts = frames_with_successor(base / images, "", ".png", LINK)
    files = {way: f"OpticalFlowInto{way}_{{:04d}}_{mark}.pfm".format for way in flows}
    present = {way: set(file_names(base / flows[way], f"OpticalFlowInto{way}_", f"_{mark}.pfm", LINK)) for way in flows}
    require_exactly(base / flows["Future"], map(files["Future"], (*starts, starts[-1] + 1)), present["Future"], LINK)
    require(base / flows["Past"], (files["Past"](start + 1) for start in starts), present["Past"], LINK)
    for start in starts:
        yield (
            _pair(images, flows["Future"], scene, files["Future"](start), start, start + 1),
            _pair(images, flows["Past"], scene, files["Past"](start + 1), start + 1, start),
        )


def _pair(images: str, flows: str, scene: str, file: str, first: int, second: int) -> PairPaths:
    return PairPaths(
        id=f"{images.split('/')[0].removeprefix('frames_')}/{scene}/{file[len('OpticalFlow') : -len('.pfm')]}",
        group=scene,
        image1=f"{images}/{first:04d}.png",
        image2=f"{images}/{second:04d}.png",
        truth=f"{flows}/{file}",
    )


def check(root: Path) -> list[Finding]:
    """Findings on both passes of the left camera, and on the 1024 test pairs that papers report."""
    parts = [
        Part(f"{split}, {name}", partial(open_split, root, split, passes=(name,)), pairs)
        for split, pairs in PAIRS.items()
        for name in PASSES
    ]
    return check_parts(root, LINK, parts)
