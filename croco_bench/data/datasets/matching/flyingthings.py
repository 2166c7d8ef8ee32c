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
from croco_bench.data.formats.flow import read_flo, read_pfm_flow
from croco_bench.data.formats.layout import (
    base_of,
    check_choice,
    file_names,
    frames_with_successor,
    numbered,
    require,
    require_exactly,
    subfolders,
)

Split = Literal["train", "test", "test1024"]
LINK = "https://lmb.informatik.uni-freiburg.de/resources/datasets/SceneFlowDatasets.en.html"
ARCHIVES = ("FlyingThings3D", "FlyingThings")
# The part that FlowNet 2.0 was trained on has folders of its own, in which frames are numbered throughout.
SUBSET_ARCHIVES = ("FlyingThings3D_subset", *ARCHIVES)
SUBSET_PARTS: dict[Split, str] = {"train": "train", "test": "val", "test1024": "val"}
PASSES, CAMERAS = ("clean", "final"), ("left", "right")
_SUBSET = 1024
SUBSET_NOTE = "these are the frames of FlowNet 2.0's subset of FlyingThings, which leaves out some of the release"
# Folder of the subset's flow -> number of the second frame minus that of the first.
_WAYS = {"into_future": 1, "into_past": -1}
# Pairs of one pass, seen by one camera.
PAIRS: dict[Split, int] = {"train": 40_302, "test": 7_866, "test1024": _SUBSET}


def open_split(
    root: Path, split: Split, *, passes: Sequence[str] = PASSES, cameras: Sequence[str] = ("left",)
) -> MatchingReader:
    """Pairs of consecutive frames, forwards, then backwards in time, for each camera of each pass.

    Of the subset of FlowNet 2.0, `train` and `val` stand for `TRAIN` and `TEST`.

    `test1024` are 1024 pairs of `test` for each camera and pass, evenly spread over the list sorted by name (UniMatch, CroCo
    v2).

    Raises:
        DataError: files are missing.
        UsageError: no such pass or camera.
    """
    check_choice("pass of FlyingThings", passes, PASSES)
    check_choice("camera of FlyingThings", cameras, CAMERAS)
    subset = subset_base(root, f"{SUBSET_PARTS[split]}/flow")
    if subset is not None:
        return _open_subset(root, subset, split, passes, cameras)
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


def subset_base(root: Path, inside: str) -> Path | None:
    """The folder of FlowNet 2.0's subset that holds `inside`; None if there is none."""
    return next((base for base in (root, *(root / name for name in SUBSET_ARCHIVES)) if (base / inside).is_dir()), None)


def subset_groups(numbers: Sequence[int]) -> dict[int, str]:
    """Frame -> the first frame of its run of consecutive numbers: the subset doesn't name scenes."""
    groups: dict[int, str] = {}
    for number in numbers:
        groups[number] = groups.get(number - 1, f"{number:07d}")
    return groups


def _open_subset(root: Path, base: Path, split: Split, passes: Sequence[str], cameras: Sequence[str]) -> MatchingReader:
    part = SUBSET_PARTS[split]
    pairs: list[PairPaths] = []
    for name in passes:
        for camera in cameras:
            ordered = [
                pair for way, step in _WAYS.items() for pair in _subset_pairs(base, part, name, camera, way, step)
            ]
            pairs += spread(ordered) if split == "test1024" else ordered
    read_truth = partial(read_truth_file, "flow_px", read_flo)
    reader = MatchingReader("flyingthings", split, base, pairs, read_truth, miniature=is_miniature(root))
    reader.assumptions = (SUBSET_NOTE,)
    return reader


def _subset_pairs(base: Path, part: str, name: str, camera: str, way: str, step: int) -> Iterator[PairPaths]:
    """The frames that have flow, each with the next or the one before."""
    images, flows = f"{part}/image_{name}/{camera}", f"{part}/flow/{camera}/{way}"
    starts = numbered(base / flows, "", ".flo", LINK)
    present = set(file_names(base / images, "", ".png", LINK))
    require(base / images, (f"{n:07d}.png" for start in starts for n in (start, start + step)), present, LINK)
    groups = subset_groups(numbered(base / images, "", ".png", LINK))
    for start in starts:
        yield PairPaths(
            id=f"{name}pass/{part}/{way}/{camera}/{start:07d}",
            group=groups[start],
            image1=f"{images}/{start:07d}.png",
            image2=f"{images}/{start + step:07d}.png",
            truth=f"{flows}/{start:07d}.flo",
        )


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
    subset = subset_base(root, "train/flow") is not None
    parts = [
        Part(
            f"{split}{' of the subset' if subset else ''}, {name}",
            partial(open_split, root, split, passes=(name,)),
            None if subset else pairs,
        )
        for split, pairs in PAIRS.items()
        for name in PASSES
    ]
    return check_parts(root, LINK, parts)
