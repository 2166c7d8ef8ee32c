"""Checks of the datasets of optical flow, each with the counts of its release."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from croco_bench.data.catalogue import Finding
from croco_bench.data.checks.image_pairs import Part, check_parts
from croco_bench.data.datasets.matching import (
    autoflow,
    flyingchairs,
    flyingthings,
    hd1k,
    kitti,
    sintel,
    spring,
    tartanair,
)


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
    return check_parts(root, sintel.LINK, parts)


def check_flyingchairs(root: Path) -> list[Finding]:
    """Both splits of the list."""
    parts = [
        Part("train", partial(flyingchairs.open_split, root, "train"), 22_232),
        Part("val", partial(flyingchairs.open_split, root, "val"), 640),
    ]
    return check_parts(root, flyingchairs.LINK, parts)


def check_flyingthings(root: Path) -> list[Finding]:
    """Both passes seen by the left camera, and the part of the test split that others report."""
    counts: dict[flyingthings.Split, int] = {"train": 40_302, "test": 7_866, "test1024": 1_024}
    parts = [
        Part(f"{split}, {name}", partial(flyingthings.open_split, root, split, passes=(name,)), pairs)
        for split, pairs in counts.items()
        for name in flyingthings.PASSES
    ]
    return check_parts(root, flyingthings.LINK, parts)


def check_tartanair(root: Path) -> list[Finding]:
    """All worlds."""
    return check_parts(root, tartanair.LINK, [Part("train", partial(tartanair.open_split, root), 306_268)])


def check_autoflow(root: Path) -> list[Finding]:
    """All four parts."""
    return check_parts(root, autoflow.LINK, [Part("train", partial(autoflow.open_split, root), 40_000)])


def check_kitti2012(root: Path) -> list[Finding]:
    """Both splits for flow, and for stereo if the right camera is there."""
    return _check_kitti(root, 2012, (194, 195))


def check_kitti2015(root: Path) -> list[Finding]:
    """As `check_kitti2012`."""
    return _check_kitti(root, 2015, (200, 200))


def _check_kitti(root: Path, year: kitti.Year, counts: tuple[int, int]) -> list[Finding]:
    edition = kitti.EDITIONS[year]
    splits: tuple[kitti.Split, kitti.Split] = ("train", "test")
    both = list(zip(splits, counts, strict=True))
    parts = [Part(split, partial(kitti.open_flow, root, split, year=year), pairs) for split, pairs in both]
    if any((root / folder / "training" / edition.right).is_dir() for folder in (".", edition.archive)):
        parts += [
            Part(f"{split}, stereo", partial(kitti.open_stereo, root, split, year=year), pairs) for split, pairs in both
        ]
    return check_parts(root, edition.link, parts)


def check_hd1k(root: Path) -> list[Finding]:
    """The sequences with flow; how many pairs they have isn't known here."""
    return check_parts(root, hd1k.LINK, [Part("train", partial(hd1k.open_split, root, "train"), None)])


def check_spring(root: Path) -> list[Finding]:
    """Both cameras and directions, the sequence that CroCo selects by, and stereo if its disparities are there."""
    train = partial(spring.open_split, root, "train")
    parts = [
        Part("train", train, 19_852),
        Part("the sequence to select by", partial(train, scenes=spring.SELECT_SCENES), 380),
        Part("test", partial(spring.open_split, root, "test"), 3_960),
    ]
    if any(root.glob("train/*/disp1_left")) or any(root.glob("spring/train/*/disp1_left")):
        parts += [
            Part("train, stereo", partial(spring.open_stereo, root, "train"), 5_000),
            Part("test, stereo", partial(spring.open_stereo, root, "test", cameras=spring.CAMERAS), 2_000),
        ]
    return check_parts(root, spring.LINK, parts)
