"""Checks pairs of views: counts, and whether the second view, fetched along the truth, looks like the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from croco_bench.data.catalogue import Finding, is_miniature
from croco_bench.data.datasets.matching.image_pairs import MatchingReader
from croco_bench.errors import DataError
from croco_bench.types import Array, Sample

_LOOKED_AT = 5
# Shares of pixels that a mask of what is hidden or unreliable has at most, on average.
_MOST_MASKED = 0.5


@dataclass(frozen=True)
class Part:
    """A split, or a part of one, as it should be: how it is opened, and how many pairs are in the release."""

    title: str
    open: Callable[[], MatchingReader]
    pairs: int | None


def check_parts(root: Path, link: str, parts: Sequence[Part]) -> list[Finding]:
    """Findings on all parts; stops at the first thing without which the rest can't be looked at."""
    findings: list[Finding] = []
    if is_miniature(root):
        findings.append(Finding(True, "a miniature of rendered rooms: its counts aren't those of the real dataset"))
    try:
        for part in parts:
            findings.extend(_findings(part, link))
    except DataError as error:
        what, _, advice = str(error).partition("; ")
        findings.append(Finding(False, what, advice))
    return findings


def _findings(part: Part, link: str) -> Iterator[Finding]:
    reader = part.open()
    fits = reader.miniature or part.pairs is None or len(reader) == part.pairs
    scenes = len(set(reader.groups))
    yield Finding(fits, f"{part.title}: {len(reader)} pairs of {scenes} scenes", f"expected {part.pairs}; get {link}")
    places = np.unique(np.linspace(0, len(reader) - 1, _LOOKED_AT).astype(int))
    samples = [reader[int(place)] for place in places]
    for sample in samples:
        if min(sample["image1"].std(), sample["image2"].std()) < 1:
            yield Finding(False, f"{part.title}: {sample['id']} has a blank image", f"get {link} again")
    if "valid" in samples[0]:
        yield _truth(part, samples, link)
        yield from _masks(part, samples)


def _truth(part: Part, samples: Sequence[Sample], link: str) -> Finding:
    known = float(np.mean([sample["valid"].mean() for sample in samples]))
    lengths = np.concatenate([np.linalg.norm(motion_of(sample), axis=2)[sample["valid"]] for sample in samples])
    median = float(np.median(lengths)) if lengths.size else np.nan
    moved, still = np.mean([differences(sample, motion_of(sample)) for sample in samples], axis=0)
    return Finding(
        bool(known > 0.01 and moved <= still),
        f"{part.title}: {known:.0%} known, {median:.1f} pixels in the median; grey values differ by {moved:.1f} along it, by "
        f"{still:.1f} without",
        f"the second view should look more like the first along the truth: they don't belong together; get {link} again",
    )


def _masks(part: Part, samples: Sequence[Sample]) -> Iterator[Finding]:
    for key in ("occluded", "invalid"):
        if key in samples[0]:
            share = float(np.mean([sample[key].mean() for sample in samples]))
            yield Finding(
                share < _MOST_MASKED,
                f"{part.title}: {share:.1%} {key}",
                "expected less than half; the mask may be the other way round",
            )


def motion_of(sample: Sample) -> Array:
    """What leads from the first view to the second, (H, W, 2) in pixels: flow, or a disparity to the left."""
    if "disparity_px" in sample:
        disparity = sample["disparity_px"]
        return np.stack([-disparity, np.zeros_like(disparity)], axis=2)
    flow: Array = sample["flow_px"]
    return flow


def differences(sample: Sample, motion: Array) -> tuple[float, float]:
    """Mean differences of grey values of both views, along the motion and at equal places, where both can be compared."""
    first, second = (cv2.cvtColor(sample[key], cv2.COLOR_RGB2GRAY).astype(np.float32) for key in ("image1", "image2"))
    height, width = first.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = columns + motion[:, :, 0], rows + motion[:, :, 1]
    seen = sample["valid"] & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    for key in ("occluded", "invalid"):
        seen &= ~sample.get(key, np.zeros_like(seen))
    if not seen.any():
        return 0.0, 0.0
    fetched = cv2.remap(second, x, y, cv2.INTER_LINEAR)
    return float(np.abs(fetched - first)[seen].mean()), float(np.abs(second - first)[seen].mean())
