"""Classification of whole images."""

from __future__ import annotations

from croco_bench.metrics import Metric

TOP1 = Metric("top1", "top-1", "%", "higher", "image", 1, "100 * mean[the true class has the highest score]")
TOP5 = Metric("top5", "top-5", "%", "higher", "image", 1, "100 * mean[fewer than five classes score higher]")

ALL = (TOP1, TOP5)
