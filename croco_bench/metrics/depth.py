"""Monocular depth: the standard error measures, per image, in float64 (Eigen et al. 2014)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from croco_bench.errors import DivergedError
from croco_bench.metrics import Array, Meter, Metric

MIN_DEPTH_M, MAX_DEPTH_M = 1e-3, 10.0


def _delta(power: int) -> Metric:
    superscript = {1: "", 2: "²", 3: "³"}[power]
    formula = f"100 * mean[max(p/t, t/p) < 1.25{superscript}]"
    return Metric(f"delta{power}", f"δ{power}", "%", "higher", "image", 1, formula)


def _error(name: str, label: str, unit: Literal["", "m"], formula: str) -> Metric:
    return Metric(name, label, unit, "lower", "image", 3, formula)


DELTA1, DELTA2, DELTA3 = _delta(1), _delta(2), _delta(3)
ABS_REL = _error("abs_rel", "AbsRel", "", "mean[|p - t| / t]")
SQ_REL = _error("sq_rel", "SqRel", "m", "mean[(p - t)² / t]")
RMSE = _error("rmse", "RMSE", "m", "sqrt(mean[(p - t)²])")
RMSE_LOG = _error("rmse_log", "RMSElog", "", "sqrt(mean[(ln p - ln t)²])")
LOG10 = _error("log10", "log10", "", "mean[|log10 p - log10 t|]")
SILOG = _error("silog", "SILog", "", "100 * sqrt(mean[e²] - mean[e]²), e = ln p - ln t")


class DepthMeter(Meter):
    """Scores a depth map (H, W) in metres against `sample["depth_m"]` where `sample["valid"]` holds.

    Only targets strictly between `min_m` and `max_m` count; predictions are clamped to [min_m, max_m], as BTS and
    DINOv2 do. An image without such a pixel gives NaN and leaves the mean.
    """

    metrics: ClassVar = (DELTA1, DELTA2, DELTA3, ABS_REL, SQ_REL, RMSE, RMSE_LOG, LOG10, SILOG)

    def __init__(self, *, min_m: float = MIN_DEPTH_M, max_m: float = MAX_DEPTH_M) -> None:
        self.min_m, self.max_m = min_m, max_m

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """Row of one image: every metric, and how many pixels it was made from.

        Raises:
            DivergedError: the prediction isn't finite.
        """
        if not np.isfinite(prediction).all():
            raise DivergedError(
                f"{np.count_nonzero(~np.isfinite(prediction))} of {prediction.size} pixels of a predicted depth map "
                "aren't finite: the network diverged; lower --set optim.lr or use --set train.precision=fp32"
            )
        target = sample["depth_m"]
        scored = sample["valid"] & (target > self.min_m) & (target < self.max_m)
        truth = target[scored].astype(np.float64)
        if not truth.size:
            return {**{metric.name: float("nan") for metric in self.metrics}, "valid_pixels": 0.0}
        guess = np.clip(prediction[scored].astype(np.float64), self.min_m, self.max_m)
        ratio = np.maximum(guess / truth, truth / guess)
        error, log_error = guess - truth, np.log(guess) - np.log(truth)
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
