"""Regression of dense maps."""

from __future__ import annotations

from croco_bench.metrics import Metric

L1 = Metric("l1", "L1", "", "lower", "image", 4, "mean over valid pixels and channels of |p - t|")

ALL = (L1,)
