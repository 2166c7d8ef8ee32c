"""Monocular depth: the standard error measures (Eigen et al. 2014)."""

from __future__ import annotations

from typing import Literal

from croco_bench.metrics import Metric


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

ALL = (DELTA1, DELTA2, DELTA3, ABS_REL, SQ_REL, RMSE, RMSE_LOG, LOG10, SILOG)
