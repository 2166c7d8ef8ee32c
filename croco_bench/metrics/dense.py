"""Meters of dense regression, in float64: any map per image, and surface normals over the pixels of the whole set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from croco_bench.metrics.definitions import DENSE, NORMAL_THRESHOLDS_DEG, NORMALS
from croco_bench.metrics.meter import Meter
from croco_bench.types import Array

# Width of a bin of angles. All thresholds are multiples of it, and it is a power of two, so that shares are exact.
_BIN_DEG = 0.125
_BINS = round(180 / _BIN_DEG)


class DenseMeter(Meter):
    """Scores a map (H, W, C) against `sample["target"]` (H, W, C) where `sample["valid"]` (H, W) holds.

    An image without valid pixels gives NaN, which the mean ignores.
    """

    metrics: ClassVar = DENSE

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """Row of one image: mean absolute error, and number of valid pixels."""
        valid = sample["valid"]
        errors = np.abs(prediction[valid].astype(np.float64) - sample["target"][valid])
        return {"l1": float(errors.mean()) if errors.size else float("nan"), "valid_pixels": float(valid.sum())}


class NormalsMeter(Meter):
    """Scores normals (H, W, 3) of any length against `sample["normals"]` (H, W, 3) where `sample["valid"]` (H, W) holds.

    A row holds the histogram of an image's angles (1440 bins of 0.125 deg), their sum and that of their squares, and the metrics
    of the image. Metrics of a set are made from the summed rows: of all its pixels, as GeoNet's and later evaluations do. The
    median is interpolated within its bin.
    """

    metrics: ClassVar = NORMALS

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """Row of one image."""
        valid = sample["valid"]
        angles = angles_deg(prediction[valid], sample["normals"][valid])
        numbers = np.minimum((angles / _BIN_DEG).astype(np.intp), _BINS - 1)
        histogram: Array = np.bincount(numbers, minlength=_BINS).astype(np.float64)
        total, squares = float(angles.sum()), float((angles**2).sum())
        metrics = _metrics(histogram, total, squares)
        return {"histogram": histogram, "total_deg": total, "squares_deg": squares, **metrics}

    def reduce(self, rows: Mapping[str, Array]) -> dict[str, float]:
        """Metrics of all pixels; NaN without valid ones."""
        return reduce_angles(rows)


def angles_deg(one: Array, two: Array) -> Array:
    """Angles (n,) in degrees between vectors (n, 3); 90 where one has no length."""
    one, two = one.astype(np.float64), two.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    cosines = np.einsum("ni,ni->n", one, two) / np.maximum(lengths, 1e-12)
    angles: Array = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    return angles


def reduce_angles(rows: Mapping[str, Array]) -> dict[str, float]:
    """Metrics from the summed rows of all images."""
    return _metrics(
        histogram=rows["histogram"].sum(axis=0),
        total_deg=float(rows["total_deg"].sum()),
        squares_deg=float(rows["squares_deg"].sum()),
    )


def _metrics(histogram: Array, total_deg: float, squares_deg: float) -> dict[str, float]:
    pixels = float(histogram.sum())
    if not pixels:
        return {metric.name: float("nan") for metric in NORMALS}
    below = np.concatenate([[0.0], histogram.cumsum()])
    shares = {
        f"within{degrees:g}": 100 * float(below[round(degrees / _BIN_DEG)]) / pixels
        for degrees in NORMAL_THRESHOLDS_DEG
    }
    return {
        "mean_deg": total_deg / pixels,
        "median_deg": _median(histogram, below),
        "rmse_deg": float(np.sqrt(squares_deg / pixels)),
        **shares,
    }


def _median(histogram: Array, below: Array) -> float:
    """The angle (deg) that half of the pixels are below; `below` has the number of pixels below the start of each bin."""
    half = below[-1] / 2
    number = int(np.searchsorted(below[1:], half))
    return _BIN_DEG * (number + float((half - below[number]) / histogram[number]))
