"""FlyingThings3D, as a part of SceneFlow: things that fly along random ways, seen by two cameras.

The folder is called `flyingthings` below the data root. Where SceneFlow's stereo is used too, its folder `sceneflow` holds
Driving, Monkaa and FlyingThings, the latter a link to `../flyingthings`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from croco_bench.data.catalogue import is_miniature
from croco_bench.data.datasets.matching.flow import FlowReader
from croco_bench.data.datasets.matching.image_pairs import ViewPair, plain
from croco_bench.data.formats.flow import read_pfm_flow
from croco_bench.data.formats.layout import base_of, chosen, file_names, match, require, steps, subfolders

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
            found = [both for scene in scenes for both in _pairs(base, name, camera, scene)]
            ordered = [forwards for forwards, _ in found] + [backwards for _, backwards in found]
            pairs += spread(ordered) if split == "test1024" else ordered
    return FlowReader("flyingthings", split, base, pairs, plain("flow_px", read_pfm_flow), miniature=is_miniature(root))


def spread(pairs: Sequence[ViewPair]) -> list[ViewPair]:
    """1024 pairs at equal distances in the order of their names, less the remainder at the end; or all, if fewer."""
    ordered = sorted(pairs, key=lambda pair: str(pair.truth))
    kept = len(ordered) - len(ordered) % _SUBSET
    return ordered[: kept or None][:: max(len(ordered) // _SUBSET, 1)]


def _pairs(base: Path, name: str, camera: str, scene: str) -> Iterator[tuple[ViewPair, ViewPair]]:
    """Each frame but the last with the next, forwards and backwards."""
    images, mark = f"frames_{name}pass/{scene}/{camera}", camera[0].upper()
    flows = {way: f"optical_flow/{scene}/into_{way.lower()}/{camera}" for way in ("Future", "Past")}
    starts = steps(base / images, "", ".png", LINK)
    files = {way: f"OpticalFlowInto{way}_{{:04d}}_{mark}.pfm".format for way in flows}
    present = {way: set(file_names(base / flows[way], f"OpticalFlowInto{way}_", f"_{mark}.pfm", LINK)) for way in flows}
    match(base / flows["Future"], map(files["Future"], (*starts, starts[-1] + 1)), present["Future"], LINK)
    require(base / flows["Past"], (files["Past"](start + 1) for start in starts), present["Past"], LINK)
    for start in starts:
        yield (
            _pair(images, flows["Future"], scene, files["Future"](start), start, start + 1),
            _pair(images, flows["Past"], scene, files["Past"](start + 1), start + 1, start),
        )


def _pair(images: str, flows: str, scene: str, file: str, first: int, second: int) -> ViewPair:
    return ViewPair(
        id=f"{images.split('/')[0].removeprefix('frames_')}/{scene}/{file[len('OpticalFlow') : -len('.pfm')]}",
        group=scene,
        image1=f"{images}/{first:04d}.png",
        image2=f"{images}/{second:04d}.png",
        truth=f"{flows}/{file}",
    )
