"""Checks NYUv2 files: presence, counts, axes, units, and a look at samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from croco_bench.contracts import Reader
from croco_bench.data.catalogue import Finding, is_miniature
from croco_bench.data.datasets.nyuv2 import (
    MAT,
    MAT_LINK,
    SPLITS,
    SPLITS_LINK,
    Layout,
    Split,
    layout_of,
    open_mat,
    open_split,
    read_splits,
)
from croco_bench.errors import DataError

_COUNTS: dict[Split, int] = {"train": 795, "test": 654}
_ALL = 1449


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
    layout = layout_of(root)
    yield Finding(True, f"layout: {layout}")
    if is_miniature(root):
        yield Finding(True, "a miniature of rendered rooms: its counts aren't those of the real dataset")
    if layout == "mat":
        yield from _mat(root)
    for split in _COUNTS:
        reader = open_split(root, split, layout=layout)
        yield _count(reader, layout, split)
        yield from _samples(reader)


def _mat(root: Path) -> Iterator[Finding]:
    splits = read_splits(root)
    with open_mat(root) as file:
        count, _, width, height = file["images"].shape
        kinds = tuple(str(file[name].dtype) for name in ("images", "depths", "rawDepths"))
    yield Finding(
        kinds == ("uint8", "float32", "float32"), f"types: {', '.join(kinds)}", "expected uint8, float32, float32"
    )
    named = sum(len(indices) for indices in splits.values())
    yield Finding(
        named == count,
        f"splits: {named} of {count} images, none twice",
        f"{SPLITS} belongs to another file; get it from {SPLITS_LINK}",
    )
    if not is_miniature(root):
        yield Finding(
            (count, height, width) == (_ALL, 480, 640),
            f"{MAT}: {count} images of {height}x{width}",
            f"expected {_ALL} of 480x640; get it from {MAT_LINK}",
        )


def _count(reader: Reader, layout: Layout, split: Split) -> Finding:
    # BTS trains on frames of the raw recordings, of which people keep different numbers.
    free = reader.miniature or (layout == "bts" and split == "train")
    what = f"{split}: {len(reader)} images in {len(set(reader.groups))} scenes"
    return Finding(free or len(reader) == _COUNTS[split], what, f"expected {_COUNTS[split]}")


def _samples(reader: Reader) -> Iterator[Finding]:
    """A look at five images spread over the split, then at the unit of their depths."""
    medians = []
    for index in sorted({int(place) for place in np.linspace(0, len(reader) - 1, 5)}):
        sample = reader[index]
        depth, share = sample["depth_m"][sample["valid"]], float(sample["valid"].mean())
        near, far = (float(depth.min()), float(depth.max())) if depth.size else (np.nan, np.nan)
        medians.append(float(np.median(depth)) if depth.size else np.nan)
        yield Finding(
            share > 0.2 and near > 0 and far < 20 and float(sample["image"].std()) > 1,
            f"{reader.split} {sample['id']}: depth {near:.2f} to {far:.2f} m, {share:.0%} valid",
            "expected 0 to 20 m, more than 20 % valid, and an image that isn't blank",
        )
    typical = float(np.median(medians))
    yield Finding(
        0.8 < typical < 8,
        f"{reader.split}: median depth {typical:.2f} m",
        "rooms have 1 to 6 m; if the depth files came from a script, it wrote another unit than this layout's",
    )
