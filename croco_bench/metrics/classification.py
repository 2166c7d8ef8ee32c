"""Meter of image classification."""

from __future__ import annotations

from collections.abc import Mapping

from croco_bench.metrics import Metric
from croco_bench.metrics.definitions import CLASSIFICATION, TOP1
from croco_bench.metrics.meter import Meter
from croco_bench.types import Array

_TOP = 5


class ClassificationMeter(Meter):
    """Scores class scores (classes,) against `sample["label"]`. Classes that tie with the true one rank before it,
    and so do all classes where a score isn't a number.

    Of five classes or fewer there is no top-5, which would always be 100 %.
    """

    def __init__(self, classes: int | None = None) -> None:
        self._metrics = CLASSIFICATION if classes is None or classes > _TOP else (TOP1,)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """See `Meter.metrics`."""
        return self._metrics

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """Row of one image."""
        label = int(sample["label"])
        ahead = int((~(prediction < prediction[label])).sum()) - 1
        return {"top1": 100.0 * (ahead < 1), "top5": 100.0 * (ahead < _TOP), "label": float(label)}
