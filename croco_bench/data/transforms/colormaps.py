"""Colour maps for figures."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from croco_bench.types import Array

_GRAY = 96


def unit_range(values: Array) -> tuple[float, float]:
    """The range of values to show: 2nd to 98th percentile; (0, 1) without values."""
    if not values.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, (2, 98)))
    return low, max(high, low + 1e-6)


def colored(values: Array, span: tuple[float, float], colormap: int, valid: Array | None = None) -> NDArray[np.uint8]:
    """Values (H, W) -> RGB (H, W, 3) with an OpenCV colour map over `span`; invalid pixels are grey."""
    level = np.clip((values - span[0]) / (span[1] - span[0]), 0, 1)
    picture = cv2.applyColorMap((255 * np.nan_to_num(level)).astype(np.uint8), colormap)[:, :, ::-1]
    if valid is not None:
        picture = np.where(valid[:, :, None], picture, _GRAY)
    return np.ascontiguousarray(picture, dtype=np.uint8)
