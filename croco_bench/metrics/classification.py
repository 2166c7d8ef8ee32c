"""Meter of image classification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from croco_bench.metrics.definitions import CLASSIFICATION
from croco_bench.metrics.meter import Meter
from croco_bench.types import Array


class ClassificationMeter(Meter):
    """Scores class scores (classes,) against `sample["label"]`. Classes that tie with the true one rank before it."""

    metrics: ClassVar = CLASSIFICATION

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """Row of one image."""
        label = int(sample["label"])
        ahead = int((prediction >= prediction[label]).sum()) - 1
        return {"top1": 100.0 * (ahead < 1), "top5": 100.0 * (ahead < 5), "label": float(label)}
