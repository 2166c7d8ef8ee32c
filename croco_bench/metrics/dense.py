"""Meter of dense regression, per image, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from croco_bench.metrics.definitions import DENSE
from croco_bench.metrics.meter import Meter
from croco_bench.types import Array


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
