"""Checks ADE20K files: pairs, counts, and a look at samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from croco_bench.data.catalogue import Finding, is_miniature
from croco_bench.data.datasets.ade20k import LINK, UNLABELED, ADE20KReader, Split
from croco_bench.data.datasets.ade20k_classes import NAMES
from croco_bench.errors import DataError

_COUNTS: dict[Split, int] = {"train": 20_210, "test": 2_000}
_LOOKED_AT = 8


def check(root: Path) -> list[Finding]:
    """Findings on the dataset folder `root`; stops at the first thing without which the rest can't be looked at."""
    findings: list[Finding] = []
    try:
        if is_miniature(root):
            findings.append(Finding(True, "a miniature of rendered rooms: its counts aren't those of the real dataset"))
        for split in _COUNTS:
            findings.extend(_findings(ADE20KReader(root, split), _COUNTS[split]))
    except DataError as error:
        what, _, advice = str(error).partition("; ")
        findings.append(Finding(False, what, advice))
    return findings


def _findings(reader: ADE20KReader, expected: int) -> Iterator[Finding]:
    fits = reader.miniature or len(reader) == expected
    yield Finding(fits, f"{reader.split}: {len(reader)} images and annotations", f"expected {expected}; get {LINK}")
    areas = np.zeros(UNLABELED + 1, dtype=np.int64)
    places = sorted({int(place) for place in np.linspace(0, len(reader) - 1, _LOOKED_AT)})
    for index in places:
        sample = reader[index]
        areas += np.bincount(sample["label"].ravel(), minlength=len(areas))
        if sample["image"].std() < 1:
            yield Finding(False, f"{sample['id']} is a blank image", f"get {LINK} again")
    classes, labeled = areas[: len(NAMES)], 1 - areas[UNLABELED] / areas.sum()
    common = ", ".join(NAMES[one] for one in classes.argsort()[::-1][:3] if classes[one])
    yield Finding(
        labeled > 0.5,
        f"{reader.split}: {labeled:.0%} of {len(places)} annotations labelled, mostly {common or 'nothing'}",
        "annotations should count classes from 1 and label nearly every pixel",
    )
