"""Monocular depth on KITTI, Eigen's split, scored in Garg's crop as BTS, AdaBins and DINOv2 do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from croco_bench.contracts import Evaluation, TaskData, TrainingSplits
from croco_bench.data.datasets.geometry.kitti_depth import open_split
from croco_bench.data.splitting import split_by_group
from croco_bench.data.transforms import geometry
from croco_bench.metrics.depth import MIN_DEPTH_M
from croco_bench.tasks.metric_depth import DepthOptions, MetricDepth
from croco_bench.types import Sample, Size

# KITTI's benchmark crop: the lowest rows and middle columns.
_BENCHMARK: Size = (352, 1216)
# Garg's crop (2016): first and last row, first and last column, as shares of the image.
_GARG = (0.40810811, 0.99189189, 0.03594771, 0.96405229)


@dataclass(frozen=True)
class KITTIDepthOptions(DepthOptions):
    """Settings of the task: those of `nyuv2-depth`, without its layouts.

    Attributes:
        target: see `DepthOptions`.
        select_fraction: share of the training images, in whole drives, that selects the weights.
        max_depth_m: deeper targets are not scored; predictions are clamped to it.
    """

    target: Literal["standardised", "metres", "multimae", "bins"] = "bins"
    select_fraction: float = 0.05
    max_depth_m: Annotated[float, Field(gt=MIN_DEPTH_M)] = 80.0


class KITTIDepth(MetricDepth):
    """See `MetricDepth`; the headline is Garg's crop of KITTI's benchmark crop."""

    Options = KITTIDepthOptions
    dataset = "kitti_depth"
    center_citation = "centre crop of the network's size after resizing the shorter side of KITTI's benchmark crop"
    full_citation = (
        "KITTI's benchmark crop at native resolution, Garg's crop, cap {cap}, mean over images, as BTS and DINOv2"
    )

    def open(self, root: Path, *, seed: int) -> TaskData:
        """See `Task.open`; whole drives of the training split are held out for selection."""
        whole = open_split(root, "train")
        training = TrainingSplits(*split_by_group(whole, self.options.select_fraction, seed=seed))
        return TaskData(open_split(root, "test"), training)

    def open_test(self, root: Path) -> TaskData:
        """The test images alone."""
        return TaskData(open_split(root, "test"))

    def maps(self, sample: Sample) -> Sample:
        """Image, depth and valid pixels in KITTI's benchmark crop; smaller images are whole."""
        whole = super().maps(sample)
        height, width = whole["valid"].shape
        size = min(height, _BENCHMARK[0]), min(width, _BENCHMARK[1])
        return geometry.crop(whole, height - size[0], (width - size[1]) // 2, size)

    def evaluations(self, data: TaskData) -> list[Evaluation]:
        """Garg's crop of all test images, and centre crops of the network's size."""
        return [self.full("", data.test), self.center("center", data.test)]

    def scored_window(self, size: Size) -> tuple[int, int, int, int]:
        """Garg's crop."""
        top, bottom, left, right = _GARG
        return int(top * size[0]), int(bottom * size[0]), int(left * size[1]), int(right * size[1])
