"""Checks NYUv2 files: presence, counts, axes, ranges, and a look at samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from croco_bench.contracts import Reader
from croco_bench.data.nyuv2 import MAT, MAT_LINK, SPLITS, SPLITS_LINK, layout_of, open_mat, open_split, read_splits
from croco_bench.data.places import Finding, is_miniature
from croco_bench.errors import DataError

_TRAIN, _TEST, _ALL = 795, 654, 1449


def check(root: Path) -> list[Finding]:
    """Findings on the dataset folder `root`; stops at the first thing without which the rest can't be looked at."""
    try:
        layout = layout_of(root)
        findings = [Finding(True, f"layout: {layout}")]
        if layout == "mat":
            findings += _check_mat(root)
        for split, expected in (("train", _TRAIN), ("test", _TEST)):
            reader = open_split(root, split)  # type: ignore[arg-type]
            findings.append(_count(reader, expected, counted=layout == "mat" or split == "test"))
            findings += _samples(reader)
    except DataError as error:
        what, _, advice = str(error).partition("; ")
        return [Finding(False, what, advice)]
    return findings


def _check_mat(root: Path) -> list[Finding]:
    splits = read_splits(root)
    with open_mat(root) as file:
        count, _, width, height = file["images"].shape
        kinds = tuple(str(file[name].dtype) for name in ("images", "depths", "rawDepths"))
    together = np.sort(np.concatenate(list(splits.values())))
    whole = np.array_equal(together, np.arange(count))
    findings = [
        Finding(
            kinds == ("uint8", "float32", "float32"), f"types: {', '.join(kinds)}", "expected uint8, float32, float32"
        ),
        Finding(
            whole,
            "splits: disjoint, and together all images",
            f"{SPLITS} belongs to another file; get it from {SPLITS_LINK}",
        ),
    ]
    if not is_miniature(root):
        official = (count, height, width) == (_ALL, 480, 640)
        findings.append(
            Finding(
                official,
                f"{MAT}: {count} images of {height}x{width}",
                f"expected {_ALL} of 480x640; get it from {MAT_LINK}",
            )
        )
    return findings


def _count(reader: Reader, expected: int, *, counted: bool) -> Finding:
    what = f"{reader.split}: {len(reader)} images in {len(set(reader.groups))} scenes"
    known = counted and not reader.miniature
    return Finding(not known or len(reader) == expected, what, f"expected {expected}")


def _samples(reader: Reader) -> list[Finding]:
    """Range and valid share of five images spread over the split."""
    findings = []
    for index in sorted({int(place) for place in np.linspace(0, len(reader) - 1, 5)}):
        sample = reader[index]
        depth, valid = sample["depth_m"], sample["valid"]
        near, far = (float(depth[valid].min()), float(depth[valid].max())) if valid.any() else (np.nan, np.nan)
        sound = bool(valid.mean() > 0.2 and 0 < near and far < 20 and sample["image"].std() > 1)
        what = f"{reader.split} {sample['id']}: depth {near:.2f} to {far:.2f} m, {valid.mean():.0%} valid"
        findings.append(Finding(sound, what, "expected 0 to 20 m, more than 20 % valid, and an image that isn't blank"))
    return findings
