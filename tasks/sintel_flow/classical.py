"""Classical methods for optical flow."""

from __future__ import annotations

import cv2
import numpy as np

from croco_bench.tasks.matching.tiled_task import GrayMethod
from croco_bench.types import Array


def zero(gray1: Array, _: Array) -> Array:
    """No motion: the lower bound for any method."""
    return np.zeros((*gray1.shape, 2), np.float32)


def farneback(gray1: Array, gray2: Array) -> Array:
    """Polynomial expansion (Farnebäck 2003) with the settings of OpenCV's own examples."""
    flow: Array = cv2.calcOpticalFlowFarneback(gray1, gray2, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    return flow


def dis(gray1: Array, gray2: Array) -> Array:
    """Dense inverse search (Kroeger 2016), the medium preset of OpenCV."""
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow: Array = method.calc(gray1, gray2, None)
    return flow


METHODS: dict[str, GrayMethod] = {"zero": zero, "farneback": farneback, "dis": dis}
