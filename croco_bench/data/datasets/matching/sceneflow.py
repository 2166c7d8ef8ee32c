"""SceneFlow's stereo: Driving, Monkaa and FlyingThings, rendered in two passes.

Its folder `sceneflow` holds Driving, Monkaa and FlyingThings; the latter may be a link to `../flyingthings`, where flow is read,
or FlowNet 2.0's subset of it, which has folders of its own and disparities of the other sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal

from croco_bench.data.checks.image_pairs import Part, check_parts
from croco_bench.data.checks.run_check import Finding
from croco_bench.data.datasets.matching.flyingthings import SUBSET_NOTE, SUBSET_PARTS, subset_groups
from croco_bench.data.datasets.matching.image_pairs import MatchingReader, PairPaths, read_truth_file
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.disparity import read_pfm_disparity, read_signed_pfm_disparity
from croco_bench.data.formats.layout import check_choice, file_names, numbered, require, require_exactly, subfolders
from croco_bench.errors import AbsentError, DataError
from croco_bench.types import Sample

Split = Literal["train", "test", "test1of100"]
LINK = "https://lmb.informatik.uni-freiburg.de/resources/datasets/SceneFlowDatasets.en.html"
PASSES = ("clean", "final")
_THINGS = ("FlyingThings", "FlyingThings3D", "FlyingThings3D_subset")
# How many folders lie between a pass and its cameras.
_DEPTHS = {"Driving": 3, "Monkaa": 1}
# Pairs of one pass.
PAIRS: dict[Split, int] = {"train": 35_454, "test": 4_370}


def open_split(root: Path, split: Split, *, passes: Sequence[str] = PASSES) -> MatchingReader:
    """All pairs of the passes, one after the other; `test` is FlyingThings alone, `test1of100` every hundredth of it.

    `train` is of the parts that are there; `assumptions` name those that aren't.

    Raises:
        AbsentError: none of the split's parts is there.
        DataError: files of a part are missing.
        UsageError: no such pass.
    """
    check_choice("pass of SceneFlow", passes, PASSES)
    pairs: list[PairPaths] = []
    for name in passes:
        in_pass = [pair for part, scene in _scenes(root, split, name) for pair in _pairs(root, part, name, scene)]
        in_pass += _subset_pairs(root, split, name)
        pairs += in_pass[::100] if split == "test1of100" else in_pass
    reader = MatchingReader("sceneflow", split, root, pairs, _truth, miniature=is_miniature(root))
    if _things(root)[1]:
        reader.assumptions = (SUBSET_NOTE, "disparities of the subset have the other sign, which is turned")
    if split == "train" and (absent := _absent_parts(root)):
        reader.assumptions += (f"{' and '.join(absent)} of SceneFlow isn't there, so the other parts are used alone",)
    return reader


def has_things(root: Path) -> bool:
    """Whether FlyingThings is there, of which the test splits are."""
    return any((root / part).is_dir() for part in _THINGS)


def _absent_parts(root: Path) -> list[str]:
    """The parts of `train` that aren't there.

    Raises:
        AbsentError: none is.
    """
    absent = [part for part in _DEPTHS if not (root / part).is_dir()]
    if not has_things(root):
        if len(absent) == len(_DEPTHS):
            raise AbsentError(
                f"{root} holds no {', no '.join(_DEPTHS)} and no {' or '.join(_THINGS)}", f"unpack {LINK} there"
            )
        absent.append(_THINGS[0])
    return absent


def _scenes(root: Path, split: Split, name: str) -> list[tuple[str, str]]:
    """(part of the dataset, folder of a scene in it) for all scenes of the split that are in folders of the release."""
    scenes: list[tuple[str, str]] = []
    if split == "train":
        absent = _absent_parts(root)
        for part, depth in _DEPTHS.items():
            if part not in absent:
                scenes += [(part, scene) for scene in _below(root / part / f"frames_{name}pass", depth)]
    elif not has_things(root):
        raise AbsentError(f"{root} holds no {' or '.join(_THINGS)}", f"unpack {LINK} there")
    things, subset = _things(root)
    if things is None or subset:
        return scenes
    side = "TRAIN" if split == "train" else "TEST"
    things_scenes = _below(root / things / f"frames_{name}pass" / side, 2)
    return scenes + [(things, f"{side}/{scene}") for scene in things_scenes]


def _things(root: Path) -> tuple[str | None, bool]:
    """The folder of FlyingThings, if it is there, and whether it is FlowNet 2.0's subset, which has folders of its own."""
    things = next((part for part in _THINGS if (root / part).is_dir()), None)
    return things, things is not None and (root / things / "train/disparity").is_dir()


def _subset_pairs(root: Path, split: Split, name: str) -> Iterator[PairPaths]:
    """The pairs of FlowNet 2.0's subset of FlyingThings, if that is what is there."""
    things, subset = _things(root)
    if not subset:
        return
    base = f"{things}/{SUBSET_PARTS['train' if split == 'train' else 'test']}"
    images, truths = f"{base}/image_{name}", f"{base}/disparity/left"
    numbers = numbered(root / truths, "", ".pfm", LINK)
    for camera in ("left", "right"):
        present = set(file_names(root / images / camera, "", ".png", LINK))
        require(root / images / camera, (f"{number:07d}.png" for number in numbers), present, LINK)
    groups = subset_groups(numbers)
    for number in numbers:
        yield PairPaths(
            id=f"{name}pass/{base}/{number:07d}",
            group=f"{things}/{groups[number]}",
            image1=f"{images}/left/{number:07d}.png",
            image2=f"{images}/right/{number:07d}.png",
            truth=f"{truths}/{number:07d}.pfm",
        )


def _truth(base: Path, pair: PairPaths) -> Sample:
    """Disparity from a .pfm; the subset's has the other sign."""
    of_subset = Path(str(pair.truth)).parts[-3:-1] == ("disparity", "left")
    read = read_signed_pfm_disparity if of_subset else read_pfm_disparity
    return read_truth_file("disparity_px", read, base, pair)


def _below(folder: Path, depth: int) -> list[str]:
    """All folders `depth` levels below `folder`, as relative paths."""
    names = subfolders(folder, LINK)
    return names if depth == 1 else [f"{name}/{rest}" for name in names for rest in _below(folder / name, depth - 1)]


def _pairs(root: Path, part: str, name: str, scene: str) -> Iterator[PairPaths]:
    frames, truths = f"{part}/frames_{name}pass/{scene}", f"{part}/disparity/{scene}/left"
    numbers = [left.removesuffix(".png") for left in file_names(root / frames / "left", "", ".png", LINK)]
    for folder, suffix in ((f"{frames}/right", ".png"), (truths, ".pfm")):
        present = file_names(root / folder, "", suffix, LINK)
        require_exactly(root / folder, (number + suffix for number in numbers), present, LINK)
    for number in numbers:
        yield PairPaths(
            id=f"{name}pass/{part}/{scene}/{number}",
            group=f"{part}/{scene}",
            image1=f"{frames}/left/{number}.png",
            image2=f"{frames}/right/{number}.png",
            truth=f"{truths}/{number}.pfm",
        )


def check(root: Path) -> list[Finding]:
    """Findings on both passes of both splits, and on what is assumed or absent."""
    subset = any((root / things / "train/disparity").is_dir() for things in _THINGS)
    parts = [
        Part(
            f"{split}{' with the subset of FlyingThings' if subset else ''}, {name}",
            partial(open_split, root, split, passes=(name,)),
            None if subset else pairs,
        )
        for split, pairs in PAIRS.items()
        for name in PASSES
    ]
    findings = check_parts(root, LINK, parts)
    with suppress(DataError):
        said = open_split(root, "train", passes=PASSES[:1]).assumptions
        findings += [Finding(False, f"train: {text}", f"the release is at {LINK}", stops=False) for text in said]
    return findings
