"""Optical flow on MPI-Sintel, fine-tuned and predicted in tiles as CroCo-Flow does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from croco_bench.contracts import NETWORKS_ONLY, Evaluation, Reader, TaskData, TrainingSplits
from croco_bench.data.datasets.matching.sintel import PASSES, SCENES, SELECT_SCENES, BothPasses, open_split, scenes_of
from croco_bench.data.mixtures.flow import check_weights, open_mixture
from croco_bench.data.transforms.color import to_unit
from croco_bench.data.transforms.flow import FlowAugment
from croco_bench.errors import DataError, UsageError
from croco_bench.metrics.flow import FlowMeter
from croco_bench.tasks.matching.losses import LOSSES, within
from croco_bench.tasks.matching.released import FLOW
from croco_bench.tasks.matching.tiled_task import TiledTask
from croco_bench.tasks.sintel_flow import classical, pictures
from croco_bench.tasks.sintel_flow.submission import SERVERS, SubmissionMeter, open_submissions
from croco_bench.types import Array, Batch, Sample, Size

# Scenes that neither train nor select weights, so that they can be reported: the validation scenes of ptlflow, except
# temple_2, by which CroCo selects.
HELD_OUT = ("market_2", "shaman_2", "bamboo_2", "ambush_2", "cave_2")
# Neighbouring pairs share a frame, so they are predicted together. Results don't depend on the number.
_PAIRS = 8
_TRUTH = ("flow_px", "valid", "occluded", "invalid", "flow4_px", "valid4", "id")


@dataclass(frozen=True)
class SintelFlowOptions:
    """Settings of the task.

    Attributes:
        train_on: datasets to train on, each in the folder of its name beside sintel, and how often each of their pairs
            occurs in one epoch.
        loss: Laplacian with CroCo-Flow's bounded scale, CroCo-Stereo's, or any scale; or L1, without a confidence.
        max_flow: longer true vectors (px) aren't trained on.
        augment: scales, flips, crops and colours of RAFT; or crops alone, for short trainings of small networks.
        report: which of Sintel's training scenes are scored: the five held out, the two that CroCo-Flow selects by and
            validates on (the five select, then), or all; auto: all, unless Sintel is trained on.
        overlap: share of a tile that neighbouring tiles have in common.
        select_overlap: overlap during the selection of weights.
        beta: strength of the confidence weighting exp(-2 beta (sigmoid(c / gamma) - 1/2)) of overlapping tiles; above 40
            the weights would overflow.
        gamma: softness of the confidence weighting.
        windows: number of tiles encoded or decoded at once.
        submissions: benchmarks (sintel, kitti2012, kitti2015) to predict the test pairs of, and the folder to write the
            predictions of each to.
    """

    train_on: dict[str, float] = field(
        default_factory=lambda: {"sintel": 40.0, "flyingthings": 4.0, "flyingchairs": 4.0, "tartanair": 1.0},
        metadata=NETWORKS_ONLY,
    )
    loss: Literal["bounded", "symmetric", "free", "l1"] = field(default="bounded", metadata=NETWORKS_ONLY)
    max_flow: PositiveFloat = field(default=10_000.0, metadata=NETWORKS_ONLY)
    augment: Literal["raft", "crop"] = field(default="raft", metadata=NETWORKS_ONLY)
    report: Literal["auto", "held-out", "subval", "all"] = "auto"
    overlap: Annotated[float, Field(ge=0, le=0.98)] = field(default=0.9, metadata=NETWORKS_ONLY)
    select_overlap: Annotated[float, Field(ge=0, le=0.98)] = field(default=0.7, metadata=NETWORKS_ONLY)
    beta: Annotated[float, Field(gt=0, le=40)] = field(default=10.0, metadata=NETWORKS_ONLY)
    gamma: PositiveFloat = field(default=5.0, metadata=NETWORKS_ONLY)
    windows: PositiveInt = field(default=8, metadata={"affects_score": False, **NETWORKS_ONLY})
    submissions: dict[str, str] = field(default_factory=dict, metadata={"affects_score": False})


class SintelFlow(TiledTask):
    """Three channels out: flow to the right and down in pixels, and the raw confidence (none with L1)."""

    Options = SintelFlowOptions
    flow_channels = 2
    released = FLOW
    unseen_hint: ClassVar = "task.report=subval scores the two that they kept for validation"
    pooling: ClassVar = "errors of all known pixels pooled, as RAFT"
    gray_methods: ClassVar = classical.METHODS
    options: SintelFlowOptions

    def __init__(self, options: SintelFlowOptions, image_size: Size) -> None:
        super().__init__(options, image_size)
        _check(options)
        change = FlowAugment(image_size)
        if options.augment == "crop":
            change = replace(change, scale_prob=0.0, hflip_prob=0.0, vflip_prob=0.0, jitter=None)
        self._augment = change

    @property
    def selection_metric(self) -> str:
        """Endpoint error over clean and final pairs together."""
        return "epe"

    def open(self, root: Path, *, seed: int) -> TaskData:
        """See `Task.open`; the other datasets lie beside `root`, Sintel's folder."""
        data = self.open_test(root)
        wanted = SELECT_SCENES if self.options.report != "subval" else HELD_OUT
        kept = [scene for scene in scenes_of(root, "train") if scene not in (*SELECT_SCENES, *HELD_OUT)]
        if "sintel" in self.options.train_on and not kept:
            raise DataError(
                f"{root} holds no scene to train on beside those that select and report", f"get all {len(SCENES)}"
            )
        train, select = open_mixture(root.parent, self.options.train_on, sintel_scenes=kept, seed=seed)
        select = select or open_split(root, "train", scenes=_present(root, wanted))
        return replace(data, training=TrainingSplits(train, select))

    def open_test(self, root: Path) -> TaskData:
        """The reported scenes of Sintel's training split, each pair in both passes, and the pairs of submissions."""
        submissions = open_submissions(root.parent, self.options.submissions)
        wanted = self._reported()
        scenes = None if wanted is None else _present(root, wanted)
        return TaskData(BothPasses(root, "train", scenes, wanted=wanted), further=submissions)

    def _reported(self) -> tuple[str, ...] | None:
        """Names of the scenes to report; None for all."""
        report = self.options.report
        if report == "auto":
            report = "held-out" if "sintel" in self.options.train_on else "all"
        if report == "all":
            return None
        return HELD_OUT if report == "held-out" else SELECT_SCENES

    def augment(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """See `SintelFlowOptions.augment`; `flow_px` becomes (2, H, W)."""
        moved = self._augment(sample, rng)
        return {
            **{name: to_unit(moved[name]) for name in ("image1", "image2")},
            "flow_px": torch.from_numpy(moved["flow_px"]).permute(2, 0, 1),
            "valid": torch.from_numpy(moved["valid"]),
        }

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Over all known pixels of the batch with a flow of at most `max_flow` pixels."""
        valid = within(batch["flow_px"], batch["valid"], self.options.max_flow)
        return LOSSES[self.options.loss](output, batch["flow_px"], valid)

    def selection(self, reader: Reader) -> Evaluation:
        """All pairs, whatever their pass."""
        overlap = self.options.select_overlap
        return self.tiled_evaluation(reader, FlowMeter(), _prepare, overlap=overlap, batch_size=_PAIRS)

    def evaluations(self, data: TaskData) -> list[Evaluation]:
        """The clean and the final pass; then the submissions, which score nothing."""
        evaluate = partial(self.tiled_evaluation, overlap=self.options.overlap)
        passes = [
            evaluate(
                data.test,
                FlowMeter(),
                partial(_prepare_pass, name),
                batch_size=_PAIRS,
                prefix=name,
                notes=data.notes,
            )
            for name in PASSES
        ]
        submissions = [
            evaluate(
                pairs,
                SubmissionMeter(SERVERS[name], Path(self.options.submissions[name])),
                _prepare,
                batch_size=_PAIRS if name == "sintel" else 1,  # KITTI's images differ in size
                prefix=f"submission-{name}",
            )
            for name, pairs in data.further.items()
        ]
        return [*passes, *submissions]

    def panels(self, data: TaskData, sample: Sample, prediction: Array) -> Mapping[str, Array]:
        """Images, flow in colours with a legend, error."""
        return pictures.panels(sample, prediction)


def _prepare(sample: Sample) -> Sample:
    truth = {name: sample[name] for name in _TRUTH if name in sample}
    return {**{name: to_unit(sample[name]) for name in ("image1", "image2")}, **truth}


def _prepare_pass(name: str, sample: Sample) -> Sample:
    """One of both passes of a pair."""
    image1, image2 = sample["passes"][name]
    return _prepare({**sample, "image1": image1, "image2": image2})


def _present(root: Path, wanted: tuple[str, ...]) -> list[str]:
    """The wanted scenes that exist: a miniature has only some."""
    found = [scene for scene in wanted if scene in scenes_of(root, "train")]
    if not found:
        raise DataError(
            f"{root} has none of the scenes {', '.join(wanted)}",
            "get all of MPI-Sintel (croco-bench data list), or choose others with --set task.report=held-out, subval or all",
        )
    return found


def _check(options: SintelFlowOptions) -> None:
    """Combinations that types don't express."""
    check_weights(options.train_on)
    if options.report == "all" and "sintel" in options.train_on:
        raise UsageError(
            "task.report=all would score scenes that are trained on",
            "leave sintel out of task.train_on, or report=held-out",
        )
