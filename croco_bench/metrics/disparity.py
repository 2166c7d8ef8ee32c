"""Meter of stereo disparity, in float64."""

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

    Optional keys of a sample: `occluded` (H, W), pixels not visible in the right view; `disparity4_px` and `valid4`
    (H, W, 4), four true values per pixel as in Spring, of which the nearest known one counts.

    A row holds the metrics of one image, and the `sums` and `count` of its known pixels. Pooled metrics are made from the
    sums; the others are means over images. Middlebury and ETH3D rank, and CroCo v2 selects, by means over images, whereas
    CroCo v2's test pools pixels.
    """

    metrics: ClassVar = DISPARITY

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """Row of one image."""
        error = _errors(prediction.astype(np.float64), sample)
        truth = sample["disparity_px"].astype(np.float64)
        known = np.isfinite(error)
        occluded = sample.get("occluded")
        visible = np.zeros_like(known) if occluded is None else known & ~occluded
        parts = ((DISPARITY_KNOWN, known), (DISPARITY_NOC, visible))
        row: dict[str, float | Array] = {
            metric.name: value
            for metrics, where in parts
            for metric, value in zip(metrics, _scores(error[where], truth[where]), strict=True)
        }
        sums = [error[known].sum(), *(100.0 * (error[known] > limit).sum() for limit in DISPARITY_THRESHOLDS_PX)]
        return {**row, "sums": np.array(sums), "count": float(known.sum())}

    def reduce(self, rows: Mapping[str, Array]) -> dict[str, float]:
        """Means over images, and over the known pixels of all images."""
        return reduce_disparity(rows)


def reduce_disparity(rows: Mapping[str, Array]) -> dict[str, float]:
    """Means over images, and over the known pixels of all images from `sums` and `count`."""
    images = {metric.name: rows[metric.name] for metric in (*DISPARITY_KNOWN, *DISPARITY_NOC)}
    means = {name: float(np.mean(v[~np.isnan(v)])) if (~np.isnan(v)).any() else np.nan for name, v in images.items()}
    count = rows["count"].sum()
    pooled = rows["sums"].sum(axis=0) / count if count else np.full(len(DISPARITY_POOLED), np.nan)
    return means | {metric.name: float(value) for metric, value in zip(DISPARITY_POOLED, pooled, strict=True)}


def _scores(error: Array, truth: Array) -> list[float]:
    """Values of the metrics of an image, in order; NaN without pixels."""
    if not error.size:
        return [np.nan] * len(DISPARITY_KNOWN)
    wrong = [error > limit for limit in DISPARITY_THRESHOLDS_PX] + [(error > 3) & (error > 0.05 * truth)]
    return [
        float(error.mean()),
        float(np.sqrt(np.square(error).mean())),
        *(100.0 * float(bad.mean()) for bad in wrong),
    ]


def _errors(prediction: Array, sample: Mapping[str, Array]) -> Array:
    """Absolute error (H, W) of every pixel, NaN where unknown."""
    if "disparity4_px" not in sample:
        return np.where(sample["valid"], np.abs(prediction - sample["disparity_px"].astype(np.float64)), np.nan)
    four = np.abs(prediction[:, :, None] - sample["disparity4_px"].astype(np.float64))
    nearest = np.where(sample["valid4"], four, np.inf).min(axis=2)
    return np.where(np.isinf(nearest), np.nan, nearest)
