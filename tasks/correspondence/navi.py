"""Correspondence on NAVI: points of an object's surface in other places, without training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from croco_bench.contracts import TaskData, TrainingSplits
from croco_bench.data.datasets.correspondence.navi import NaviReader
from croco_bench.data.datasets.correspondence.navi_pairs import Listed, NaviListedPairs
from croco_bench.metrics.match_definitions import OBJECTS
from croco_bench.tasks.correspondence.base import PointMatching, PointOptions, thinned
from croco_bench.tasks.correspondence.truth import Tolerance, posed_pair
from croco_bench.types import Array, Sample

# Depth is that of a scan from a millimetre's distance, of objects of some decimetres.
_TOLERANCE = Tolerance(absolute_m=0.002, relative=0.01)


@dataclass(frozen=True)
class NaviOptions(PointOptions):
    """Settings of the task.

    Attributes:
        also: NAVI's own lists of pairs to score beside, of its collections in many places or in one.
    """

    also: tuple[Listed, ...] = field(default=(), metadata={"affects_score": False})


class NaviCorrespondence(PointMatching):
    """Points of an object, in another photograph of it."""

    Options = NaviOptions
    scores = OBJECTS
    citation = (
        "recall by the distance of surface points, by the cameras' angle about the object, as probe3d (El Banani et al., CVPR "
        "2024)"
    )
    deviations = (
        "points of a grid that both views show; probe3d takes the 1000 best of all points of the object by the ratio test, "
        "and searches matches among those of the object alone: here a match beside the object is wrong",
        "every view of the collections in many places with another one; probe3d takes every fourth, and draws other pairs",
    )
    options: NaviOptions

    def open(self, root: Path, *, seed: int) -> TaskData:
        """See `Task.open`; read-outs are chosen on other photographs, of the object in one place."""
        training = TrainingSplits(
            thinned(NaviReader(root, "train"), self.options.measure_pairs),
            thinned(NaviReader(root, "select"), self.options.select_pairs),
        )
        return replace(self.open_test(root), training=training)

    def open_test(self, root: Path) -> TaskData:
        """The collections in many places, and NAVI's lists."""
        return TaskData(
            NaviReader(root, "test"), further={name: NaviListedPairs(root, name) for name in self.options.also}
        )

    def prepare(self, sample: Sample) -> Sample:
        """See `PointMatching.prepare`."""
        options = self.options
        return posed_pair(
            {**sample, **cropped(sample, "1"), **cropped(sample, "2")},
            self.image_size,
            per_side=options.per_side,
            at_keypoints=options.points == "sift",
            tolerance=_TOLERANCE,
        )


def cropped(sample: Sample, number: str) -> Sample:
    """Image, depth and intrinsics of a view in the smallest square about the object that its image holds."""
    image, depth_m, K = (sample[name.format(number)] for name in ("image{}", "depth{}_m", "K{}"))
    top, left, side = square_about(np.isfinite(depth_m))
    moved = K - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
    window = np.s_[top : top + side, left : left + side]
    return {f"image{number}": image[window], f"depth{number}_m": depth_m[window], f"K{number}": moved}


def square_about(mask: Array) -> tuple[int, int, int]:
    """Top, left and side of the smallest square in an image that holds all of a mask (H, W); of an empty one, all that fits."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        rows, columns = (np.arange(side) for side in mask.shape)
    side = min(max(int(np.ptp(rows)), int(np.ptp(columns))) + 1, *mask.shape)
    starts = [(int(part[0]) + int(part[-1]) + 1 - side) // 2 for part in (rows, columns)]
    top, left = (min(max(start, 0), whole - side) for start, whole in zip(starts, mask.shape, strict=True))
    return top, left, side
