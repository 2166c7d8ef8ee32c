"""Optical flow without learning: what `--ckpt classical:NAME` stands for."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from torch import Tensor

from croco_bench.contracts import Batch
from croco_bench.metrics.meter import Array

Method = Callable[[Array, Array], Array]


def zero(grey1: Array, _: Array) -> Array:
    """Nothing moves: what any method should beat."""
    return np.zeros((*grey1.shape, 2), np.float32)


def farneback(grey1: Array, grey2: Array) -> Array:
    """Polynomial expansion (Farnebäck 2003) with the settings of OpenCV's own examples."""
    flow: Array = cv2.calcOpticalFlowFarneback(grey1, grey2, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    return flow


def dis(grey1: Array, grey2: Array) -> Array:
    """Dense inverse search (Kroeger 2016), the medium preset of OpenCV."""
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow: Array = method.calc(grey1, grey2, None)
    return flow


METHODS: dict[str, Method] = {"zero": zero, "farneback": farneback, "dis": dis}


def on_batch(method: Method, batch: Batch) -> list[Array]:
    """Flow (H, W, 2) in pixels of every pair of a prepared batch."""
    return [method(_grey(one), _grey(two)) for one, two in zip(batch["image1"], batch["image2"], strict=True)]


def _grey(image: Tensor) -> Array:
    rgb = (image.permute(1, 2, 0) * 255).round().to("cpu").numpy().astype(np.uint8)
    grey: Array = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return grey
