"""Meter of classification under corruptions (Hendrycks 2019, ImageNet-C)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from croco_bench.metrics import Metric
from croco_bench.metrics.definitions import CORRUPTED
from croco_bench.metrics.meter import Meter
from croco_bench.types import Array

# Mean error of AlexNet over the five severities (%), as published with ImageNet-C.
ALEXNET = {
    "gaussian_noise": 88.6428,
    "shot_noise": 89.4468,
    "impulse_noise": 92.264,
    "defocus_blur": 81.988,
    "glass_blur": 82.6268,
    "motion_blur": 78.5948,
    "zoom_blur": 79.836,
    "snow": 86.6816,
    "frost": 82.6572,
    "fog": 81.9324,
    "brightness": 56.4592,
    "contrast": 85.3204,
    "elastic_transform": 64.6056,
    "pixelate": 71.784,
    "jpeg_compression": 60.65,
}


class CorruptionMeter(Meter):
    """Scores class scores (classes,) against `sample["label"]`, with `sample["corruption"]`, an index of `names`.

    Each severity of a corruption counts the same, and each corruption that is there: `mce` is the mean over corruptions of the
    error, as a percentage of AlexNet's; `top1` the mean accuracy; `corruptions` their number.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """See `Meter.metrics`."""
        return CORRUPTED

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """Row of one image; a class that ties with the true one ranks before it, as in `ClassificationMeter`."""
        wrong = int((prediction >= prediction[int(sample["label"])]).sum()) > 1
        where = {name: float(sample[name]) for name in ("corruption", "severity")}
        return {"top1": 100.0 * (not wrong), **where}

    def reduce(self, rows: Mapping[str, Array]) -> dict[str, float]:
        """Means over severities, then over corruptions."""
        lines = self._by_corruption(rows)
        return {
            "mce": float(np.mean([line["ce"] for line in lines.values()])),
            "top1": float(np.mean([line["top1"] for line in lines.values()])),
            "corruptions": float(len(lines)),
        }

    def breakdown(self, rows: Mapping[str, Array]) -> list[dict[str, str | float]]:
        """A line per corruption: its error relative to AlexNet's, and the accuracy over all and per severity (%)."""
        return [{"corruption": name, **line} for name, line in self._by_corruption(rows).items()]

    def _by_corruption(self, rows: Mapping[str, Array]) -> dict[str, dict[str, float]]:
        key = (5 * rows["corruption"] + rows["severity"] - 1).astype(np.int64)
        counts = np.bincount(key, minlength=5 * len(self.names))
        sums = np.bincount(key, weights=rows["top1"], minlength=5 * len(self.names))
        with np.errstate(invalid="ignore"):
            accuracies = (sums / counts).reshape(-1, 5)  # NaN where no image was drawn
        lines = {}
        for name, row in zip(self.names, accuracies, strict=True):
            if not np.isnan(row).all():
                top1 = float(np.nanmean(row))
                each = {f"severity{number}": float(value) for number, value in enumerate(row, start=1)}
                lines[name] = {"ce": 100 * (100 - top1) / ALEXNET[name], "top1": top1, **each}
        return lines
