"""Disparity without learning: what `--ckpt classical:NAME` stands for."""

from __future__ import annotations

import cv2
import numpy as np

from croco_bench.tasks.matching.classical import Method
from croco_bench.types import Array

# Disparities up to this share of the width are looked for: Middlebury's largest are about a quarter of theirs.
_SEARCHED = 0.3
# OpenCV's disparities are whole numbers of sixteenths.
_STEPS = 16
# Half the largest block, and a little.
_MARGIN = 8


def zero(left: Array, _: Array) -> Array:
    """Everything is infinitely far: what any method should beat."""
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


METHODS: dict[str, Method] = {"zero": zero, "sgbm": sgbm, "bm": block_matching}


def _searched(left: Array) -> int:
    """How many disparities to look for: OpenCV wants a multiple of 16."""
    return 16 * max(int(np.ceil(_SEARCHED * left.shape[1] / 16)), 1)


def _matched(matcher: cv2.StereoMatcher, left: Array, right: Array, searched: int) -> Array:
    """Disparity (H, W) of all pixels.

    OpenCV knows none of the leftmost pixels, and block matching none that a block sticks out of the image at, so that both
    images are widened there.
    """
    height, width = left.shape
    around = (_MARGIN, _MARGIN, searched, _MARGIN)
    wide = [cv2.copyMakeBorder(image, *around, cv2.BORDER_REPLICATE) for image in (left, right)]
    found = matcher.compute(*wide)[_MARGIN : _MARGIN + height, searched : searched + width].astype(np.float32) / _STEPS
    return filled(np.where(found > 0, found, np.nan))


def filled(disparity: Array) -> Array:
    """NaN becomes the smaller of the nearest known disparities of its row: most of what is hidden is background.

    So does KITTI's development kit. A row without any is 0.
    """
    columns = np.arange(disparity.shape[1])
    known = ~np.isnan(disparity)
    before = np.maximum.accumulate(np.where(known, columns, -1), axis=1)
    after = np.minimum.accumulate(np.where(known, columns, len(columns))[:, ::-1], axis=1)[:, ::-1]
    padded = np.pad(np.where(known, disparity, np.inf), ((0, 0), (1, 1)), constant_values=np.inf)
    rows = np.arange(len(disparity))[:, None]
    least = np.minimum(padded[rows, before + 1], padded[rows, after + 1])
    return np.where(np.isinf(least), 0, least).astype(np.float32)
