"""Monocular depth on NYUv2, fine-tuned as MultiMAE does and scored by the usual metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from croco_bench.contracts import Evaluation, TaskData, TrainingSplits
from croco_bench.data.datasets.nyuv2 import Layout, open_split
from croco_bench.data.splitting import Subset, split_by_group
from croco_bench.tasks.metric_depth import DepthOptions, MetricDepth
from croco_bench.types import Size

# Eigen's crop: first and last row, first and last column, of a 480x640 image; scaled for other sizes.
_FULL, _EIGEN = (480, 480, 640, 640), (45, 471, 41, 601)
# Size of the random part of the test split that MultiMAE's code evaluates by default.
_HUNDRED = 100


@dataclass(frozen=True)
class NYUv2DepthOptions(DepthOptions):
    """Settings of the task.

    Attributes:
        validity: scored pixels, if the layout has both: those measured by the sensor, or all. The result says which these are.
        layout: layout of the files; `auto` detects it.
        hundred: also score the 100 test images that MultiMAE's code evaluates by default.
    """

    validity: Literal["raw", "all"] = "raw"
    layout: Layout | Literal["auto"] = field(default="auto", metadata={"affects_score": False})
    hundred: bool = field(default=False, metadata={"affects_score": False})


class NYUv2Depth(MetricDepth):
    """See `MetricDepth`; the headline is MultiMAE's centre crop."""

    Options = NYUv2DepthOptions
    dataset = "nyuv2"
    center_citation = "centre crop of the network's size after resizing the shorter side, as MultiMAE; mean over images"
    full_citation = "native resolution inside Eigen's crop, cap {cap}, mean over images, as BTS and DINOv2"
    options: NYUv2DepthOptions

    def open(self, root: Path, *, seed: int) -> TaskData:
        """See `Task.open`; whole scenes of the training split are held out for selection."""
        validity, layout = self.options.validity, self.options.layout
        whole, test = (open_split(root, split, validity=validity, layout=layout) for split in ("train", "test"))
        return TaskData(test, TrainingSplits(*split_by_group(whole, self.options.select_fraction, seed=seed)))

    def open_test(self, root: Path) -> TaskData:
        """The test images alone: some copies have no others."""
        return TaskData(open_split(root, "test", validity=self.options.validity, layout=self.options.layout))

    def evaluations(self, data: TaskData) -> list[Evaluation]:
        """Centre crop of all test images, full resolution in Eigen's crop, and on request the historic 100 images."""
        reader = data.test
        found = [self.center("", reader), self.full("eigen", reader)]
        if self.options.hundred:
            chosen = np.random.RandomState(0).permutation(len(reader))[:_HUNDRED]
            found.append(self.center("hundred", Subset(reader, chosen.tolist(), f"{reader.split} (100 images)")))
        return found

    def scored_window(self, size: Size) -> tuple[int, int, int, int]:
        """Eigen's crop."""
        sides = (size[0], size[0], size[1], size[1])
        top, bottom, left, right = (edge * side // full for edge, side, full in zip(_EIGEN, sides, _FULL, strict=True))
        return top, bottom, left, right
