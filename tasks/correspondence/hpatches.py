"""Correspondence on HPatches: points of flat scenes, from other places and in other lights, without training."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from croco_bench.contracts import TaskData, TrainingSplits
from croco_bench.data.datasets.correspondence.hpatches import HPatchesReader
from croco_bench.data.transforms.color import to_uint8, to_unit
from croco_bench.metrics.match_definitions import PLANES
from croco_bench.tasks.correspondence.base import PointMatching, PointOptions, thinned
from croco_bench.tasks.correspondence.truth import grid_points, keypoints, sides_px
from croco_bench.types import Array, Sample, Size


class HPatchesCorrespondence(PointMatching):
    """Points of the first image of each sequence, in its five others; the truth is a homography."""

    Options = PointOptions
    scores = PLANES
    citation = (
        "recall of points of a grid that both views show; HPatches (Balntas et al., CVPR 2017) without its eight sequences of "
        "large images, as since D2-Net (Dusmanu et al., CVPR 2019)"
    )
    deviations = (
        "whole images, resized to the network's size whatever their shape, as GLU-Net and ZeroCo do for their 240x240; pixels "
        "are those of a shorter side of 256",
        "points of a grid; GLU-Net and ZeroCo average over all pixels, of the sequences of other viewpoint alone",
    )
    options: PointOptions

    def open(self, root: Path, *, seed: int) -> TaskData:
        """See `Task.open`; mean tokens are measured and read-outs chosen on sequences that nobody reports."""
        training = TrainingSplits(
            thinned(HPatchesReader(root, "measure"), self.options.measure_pairs),
            thinned(HPatchesReader(root, "select"), self.options.select_pairs),
        )
        return TaskData(HPatchesReader(root, "test"), training)

    def open_test(self, root: Path) -> TaskData:
        """The sequences that are reported."""
        return TaskData(HPatchesReader(root, "test"))

    def prepare(self, sample: Sample) -> Sample:
        """See `PointMatching.prepare`."""
        one, two = (resized(sample[name], self.image_size) for name in ("image1", "image2"))
        points = grid_points(self.image_size, self.options.per_side)
        if self.options.points == "sift":
            points = keypoints(to_uint8(one), len(points))
        to1, to2 = (to_pixels(sample[name].shape[:2], self.image_size) for name in ("image1", "image2"))
        truth = mapped(points, to2 @ sample["homography"] @ np.linalg.inv(to1), sides_px(self.image_size))
        return {
            "image1": one,
            "image2": two,
            "points": points,
            "truth": truth,
            "long_side_px": float(max(sides_px(self.image_size))),
            "kind": sample["kind"],
            "scene": sample["scene"],
            "id": sample["id"],
        }


def resized(image: Array, size: Size) -> torch.Tensor:
    """An image (H, W, 3) uint8 as (3, h, w) in [0, 1], whatever its shape."""
    return to_unit(np.ascontiguousarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)))


def to_pixels(shape: Size, size: Size) -> Array:
    """Maps pixels of an image of `shape`, centers at integers, to pixels of one with a shorter side of 256: (3, 3)."""
    down, across = (side / whole for side, whole in zip(sides_px(size), shape, strict=True))
    return np.array([[across, 0, across / 2], [0, down, down / 2], [0, 0, 1]])


def mapped(points: Array, homography: Array, sides: Size) -> Array:
    """Points (P, 2) under a homography; NaN where they leave an image of (H, W), or lie beyond its horizon."""
    moved = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ homography.T
    ahead = moved[:, 2] * (homography[2] @ (sides[1] / 2, sides[0] / 2, 1)) > 0
    found = moved[:, :2] / np.where(ahead, moved[:, 2], 1)[:, None]
    inside = ahead & ((found >= 0) & (found < (sides[1], sides[0]))).all(axis=1)
    return np.where(inside[:, None], found, np.nan)
