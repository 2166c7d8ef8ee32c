"""Disparity of rectified pairs, fine-tuned and predicted in tiles as CroCo-Stereo does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from croco_bench.contracts import NETWORKS_ONLY, Evaluation, Reader, TaskData, TrainingSplits
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
from croco_bench.tasks.matching.losses import LOSSES
from croco_bench.tasks.matching.released import STEREO
from croco_bench.tasks.matching.tiled_task import TiledTask
from croco_bench.tasks.stereo import classical, pictures
from croco_bench.types import Array, Batch, Sample, Size

_TRUTH = ("disparity_px", "valid", "occluded", "disparity4_px", "valid4")
# Largest magnitude of an exponent in float32.
_MAX_EXPONENT = 80.0


@dataclass(frozen=True)
class StereoOptions:
    """Settings of the task.

    Attributes:
        train_on: datasets to train on, each in its folder beside middlebury (Middlebury's editions and MiddEval3 in that
            one), and how often each of their pairs occurs in one epoch. Left out are reported scenes, scenes of other
            datasets that show the same, and the scenes by which CroCo v2 selects: they are the selection split here too.
        loss: Laplacian with CroCo-Stereo's bounded scale, with any scale (CroCo-Stereo for ETH3D), or CroCo-Flow's; or L1,
            without a confidence.
        augment: stretches, flips, misalignment and colours of CroCo-Stereo; or crops alone, for short trainings of small
            networks.
        report: what is scored: MiddEval3's training scenes, of these Vintage, by which CroCo v2 selects, ETH3D's training
            scenes, or of these the three by which it selects.
        resolution: MiddEval3's size, full, half or quarter; errors are in pixels of that size.
        overlap: share of a tile that neighbouring tiles have in common.
        select_overlap: overlap during the selection of weights.
        weights: confidence weighting of overlapping tiles, with raw confidence c: sigmoid is
            exp(-2 beta (sigmoid(c / gamma) - 1/2)), exponential is exp(-beta c), CroCo-Stereo's for ETH3D.
        beta: strength of the confidence weighting; above 40 the weights would overflow.
        gamma: softness of the sigmoid weighting.
        windows: number of tiles encoded or decoded at once.
    """

    train_on: dict[str, float] = field(
        default_factory=lambda: {
            **{"crestereo": 1.0, "sceneflow": 1.0, "eth3d": 30.0, "middlebury2005": 50.0, "middlebury2006": 50.0},
            **{"middlebury2014": 50.0, "middlebury2021": 50.0, "booster": 1.0},
        },
        metadata=NETWORKS_ONLY,
    )
    loss: Literal["symmetric", "free", "bounded", "l1"] = field(default="symmetric", metadata=NETWORKS_ONLY)
    augment: Literal["croco", "crop"] = field(default="croco", metadata=NETWORKS_ONLY)
    report: Report = "middlebury"
    resolution: Resolution = "F"
    overlap: Annotated[float, Field(ge=0, le=0.98)] = field(default=0.9, metadata=NETWORKS_ONLY)
    select_overlap: Annotated[float, Field(ge=0, le=0.98)] = field(default=0.7, metadata=NETWORKS_ONLY)
    weights: Literal["sigmoid", "exponential"] = field(default="sigmoid", metadata=NETWORKS_ONLY)
    beta: Annotated[float, Field(gt=0, le=40)] = field(default=15.0, metadata=NETWORKS_ONLY)
    gamma: PositiveFloat = field(default=3.0, metadata=NETWORKS_ONLY)
    windows: PositiveInt = field(default=8, metadata={"affects_score": False, **NETWORKS_ONLY})


class Stereo(TiledTask):
    """Two channels out: disparity in pixels, and the raw confidence (none with L1)."""

    Options = StereoOptions
    flow_channels = 1
    released = STEREO
    unseen_hint: ClassVar = (
        "task.report=middlebury-subval and eth3d-subval score what they kept from their files _subtrain"
    )
    pooling: ClassVar = (
        "errors of all known pixels of an image, and of those that both views show (noc), mean over images, as Middlebury and "
        "ETH3D; all pixels pooled (pooled), as CroCo-Stereo's test"
    )
    gray_methods: ClassVar = classical.METHODS
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
    def confidence_weight(self) -> Callable[[Tensor], Tensor] | None:
        """See `TiledTask.confidence_weight`."""
        if self.options.loss != "l1" and self.options.weights == "exponential":
            return partial(_exponential_weight, beta=self.options.beta)
        return super().confidence_weight

    def open(self, root: Path, *, seed: int) -> TaskData:
        """See `Task.open`; the other datasets lie beside `root`, Middlebury's folder."""
        options, data = self.options, self.open_test(root)
        train, select = open_mixture(
            root.parent, options.train_on, report=options.report, resolution=options.resolution, seed=seed
        )
        return replace(data, training=TrainingSplits(train, select))

    def open_test(self, root: Path) -> TaskData:
        """The reported scenes; of MiddEval3 and ETH3D, only training scenes have public ground truth."""
        return TaskData(open_reported(root.parent, self.options.report, self.options.resolution))

    def augment(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """See `StereoOptions.augment`; `disparity_px` becomes (1, H, W)."""
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
        """All selection pairs, whatever their dataset."""
        return self._evaluation(reader, self.options.select_overlap)

    def evaluations(self, data: TaskData) -> list[Evaluation]:
        """The reported pairs."""
        return [self._evaluation(data.test, self.options.overlap, data.notes)]

    def _evaluation(self, reader: Reader, overlap: float, notes: tuple[str, ...] = ()) -> Evaluation:
        # One pair at a time: scenes differ in size.
        return self.tiled_evaluation(reader, DisparityMeter(), _prepare, overlap=overlap, batch_size=1, notes=notes)

    def panels(self, data: TaskData, sample: Sample, prediction: Array) -> Mapping[str, Array]:
        """Images, disparity in colours, error."""
        return pictures.panels(sample, prediction)


def _prepare(sample: Sample) -> Sample:
    truth = {name: sample[name] for name in _TRUTH if name in sample}
    return {**{name: to_unit(sample[name]) for name in ("image1", "image2")}, **truth}


def _exponential_weight(confidence: Tensor, beta: float) -> Tensor:
    """exp(-beta c), with an exponent clamped to 80 in magnitude: larger ones overflow or give 0."""
    return torch.exp((-beta * confidence).clamp(-_MAX_EXPONENT, _MAX_EXPONENT))
