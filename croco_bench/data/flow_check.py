"""Checks of the datasets of optical flow, each with the counts of its release."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from croco_bench.contracts import Sample
from croco_bench.data import autoflow, flyingchairs, flyingthings, hd1k, kitti, sintel, spring, tartanair
from croco_bench.data.matching_check import Array, Part, check_parts
from croco_bench.data.places import Finding


def check_sintel(root: Path) -> list[Finding]:
    """Both passes of all scenes, and the scenes that CroCo selects by."""
    train, test = partial(sintel.open_split, root, "train"), partial(sintel.open_split, root, "test")
    parts = [
        Part("train, clean", partial(train, passes=("clean",)), 1041),
        Part("train, final", partial(train, passes=("final",)), 1041),
        Part("the scenes to select by", partial(train, passes=("clean",), scenes=sintel.SELECT_SCENES), 98),
        Part("test, clean", partial(test, passes=("clean",)), 552),
        Part("test, final", partial(test, passes=("final",)), 552),
    ]
    return check_parts(root, sintel.LINK, parts, _flow)


def check_flyingchairs(root: Path) -> list[Finding]:
    """Both splits of the list."""
    parts = [
        Part("train", partial(flyingchairs.open_split, root, "train"), 22_232),
        Part("val", partial(flyingchairs.open_split, root, "val"), 640),
    ]
    return check_parts(root, flyingchairs.LINK, parts, _flow)


def check_flyingthings(root: Path) -> list[Finding]:
    """Both passes seen by the left camera, and the part of the test split that others report."""
    counts: dict[flyingthings.Split, int] = {"train": 40_302, "test": 7_866, "test1024": 1_024}
    parts = [
        Part(f"{split}, {name}", partial(flyingthings.open_split, root, split, passes=(name,)), pairs)
        for split, pairs in counts.items()
        for name in flyingthings.PASSES
    ]
    return check_parts(root, flyingthings.LINK, parts, _flow)


def check_tartanair(root: Path) -> list[Finding]:
    """All worlds."""
    return check_parts(root, tartanair.LINK, [Part("train", partial(tartanair.open_split, root), 306_268)], _flow)


def check_autoflow(root: Path) -> list[Finding]:
    """All four parts."""
    return check_parts(root, autoflow.LINK, [Part("train", partial(autoflow.open_split, root), 40_000)], _flow)


def check_kitti2012(root: Path) -> list[Finding]:
    """Both splits."""
    parts = [
        Part("train", partial(kitti.open_2012, root, "train"), 194),
        Part("test", partial(kitti.open_2012, root, "test"), 195),
    ]
    return check_parts(root, kitti.EDITIONS[2012].link, parts, _flow)


def check_kitti2015(root: Path) -> list[Finding]:
    """Both splits."""
    parts = [
        Part("train", partial(kitti.open_2015, root, "train"), 200),
        Part("test", partial(kitti.open_2015, root, "test"), 200),
    ]
    return check_parts(root, kitti.EDITIONS[2015].link, parts, _flow)


def check_hd1k(root: Path) -> list[Finding]:
    """The sequences with flow; how many pairs they have isn't known here."""
    return check_parts(root, hd1k.LINK, [Part("train", partial(hd1k.open_split, root, "train"), None)], _flow)


def check_spring(root: Path) -> list[Finding]:
    """Both cameras and directions, and the sequence that CroCo selects by."""
    parts = [
        Part("train", partial(spring.open_split, root, "train"), 19_852),
        Part("the sequence to select by", partial(spring.open_split, root, "train", scenes=spring.SELECT_SCENES), 380),
        Part("test", partial(spring.open_split, root, "test"), 3_960),
    ]
    return check_parts(root, spring.LINK, parts, _flow)


def _flow(sample: Sample) -> Array:
    flow: Array = sample["flow_px"]
    return flow
