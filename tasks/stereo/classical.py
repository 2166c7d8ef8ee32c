"""Classical methods for disparity."""

from __future__ import annotations

import cv2
import numpy as np

from croco_bench.tasks.matching.tiled_task import GrayMethod
from croco_bench.types import Array

# Largest disparity of the search as a share of the width; Middlebury's are about a quarter.
_SEARCHED = 0.3
# OpenCV returns disparities in sixteenths of a pixel.
_STEPS = 16
# More than half the largest block.
_MARGIN = 8


def zero(left: Array, _: Array) -> Array:
    """Everything is infinitely far: the lower bound for any method."""
    return np.zeros(left.shape, np.float32)


def sgbm(left: Array, right: Array) -> Array:
    """Semi-global matching of blocks (Hirschmüller 2008), with the settings of OpenCV's own example."""
    block, searched = 3, _searched(left)
    matcher = cv2.StereoSGBM.create(
        minDisparity=0,
        numDisparities=searched,
        blockSize=block,
        P1=8 * block**2,
        P2=32 * block**2,
        disp12MaxDiff=1,
        uniquenessRatio=10,
        speckleWindowSize=100,
        speckleRange=32,
        preFilterCap=63,
    )
    return _matched(matcher, left, right, searched)


def block_matching(left: Array, right: Array) -> Array:
    """The best block of the same row by the sum of absolute differences (Konolige 1998, in OpenCV)."""
    searched = _searched(left)
    return _matched(cv2.StereoBM.create(numDisparities=searched, blockSize=15), left, right, searched)


METHODS: dict[str, GrayMethod] = {"zero": zero, "sgbm": sgbm, "bm": block_matching}


def _searched(left: Array) -> int:
    """Number of disparities to search, a multiple of 16 as OpenCV requires."""
    return 16 * max(int(np.ceil(_SEARCHED * left.shape[1] / 16)), 1)


def _matched(matcher: cv2.StereoMatcher, left: Array, right: Array, searched: int) -> Array:
    """Disparity (H, W) of all pixels.

    Both images are padded first: OpenCV gives no disparity to the leftmost pixels, and block matching none at the borders.
    """
    height, width = left.shape
    around = (_MARGIN, _MARGIN, searched, _MARGIN)
    wide = [cv2.copyMakeBorder(image, *around, cv2.BORDER_REPLICATE) for image in (left, right)]
    found = matcher.compute(*wide)[_MARGIN : _MARGIN + height, searched : searched + width].astype(np.float32) / _STEPS
    return filled(np.where(found > 0, found, np.nan))


def filled(disparity: Array) -> Array:
    """Replaces NaN by the smaller of both nearest known disparities of its row, as KITTI's development kit does.

    Hidden pixels mostly belong to the background. A row without any disparity becomes 0.
    """
    columns = np.arange(disparity.shape[1])
    known = ~np.isnan(disparity)
    before = np.maximum.accumulate(np.where(known, columns, -1), axis=1)
    after = np.minimum.accumulate(np.where(known, columns, len(columns))[:, ::-1], axis=1)[:, ::-1]
    padded = np.pad(np.where(known, disparity, np.inf), ((0, 0), (1, 1)), constant_values=np.inf)
    rows = np.arange(len(disparity))[:, None]
    smaller = np.minimum(padded[rows, before + 1], padded[rows, after + 1])
    return np.where(np.isinf(smaller), 0, smaller).astype(np.float32)
