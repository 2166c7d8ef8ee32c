"""FlyingChairs: chairs that move over photographs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from croco_bench.data.checks.image_pairs import check_splits
from croco_bench.data.checks.run_check import Finding
from croco_bench.data.datasets.matching.image_pairs import MatchingReader, PairPaths, read_truth_file
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.arrays import opened
from croco_bench.data.formats.flow import read_flo
from croco_bench.data.formats.layout import base_of, file_names, require
from croco_bench.errors import DataError

Split = Literal["train", "val"]
LINK = "https://lmb.informatik.uni-freiburg.de/data/FlyingChairs/FlyingChairs.zip"
PAIRS: dict[Split, int] = {"train": 22_232, "val": 640}
SPLIT_LINK = "https://lmb.informatik.uni-freiburg.de/resources/datasets/FlyingChairs/FlyingChairs_train_val.txt"
# The list's name in RAFT and CroCo, and at its source.
LISTS = ("chairs_split.txt", "FlyingChairs_train_val.txt")
_MARKS: dict[Split, str] = {"train": "1", "val": "2"}


def open_split(root: Path, split: Split) -> MatchingReader:
    """The pairs of a split: line n of the list is pair n, 1 for train and 2 for val.

    Raises:
        DataError: files are missing, or the list doesn't belong to them.
    """
    base = base_of(root, ("FlyingChairs_release", "FlyingChairs"), "data", LINK)
    path = _list(root, base)
    with opened(path) as stream:
        marks = stream.read().decode(errors="replace").split()
    odd = next((line for line, mark in enumerate(marks, start=1) if mark not in _MARKS.values()), None)
    if odd:
        raise DataError(
            f'{path}, line {odd}: expected 1 or 2, found "{marks[odd - 1][:40]}"', f"get it from {SPLIT_LINK}"
        )
    numbers = [number for number, mark in enumerate(marks, start=1) if mark == _MARKS[split]]
    present = set(file_names(base / "data", "", "", LINK))
    wanted = (f"{number:05d}_{kind}" for number in numbers for kind in ("img1.ppm", "img2.ppm", "flow.flo"))
    require(base / "data", wanted, present, LINK)
    if f"{len(marks) + 1:05d}_flow.flo" in present:
        raise DataError(f"{path} has {len(marks)} lines, fewer than there are pairs", f"get it from {SPLIT_LINK}")
    pairs = [
        PairPaths(
            id=f"{number:05d}",
            group=f"{number:05d}",
            image1=f"data/{number:05d}_img1.ppm",
            image2=f"data/{number:05d}_img2.ppm",
            truth=f"data/{number:05d}_flow.flo",
        )
        for number in numbers
    ]
    return MatchingReader(
        "flyingchairs", split, base, pairs, partial(read_truth_file, "flow_px", read_flo), miniature=is_miniature(root)
    )


def _list(root: Path, base: Path) -> Path:
    for path in (folder / name for folder in (root, base) for name in LISTS):
        if path.is_file():
            return path
    raise DataError(f"there is no {root / LISTS[0]}", f"get it from {SPLIT_LINK}")


def check(root: Path) -> list[Finding]:
    """Findings on both splits of the list."""
    return check_splits(root, LINK, open_split, PAIRS)
