"""Meter of depth estimation, per image, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from croco_bench.metrics.definitions import DEPTH
from croco_bench.metrics.meter import Meter
from croco_bench.types import Array

MIN_DEPTH_M, MAX_DEPTH_M = 1e-3, 10.0


class DepthMeter(Meter):
    """Scores a depth map (H, W) in metres against `sample["depth_m"]` where `sample["valid"]` holds.

    Only targets strictly between `min_m` and `max_m` are scored; predictions are clamped to [min_m, max_m], as in BTS and
    DINOv2. An image without such pixels gives NaN, which the mean ignores.
    """

    metrics: ClassVar = DEPTH

    def __init__(self, *, min_m: float = MIN_DEPTH_M, max_m: float = MAX_DEPTH_M) -> None:
        self.min_m, self.max_m = min_m, max_m

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """Row of one image: every metric, and the number of scored pixels."""
        target = sample["depth_m"]
        scored = sample["valid"] & (target > self.min_m) & (target < self.max_m)
        truth = target[scored].astype(np.float64)
        if not truth.size:
            return {**{metric.name: float("nan") for metric in self.metrics}, "valid_pixels": 0.0}
        predicted = np.clip(prediction[scored].astype(np.float64), self.min_m, self.max_m)
        ratio = np.maximum(predicted / truth, truth / predicted)
        error, log_error = predicted - truth, np.log(predicted) - np.log(truth)
        return {
            **{f"delta{power}": 100.0 * float((ratio < 1.25**power).mean()) for power in (1, 2, 3)},
            "abs_rel": float((np.abs(error) / truth).mean()),
            "sq_rel": float((error**2 / truth).mean()),
            "rmse": float(np.sqrt((error**2).mean())),
            "rmse_log": float(np.sqrt((log_error**2).mean())),
            "log10": float(np.abs(log_error).mean() / np.log(10.0)),
            "silog": 100.0 * float(log_error.std()),
            "valid_pixels": float(truth.size),
        }
