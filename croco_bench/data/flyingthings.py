"""FlyingThings3D, as a part of SceneFlow: things that fly along random ways, seen by two cameras.

The folder is called `flyingthings` below the data root. Where SceneFlow's stereo is used too, its folder `sceneflow` holds
Driving, Monkaa and FlyingThings, the latter a link to `../flyingthings`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from croco_bench.data.flow import FlowReader, plain
from croco_bench.data.flow_formats import read_pfm_flow
from croco_bench.data.listing import base_of, chosen, numbered, require, subfolders
from croco_bench.data.matching import ViewPair
from croco_bench.data.places import is_miniature

Split = Literal["train", "test", "test1024"]
LINK = "https://lmb.informatik.uni-freiburg.de/resources/datasets/SceneFlowDatasets.en.html"
ARCHIVES = ("FlyingThings3D", "FlyingThings")
PASSES, CAMERAS = ("clean", "final"), ("left", "right")
_SUBSET = 1024


def open_split(
    root: Path, split: Split, *, passes: Sequence[str] = PASSES, cameras: Sequence[str] = ("left",)
) -> FlowReader:
    """Pairs forwards, then backwards in time, camera by camera and pass by pass; a scene's last frame begins none.

    `test1024` are 1024 pairs of `test`, of each camera and pass: evenly spread over the list sorted by name, as UniMatch and
    CroCo v2 choose them.

    Raises:
        DataError: files are missing.
        UsageError: no such pass or camera.
    """
    chosen("pass of FlyingThings", passes, PASSES)
    chosen("camera of FlyingThings", cameras, CAMERAS)
    base = base_of(root, ARCHIVES, "optical_flow", LINK)
    part = "TRAIN" if split == "train" else "TEST"
    scenes = [
        f"{part}/{letter}/{scene}"
        for letter in subfolders(base / "optical_flow" / part, LINK)
        for scene in subfolders(base / "optical_flow" / part / letter, LINK)
    ]
    pairs: list[ViewPair] = []
    for name in passes:
        for camera in cameras:
            found = [[*_pairs(base, name, camera, scene)] for scene in scenes]
            steps = [step for scene in found for step in scene]
            ordered = [forwards for forwards, _ in steps] + [backwards for _, backwards in steps]
            pairs += spread(ordered) if split == "test1024" else ordered
    return FlowReader("flyingthings", split, base, pairs, plain(read_pfm_flow), miniature=is_miniature(root))


def spread(pairs: Sequence[ViewPair]) -> list[ViewPair]:
    """1024 pairs at equal distances in the order of their names, less the remainder at the end; or all, if fewer."""
    ordered = sorted(pairs, key=lambda pair: str(pair.truth))
    kept = len(ordered) - len(ordered) % _SUBSET
    return ordered[: kept or None][:: max(len(ordered) // _SUBSET, 1)]


def _pairs(base: Path, name: str, camera: str, scene: str) -> Iterator[tuple[ViewPair, ViewPair]]:
    """Each frame but the last with the next, forwards and backwards."""
    images, mark = f"frames_{name}pass/{scene}/{camera}", camera[0].upper()
    flows = {way: f"optical_flow/{scene}/into_{way.lower()}/{camera}" for way in ("Future", "Past")}
    frames, later = (
        numbered(base / flows[way], f"OpticalFlowInto{way}_", f"_{mark}.pfm", LINK) for way in ("Future", "Past")
    )
    require(
        base / flows["Past"],
        (f"OpticalFlowIntoPast_{frame + 1:04d}_{mark}.pfm" for frame in frames[:-1]),
        {f"OpticalFlowIntoPast_{frame:04d}_{mark}.pfm" for frame in later},
        LINK,
    )
    present = {f"{frame:04d}.png" for frame in numbered(base / images, "", ".png", LINK)}
    require(base / images, (f"{frame + step:04d}.png" for frame in frames[:-1] for step in (0, 1)), present, LINK)
    for frame in frames[:-1]:
        yield (
            _pair(images, flows["Future"], scene, f"OpticalFlowIntoFuture_{frame:04d}_{mark}", frame, frame + 1),
            _pair(images, flows["Past"], scene, f"OpticalFlowIntoPast_{frame + 1:04d}_{mark}", frame + 1, frame),
        )


def _pair(images: str, flows: str, scene: str, file: str, first: int, second: int) -> ViewPair:
    return ViewPair(
        id=f"{images.split('/')[0].removeprefix('frames_')}/{scene}/{file.removeprefix('OpticalFlow')}",
        group=scene,
        image1=f"{images}/{first:04d}.png",
        image2=f"{images}/{second:04d}.png",
        truth=f"{flows}/{file}.pfm",
    )
