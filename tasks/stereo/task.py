"""Disparity of rectified pairs, fine-tuned and predicted in windows as CroCo-Stereo does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from croco_bench.contracts import Evaluation, Reader, Splits
from croco_bench.data.mixtures.stereo import (
    REPORTS,
    Report,
    Resolution,
    check_weights,
    open_mixture,
    open_reported,
)
from croco_bench.data.transforms.color import to_unit
from croco_bench.data.transforms.stereo import StereoAugment
from croco_bench.errors import UsageError
from croco_bench.metrics.disparity import DisparityMeter
from croco_bench.tasks.matching.classical import on_batch
from croco_bench.tasks.matching.losses import LOSSES
from croco_bench.tasks.matching.released import STEREO
from croco_bench.tasks.matching.tiled_task import WindowedTask
from croco_bench.tasks.stereo import classical, pictures
from croco_bench.types import Array, Batch, Sample, Size

_TRUTH = ("disparity_px", "valid", "occluded", "disparity4_px", "valid4")
# exp(-x) of larger x, and of less than -x, would be 0 or overflow.
_STEEPEST = 80.0


@dataclass(frozen=True)
class StereoOptions:
    """Settings of the task.

    Attributes:
        train_on: datasets to train on, each in its folder beside middlebury (Middlebury's editions and MiddEval3 in that
            one), and how often one pass through all shows every pair of each. Scenes that are reported, and scenes of other
            datasets that show the same, are left out, as are those that CroCo v2 selects by: these select here too.
        loss: Laplacian with CroCo-Stereo's bounded scale, with any scale (CroCo-Stereo for ETH3D), or CroCo-Flow's; or L1,
            without a confidence.
        augment: CroCo-Stereo's stretches, flips, misalignment and colours; or crops alone, for networks that are small and
            trained shortly.
        report: what is scored: MiddEval3's training scenes, of these Vintage, by which CroCo v2 selects, ETH3D's training
            scenes, or of these the three by which it selects.
        resolution: MiddEval3's size, full, half or quarter; errors are in pixels of that size.
        overlap: share of a window that neighbouring windows have in common.
        select_overlap: the same while weights are selected.
        weights: of windows, by raw confidence c: exp(-2 beta (sigmoid(c / gamma) - 1/2)), or exp(-beta c), CroCo-Stereo's
            for ETH3D.
        beta: see above.
        gamma: see above.
        windows: encoded or decoded at once.
    """

    train_on: dict[str, float] = field(
        default_factory=lambda: {
            **{"crestereo": 1.0, "sceneflow": 1.0, "eth3d": 30.0, "middlebury2005": 50.0, "middlebury2006": 50.0},
            **{"middlebury2014": 50.0, "middlebury2021": 50.0, "booster": 1.0},
        }
    )
    loss: Literal["symmetric", "free", "bounded", "l1"] = "symmetric"
    augment: Literal["croco", "crop"] = "croco"
    report: Report = "middlebury"
    resolution: Resolution = "F"
    overlap: float = 0.9
    select_overlap: float = 0.7
    weights: Literal["sigmoid", "exponential"] = "sigmoid"
    beta: float = 15.0
    gamma: float = 3.0
    windows: int = field(default=8, metadata={"affects_score": False})


class Stereo(WindowedTask):
    """Two channels out: disparity in pixels, and the raw confidence (none with L1)."""

    Options = StereoOptions
    quantities = 1
    released = STEREO
    unseen: ClassVar = "task.report=middlebury-subval and eth3d-subval score what they kept from their files _subtrain"
    pooling: ClassVar = (
        "errors of all known pixels of an image, and of those that both views show (noc), mean over images, as Middlebury and "
        "ETH3D; all pixels pooled (pooled), as CroCo-Stereo's test"
    )
    options: StereoOptions

    def __init__(self, options: StereoOptions, image_size: Size) -> None:
        super().__init__(options, image_size)
        check_weights(options.train_on)
        source, scenes = REPORTS[options.report]
        if scenes is None and source in options.train_on:
            raise UsageError(
                f"task.report={options.report} would score scenes that are trained on",
                f"leave {source} out of task.train_on, or take task.report={options.report}-subval",
            )
        change = StereoAugment(image_size)
        if options.augment == "crop":
            change = replace(change, stretch_prob=0.0, margin=0, vflip_prob=0.0, jitter_pose_prob=0.0, color_prob=0.0)
        self._augment = change

    @property
    def selection_metric(self) -> str:
        """CroCo-Stereo's, one of the headlines: unlike pooled errors, no image counts more because it is larger."""
        return "avgerr"

    @property
    def weigh(self) -> Callable[[Tensor], Tensor] | None:
        """See `WindowedTask.weigh`."""
        if self.options.loss != "l1" and self.options.weights == "exponential":
            return partial(_exponential, beta=self.options.beta)
        return super().weigh

    def splits(self, root: Path, *, seed: int) -> Splits:
        """See `Task.splits`; `root` is Middlebury's folder, the other datasets lie beside it."""
        options, test = self.options, self.test_split(root)
        train, select = open_mixture(
            root.parent, options.train_on, report=options.report, resolution=options.resolution, seed=seed
        )
        return Splits(train, select, test)

    def test_split(self, root: Path) -> Reader:
        """The scenes that are reported; of MiddEval3 and ETH3D, only the training scenes have public truth."""
        return open_reported(root.parent, self.options.report, self.options.resolution)

    def augment(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """As `augment` says; `disparity_px` becomes (1, H, W)."""
        moved = self._augment(sample, rng)
        return {
            **{name: to_unit(moved[name]) for name in ("image1", "image2")},
            "disparity_px": torch.from_numpy(moved["disparity_px"])[None],
            "valid": torch.from_numpy(moved["valid"]),
        }

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Over all known pixels of the batch."""
        return LOSSES[self.options.loss](output, batch["disparity_px"], batch["valid"])

    def selection(self, reader: Reader) -> Evaluation:
        """All pairs that select, whatever dataset they are of."""
        return self._of_pairs(reader, self.options.select_overlap)

    def evaluations(self, reader: Reader) -> list[Evaluation]:
        """The reported pairs."""
        return [self._of_pairs(reader, self.options.overlap)]

    def _of_pairs(self, reader: Reader, overlap: float) -> Evaluation:
        # One pair at a time: scenes differ in size.
        return self.scored("", reader, DisparityMeter(), _prepare, overlap, batch_size=1)

    def baselines(self) -> Mapping[str, Callable[[Batch], list[Array]]]:
        """No disparity at all, and two of OpenCV's methods."""
        return {name: partial(on_batch, method) for name, method in classical.METHODS.items()}

    def panels(self, sample: Sample, prediction: Array) -> Mapping[str, Array]:
        """Images, disparity in colours, error."""
        return pictures.panels(sample, prediction)


def _prepare(sample: Sample) -> Sample:
    truth = {name: sample[name] for name in _TRUTH if name in sample}
    return {**{name: to_unit(sample[name]) for name in ("image1", "image2")}, **truth}


def _exponential(confidence: Tensor, beta: float) -> Tensor:
    """exp(-beta c), from where that overflows on no more."""
    return torch.exp((-beta * confidence).clamp(-_STEEPEST, _STEEPEST))
