"""Correspondence without training: matches read from a backbone's features, on 7-Scenes and further pairs with true depth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt

from croco_bench.contracts import (
    NETWORKS_ONLY,
    Evaluation,
    Reader,
    TaskData,
    TrainingSplits,
)
from croco_bench.data.datasets.megadepth1500 import open_megadepth1500
from croco_bench.data.datasets.scannet1500 import open_scannet1500
from croco_bench.data.datasets.seven_scenes import open_seven_scenes
from croco_bench.data.folders import data_folder
from croco_bench.data.posed.overlap import OverlapCriteria
from croco_bench.data.posed.reader import has_meters
from croco_bench.data.posed.selection import holdout
from croco_bench.data.splitting import Subset, spread_indices
from croco_bench.metrics.correspondence import Estimator
from croco_bench.metrics.match_definitions import SCENES
from croco_bench.tasks.correspondence.base import PointMatching, PointOptions
from croco_bench.tasks.correspondence.truth import OF_ROOMS, WITHOUT_SCALE, Tolerance, posed_pair
from croco_bench.tasks.relative_pose.classical import by_poselib
from croco_bench.types import Sample

# RANSAC: distance of an inlier from its epipolar line, as matches of tokens are coarser than keypoints; number of trials.
_INLIER_PX, _TRIALS = 3.0, 1000
_OPENERS = {"scannet1500": open_scannet1500, "megadepth1500": open_megadepth1500}


@dataclass(frozen=True)
class CorrespondenceOptions(PointOptions):
    """Settings of the task.

    Attributes:
        pairs: number of test pairs of 7-Scenes, evenly spaced over its test frames.
        also: further test sets, by folder: `scannet1500`, `megadepth1500` (without a scale: nothing is scored in metres).
        select_fraction: share of the training frames, in whole sequences, that is held out to choose a block.
        distance_m: minimum and maximum distance of the cameras of a pair.
        angle_deg: maximum angle between the viewing directions of a pair.
        depth_m: in a pair, the point at this depth ahead of each view is visible in the other.
        pose: estimate the pose of each pair from its matches.
        focal_px: focal length of 7-Scenes at 480x640.
    """

    pairs: PositiveInt = 1500
    also: tuple[Literal["scannet1500", "megadepth1500"], ...] = field(default=(), metadata={"affects_score": False})
    select_fraction: float = field(default=0.1, metadata=NETWORKS_ONLY)
    distance_m: tuple[float, float] = (0.05, 2.0)
    angle_deg: float = 180.0
    depth_m: float = 2.0
    pose: bool = True
    focal_px: float = 525.0


class Correspondence(PointMatching):
    """Points of frames of 7-Scenes, and of further pairs with known poses and depth."""

    Options = CorrespondenceOptions
    scores = SCENES
    citation = (
        "recall of points of a grid that both views show, as probe3d (El Banani et al., CVPR 2024) and ZeroCo (An et al., CVPR "
        "2025) compare features and attention"
    )
    deviations = (
        "points of a grid and their visibility by depth; probe3d takes the 1000 best of all points by the ratio test",
        "pixels are those of an image with a shorter side of 256; probe3d's are quarters of 640x480 pixels",
    )
    options: CorrespondenceOptions

    def open(self, root: Path, *, seed: int) -> TaskData:
        """See `Task.open`; nothing is trained, but whole sequences of the training frames are held out to choose blocks."""
        options, data = self.options, self.open_test(root)
        dataset = open_seven_scenes(root, focal_px=options.focal_px)
        pairs = dataset.pairs("train", per_frame=5, overlap=self._overlap, seed=seed, depth=True)
        train, select = holdout(pairs, options.select_fraction, max_pairs=options.select_pairs, seed=seed)
        measured = spread_indices(len(train), options.measure_pairs)
        training = TrainingSplits(Subset(train, measured, train.split, available=len(measured)), select)
        return replace(data, training=training)

    def open_test(self, root: Path) -> TaskData:
        """Pairs of test frames of 7-Scenes, and the further test sets."""
        dataset = open_seven_scenes(root, focal_px=self.options.focal_px)
        pairs = dataset.pairs("test", per_frame=1, overlap=self._overlap, depth=True)
        chosen = spread_indices(len(pairs), self.options.pairs)
        further: dict[str, Reader] = {
            name: _OPENERS[name](data_folder(root.parent, name), depth=True) for name in self.options.also
        }
        return TaskData(Subset(pairs, chosen, pairs.split, available=len(chosen)), further=further)

    @property
    def _overlap(self) -> OverlapCriteria:
        options = self.options
        return OverlapCriteria(options.distance_m, options.angle_deg, options.depth_m)

    def further(self, name: str, reader: Reader) -> Evaluation:
        """Of a further set, of which nothing is scored in metres where its scale is unknown."""
        evaluation = self.evaluation(name, reader)
        return evaluation if has_meters(reader) else replace(evaluation, prepare=self._prepare_without_scale)

    def _prepare_without_scale(self, sample: Sample) -> Sample:
        """What has a length in metres is left out."""
        prepared = self._prepare(sample, WITHOUT_SCALE)
        lengths = ("depth2_m", "surface2_m")
        return {key: value for key, value in prepared.items() if key not in lengths} | {"baseline_m": float("nan")}

    def prepare(self, sample: Sample) -> Sample:
        """See `PointMatching.prepare`."""
        return self._prepare(sample, OF_ROOMS)

    def _prepare(self, sample: Sample, tolerance: Tolerance) -> Sample:
        options = self.options
        at_keypoints = options.points == "sift"
        return posed_pair(
            sample, self.image_size, per_side=options.per_side, at_keypoints=at_keypoints, tolerance=tolerance
        )

    def estimate(self) -> Estimator | None:
        """Poses by PoseLib."""
        return partial(by_poselib, inlier_px=_INLIER_PX, trials=_TRIALS) if self.options.pose else None
