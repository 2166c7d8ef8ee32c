"""Checks of the datasets of stereo, each with the counts of its release. KITTI and Spring are checked with their flow."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from croco_bench.data.catalogue import Finding
from croco_bench.data.checks.image_pairs import Part, check_parts
from croco_bench.data.datasets.matching import booster, crestereo, eth3d, middlebury, sceneflow


def check_middlebury(root: Path) -> list[Finding]:
    """The editions that are there: people have one or the other."""
    counts: dict[middlebury.Edition, int] = {"2005": 54, "2006": 189, "2014": 138, "2021": 355}
    parts = [
        Part(year, partial(middlebury.open_scenes, root, year), pairs)
        for year, pairs in counts.items()
        if (root / year).is_dir()
    ]
    splits: tuple[middlebury.Split, ...] = ("train", "test")
    resolutions: tuple[middlebury.Resolution, ...] = ("F", "H", "Q")
    for resolution in resolutions:
        if (root / f"MiddEval3_{resolution}").is_dir() or (root / f"MiddEval3/training{resolution}").is_dir():
            parts += [
                Part(
                    f"MiddEval3 {split} {resolution}",
                    partial(middlebury.open_evaluation, root, split, resolution=resolution),
                    15,
                )
                for split in splits
            ]
    if not parts:
        return [Finding(False, f"{root} holds none of {', '.join(counts)}, MiddEval3", f"get {middlebury.LINK}")]
    return check_parts(root, middlebury.LINK, parts)


def check_eth3d(root: Path) -> list[Finding]:
    """Both splits."""
    parts = [
        Part("train", partial(eth3d.open_split, root, "train"), 27),
        Part("test", partial(eth3d.open_split, root, "test"), 20),
    ]
    return check_parts(root, eth3d.LINK, parts)


def check_crestereo(root: Path) -> list[Finding]:
    """All four kinds."""
    return check_parts(root, crestereo.LINK, [Part("train", partial(crestereo.open_split, root), 200_000)])


def check_booster(root: Path) -> list[Finding]:
    """Both splits of the balanced part."""
    parts = [
        Part("train", partial(booster.open_split, root, "train"), 228),
        Part("test", partial(booster.open_split, root, "test"), 191),
    ]
    return check_parts(root, booster.LINK, parts)


def check_sceneflow(root: Path) -> list[Finding]:
    """Both passes of both splits."""
    counts: dict[sceneflow.Split, int] = {"train": 35_454, "test": 4_370}
    parts = [
        Part(f"{split}, {name}", partial(sceneflow.open_split, root, split, passes=(name,)), pairs)
        for split, pairs in counts.items()
        for name in sceneflow.PASSES
    ]
    return check_parts(root, sceneflow.LINK, parts)
