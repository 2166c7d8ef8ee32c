"""Correspondence on SPair-71k: keypoints of two objects of one class, without training."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from croco_bench.contracts import TaskData, TrainingSplits
from croco_bench.data.datasets.correspondence.spair71k import MOST_KEYPOINTS, SPairReader
from croco_bench.data.transforms.color import to_unit
from croco_bench.metrics.match_definitions import KEYPOINTS
from croco_bench.tasks.correspondence.base import MatchOptions, PointMatching, thinned
from croco_bench.tasks.correspondence.truth import sides_px
from croco_bench.types import Array, Sample, Size


class SPairCorrespondence(PointMatching):
    """Keypoints of an object in image 1, on another object of its class in image 2."""

    Options = MatchOptions
    scores = KEYPOINTS
    citation = (
        "PCK by the object's box, as in SPair-71k (Min et al., 2019): per pair (pck10_box), and per point over all pairs "
        "(pck10_box_points), as GeoAware-SC (Zhang et al., CVPR 2024) reports both"
    )
    deviations = (
        "images are padded to centered squares of the network's size; matches are searched in the whole square, with its border",
        "matches are the highest similarity of interpolated tokens; GeoAware-SC searches at the resolution of tokens, and "
        "refines by a soft argmax about the highest",
    )

    def open(self, root: Path, *, seed: int) -> TaskData:
        """See `Task.open`; training pairs measure mean tokens, validation pairs choose read-outs."""
        training = TrainingSplits(
            thinned(SPairReader(root, "train"), self.options.measure_pairs),
            thinned(SPairReader(root, "select"), self.options.select_pairs),
        )
        return TaskData(SPairReader(root, "test"), training)

    def open_test(self, root: Path) -> TaskData:
        """All test pairs."""
        return TaskData(SPairReader(root, "test"))

    def prepare(self, sample: Sample) -> Sample:
        """See `PointMatching.prepare`."""
        one, two = (fitted(sample[name], self.image_size) for name in ("image1", "image2"))
        points, truth = (
            in_square(sample[f"keypoints{i}"], sample[f"image{i}"].shape[:2], self.image_size) for i in (1, 2)
        )
        left, top, right, bottom = sample["box2"]
        return {
            "image1": to_unit(one),
            "image2": to_unit(two),
            "points": points,
            "truth": truth,
            "long_side_px": float(max(sides_px(self.image_size))),
            "box_px": float(max(right - left, bottom - top))
            * scale_to_fit(sample["image2"].shape[:2], self.image_size),
            "difficulty": sample["difficulty"],
            "scene": sample["scene"],
            "id": sample["id"],
        }


def scale_to_fit(shape: Size, size: Size) -> float:
    """Pixels of an image with a shorter side of 256 per pixel of one of `shape` that is padded to it."""
    return min(side / whole for side, whole in zip(sides_px(size), shape, strict=True))


def fitted(image: Array, size: Size) -> Array:
    """An image (H, W, 3) uint8, resized until it fits into `size`, in the middle of black borders."""
    scale = min(side / whole for side, whole in zip(size, image.shape[:2], strict=True))
    height, width = (max(round(side * scale), 1) for side in image.shape[:2])
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    square = np.zeros((*size, 3), dtype=np.uint8)
    square[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return square


def in_square(keypoints: Array, shape: Size, size: Size) -> Array:
    """Keypoints (K, 2) in pixels of an image of `shape` -> (P, 2) in pixels of the padded one, filled up with NaN."""
    height, width = shape
    sides, scale = sides_px(size), scale_to_fit(shape, size)
    border = np.array([sides[1] - scale * width, sides[0] - scale * height]) / 2
    return np.concatenate([scale * (keypoints + 0.5) + border, np.full((MOST_KEYPOINTS - len(keypoints), 2), np.nan)])
