"""Scores dense regressions, per image, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from croco_bench.metrics.definitions import DENSE
from croco_bench.metrics.meter import Meter
from croco_bench.types import Array


class DenseMeter(Meter):
    """Scores a map (H, W, C) against `sample["target"]` (H, W, C) where `sample["valid"]` (H, W) holds.

    An image without a valid pixel gives NaN and leaves the mean.
    """

    metrics: ClassVar = DENSE

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """Row of one image: the mean absolute error, and how many pixels it was made from."""
        valid = sample["valid"]
        errors = np.abs(prediction[valid].astype(np.float64) - sample["target"][valid])
        return {"l1": float(errors.mean()) if errors.size else float("nan"), "valid_pixels": float(valid.sum())}
