"""Classical methods: no motion, SIFT descriptors on a grid, optical flow. They see images with a shorter side of 256 pixels."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from croco_bench.data.transforms.color import to_uint8
from croco_bench.tasks.correspondence.truth import sides_px
from croco_bench.types import Array, Batch

# (gray image of view 1, of view 2, points (P, 2)) -> matches (P, 2), all in pixels of these images; no point is NaN.
PointMethod = Callable[[Array, Array, Array], Array]
# Diameter in pixels of the points whose SIFT descriptors are compared, and distance between those of view 2.
_SIFT_PX, _SIFT_STEP_PX = 8.0, 4


def zero(_: Array, __: Array, points: Array) -> Array:
    """No motion."""
    return points


def sift(gray1: Array, gray2: Array, points: Array) -> Array:
    """The nearest upright SIFT descriptor of one size, on a grid of view 2."""
    height, width = gray2.shape
    offset = _SIFT_STEP_PX / 2
    y, x = np.mgrid[offset:height:_SIFT_STEP_PX, offset:width:_SIFT_STEP_PX]
    candidates = np.stack([x, y], axis=-1).reshape(-1, 2)
    one, two = (_descriptors(gray, where) for gray, where in ((gray1, points), (gray2, candidates)))
    distances = (two**2).sum(axis=1) - 2 * one @ two.T
    found: Array = candidates[distances.argmin(axis=1)]
    return found


def _descriptors(gray: Array, positions: Array) -> Array:
    """SIFT descriptors (n, 128) float32 at positions (n, 2)."""
    keypoints = [cv2.KeyPoint(float(x) - 0.5, float(y) - 0.5, _SIFT_PX, 0) for x, y in positions]
    _, found = cv2.SIFT.create().compute(gray, keypoints)
    descriptors: Array = found.astype(np.float32)
    return descriptors


def dis(gray1: Array, gray2: Array, points: Array) -> Array:
    """Dense inverse search (Kroeger 2016), the medium preset of OpenCV."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(gray1, gray2, None)
    at = (points - 0.5).astype(np.float32)
    motion = cv2.remap(flow, at[:, None, 0], at[:, None, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    moved: Array = points + motion[:, 0]
    return moved


def predict(method: PointMethod, batch: Batch) -> list[Array]:
    """Matches (1, P, 2) of each pair of a prepared batch; NaN where there is no point."""
    found = []
    for image1, image2, points in zip(batch["image1"], batch["image2"], batch["points"], strict=True):
        height, width = sides_px((image1.shape[1], image1.shape[2]))
        gray1, gray2 = (
            cv2.resize(
                cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2GRAY), (width, height), interpolation=cv2.INTER_LINEAR
            )
            for image in (image1, image2)
        )
        known = np.isfinite(points).all(axis=1)
        matches = np.full(points.shape, np.nan)
        matches[known] = method(gray1, gray2, points[known])
        found.append(matches[None])
    return found


METHODS: dict[str, PointMethod] = {"zero": zero, "sift": sift, "dis": dis}
