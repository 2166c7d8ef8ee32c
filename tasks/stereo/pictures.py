"""Disparity as pictures: near is bright."""

from __future__ import annotations

import cv2
import numpy as np

from croco_bench.data.transforms.color import to_uint8
from croco_bench.data.transforms.colormaps import colored, unit_range
from croco_bench.types import Array, Sample

# Error (px) of the brightest color.
_WORST_PX = 5.0


def panels(sample: Sample, prediction: Array) -> dict[str, Array]:
    """Both images, predicted and true disparity in the same colours, the error; unknown pixels are grey."""
    truth, valid = sample["disparity_px"], sample["valid"]
    min_px, max_px = span = unit_range(truth[valid])
    return {
        "left image": to_uint8(sample["image1"]),
        "right image": to_uint8(sample["image2"]),
        f"disparity, {min_px:.1f} to {max_px:.1f} px": colored(prediction, span, cv2.COLORMAP_TURBO),
        "true disparity": colored(truth, span, cv2.COLORMAP_TURBO, valid),
        f"error, 0 to {_WORST_PX:g} px": colored(
            np.abs(prediction - truth), (0.0, _WORST_PX), cv2.COLORMAP_INFERNO, valid
        ),
    }
