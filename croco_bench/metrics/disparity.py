"""Scores disparity image by image, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from croco_bench.metrics.definitions import (
    DISPARITY,
    DISPARITY_KNOWN,
    DISPARITY_NOC,
    DISPARITY_POOLED,
    DISPARITY_THRESHOLDS_PX,
)
from croco_bench.metrics.meter import Meter
from croco_bench.types import Array


class DisparityMeter(Meter):
    """Scores a disparity (H, W) in pixels against `sample["disparity_px"]` where `sample["valid"]` (H, W) holds.

    `occluded` (H, W) of the sample, if it has it, says what the right view doesn't show. Where a sample has four truths of every
    pixel, `disparity4_px` and `valid4` (H, W, 4), as Spring's have, an error is the least of those to the known ones.

    A row holds the metrics of this image, and `sums` and `count` of its known pixels, from which the pooled ones are made. The
    others are means over images: Middlebury and ETH3D rank by these, and CroCo v2 selects by them, while its test pools pixels.
    """

    metrics: ClassVar = DISPARITY

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """Row of one image."""
        error = _errors(prediction.astype(np.float64), sample)
        truth = sample["disparity_px"].astype(np.float64)
        known = np.isfinite(error)
        occluded = sample.get("occluded")
        seen = np.zeros_like(known) if occluded is None else known & ~occluded
        parts = ((DISPARITY_KNOWN, known), (DISPARITY_NOC, seen))
        row: dict[str, float | Array] = {
            metric.name: value
            for metrics, where in parts
            for metric, value in zip(metrics, _scores(error[where], truth[where]), strict=True)
        }
        sums = [error[known].sum(), *(100.0 * (error[known] > most).sum() for most in DISPARITY_THRESHOLDS_PX)]
        return {**row, "sums": np.array(sums), "count": float(known.sum())}

    def reduce(self, rows: Mapping[str, Array]) -> dict[str, float]:
        """Means over images, and over the pixels of all images together."""
        return reduce_disparity(rows)


def reduce_disparity(rows: Mapping[str, Array]) -> dict[str, float]:
    """Means over images, and over the pixels of all images together, from their `sums` and `count`."""
    images = {metric.name: rows[metric.name] for metric in (*DISPARITY_KNOWN, *DISPARITY_NOC)}
    found = {name: float(np.mean(v[~np.isnan(v)])) if (~np.isnan(v)).any() else np.nan for name, v in images.items()}
    count = rows["count"].sum()
    pooled = rows["sums"].sum(axis=0) / count if count else np.full(len(DISPARITY_POOLED), np.nan)
    return found | {metric.name: float(value) for metric, value in zip(DISPARITY_POOLED, pooled, strict=True)}


def _scores(error: Array, truth: Array) -> list[float]:
    """In the order of the metrics of an image; NaN where there is no pixel."""
    if not error.size:
        return [np.nan] * len(DISPARITY_KNOWN)
    wrong = [error > most for most in DISPARITY_THRESHOLDS_PX] + [(error > 3) & (error > 0.05 * truth)]
    return [
        float(error.mean()),
        float(np.sqrt(np.square(error).mean())),
        *(100.0 * float(bad.mean()) for bad in wrong),
    ]


def _errors(prediction: Array, sample: Mapping[str, Array]) -> Array:
    """Error (H, W) of every pixel, NaN where unknown."""
    if "disparity4_px" not in sample:
        return np.where(sample["valid"], np.abs(prediction - sample["disparity_px"].astype(np.float64)), np.nan)
    four = np.abs(prediction[:, :, None] - sample["disparity4_px"].astype(np.float64))
    least = np.where(sample["valid4"], four, np.inf).min(axis=2)
    return np.where(np.isinf(least), np.nan, least)
