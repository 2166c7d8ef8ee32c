"""Checks ImageNet files: classes, counts, and a look at samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from croco_bench.data.catalogue import Finding, is_miniature
from croco_bench.data.datasets.imagenet import open_split
from croco_bench.data.datasets.imagenet_items import LINK, Split
from croco_bench.errors import DataError

_COUNTS: dict[Split, int] = {"train": 1_281_167, "val": 50_000}
_LOOKED_AT = 20


def check(root: Path) -> list[Finding]:
    """Findings on the dataset folder `root`; stops at the first thing without which the rest can't be looked at."""
    findings: list[Finding] = []
    try:
        findings.extend(_findings(root))
    except DataError as error:
        what, _, advice = str(error).partition("; ")
        findings.append(Finding(False, what, advice))
    return findings


def _findings(root: Path) -> Iterator[Finding]:
    if is_miniature(root):
        yield Finding(True, "a miniature of rendered rooms: its counts aren't those of the real dataset")
    for split, expected in _COUNTS.items():
        reader = open_split(root, split)
        other = reader.miniature or len(reader.classes) != 1000
        yield Finding(
            other or len(reader) == expected,
            f"{split}: {len(reader)} images of {len(reader.classes)} classes",
            f"ImageNet-1K has {expected} of 1000; get {LINK} again",
        )
        chosen = np.unique(np.linspace(0, len(reader) - 1, _LOOKED_AT).astype(int))
        sizes = [min(reader[int(index)]["image"].shape[:2]) for index in chosen]
        yield Finding(True, f"{split}: shorter sides of {len(sizes)} images are {min(sizes)} to {max(sizes)} pixels")
