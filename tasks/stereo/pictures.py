"""Disparity as pictures: near is bright."""

from __future__ import annotations

import cv2
import numpy as np

from croco_bench.data.transforms.colormaps import colored, unit_range
from croco_bench.tasks.matching.classical import picture
from croco_bench.types import Array, Sample

# The error that a picture shows at its brightest.
_WORST_PX = 5.0


def panels(sample: Sample, prediction: Array) -> dict[str, Array]:
    """Both images, predicted and true disparity in the same colours, the error; unknown pixels are grey."""
    truth, valid = sample["disparity_px"], sample["valid"]
    low, high = span = unit_range(truth[valid])
    return {
        "left image": picture(sample["image1"]),
        "right image": picture(sample["image2"]),
        f"disparity, {low:.1f} to {high:.1f} px": colored(prediction, span, cv2.COLORMAP_TURBO),
        "true disparity": colored(truth, span, cv2.COLORMAP_TURBO, valid),
        f"error, 0 to {_WORST_PX:g} px": colored(
            np.abs(prediction - truth), (0.0, _WORST_PX), cv2.COLORMAP_INFERNO, valid
        ),
    }
