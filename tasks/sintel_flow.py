"""Optical flow on MPI-Sintel, fine-tuned and predicted in windows as CroCo-Flow does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from croco_bench.contracts import Batch, Evaluation, Reader, Sample, Size, Splits, Task
from croco_bench.data.augment import to_unit
from croco_bench.data.flow_augment import FlowAugment
from croco_bench.data.flow_mixture import check_weights, open_mixture
from croco_bench.data.sintel import PASSES, SCENES, SELECT_SCENES, open_split, scenes_of
from croco_bench.data.sintel_passes import BothPasses
from croco_bench.errors import DataError, UsageError
from croco_bench.laplacian import LOSSES, within
from croco_bench.metrics.flow_meter import FlowMeter
from croco_bench.metrics.meter import Array, Meter
from croco_bench.tasks import classical_flow, flow_pictures
from croco_bench.tasks.flow_checkpoints import check_settings, settings_of
from croco_bench.tasks.flow_submission import SERVERS, SubmissionMeter, open_submissions
from croco_bench.tiling import confidence_weight, grid, slide_pairs

# Scenes that nothing is trained or selected on, so that they can be reported: ptlflow's validation scenes, but for
# temple_2, which CroCo selects by.
HELD_OUT = ("market_2", "shaman_2", "bamboo_2", "ambush_2", "cave_2")
# Neighbouring pairs are predicted together, since they share a frame; no number depends on how many.
_PAIRS = 8
_TRUTH = ("flow_px", "valid", "occluded", "invalid", "flow4_px", "valid4", "id")


@dataclass(frozen=True)
class SintelFlowOptions:
    """Settings of the task.

    Attributes:
        train_on: datasets to train on, each in the folder of its name beside sintel, and how often one pass through all
            shows every pair of each.
        loss: Laplacian with CroCo-Flow's bounded scale, CroCo-Stereo's, or any scale; or L1, without a confidence.
        max_flow: longer true vectors (px) aren't trained on.
        augment: RAFT's scales, flips, crops and colours; or crops alone, for networks that are small and trained shortly.
        report: which of Sintel's training scenes are scored: the five held out, the two that CroCo-Flow selects by and
            validates on (the five select, then), or all; auto: all, unless Sintel is trained on.
        overlap: share of a window that neighbouring windows have in common.
        select_overlap: the same while weights are selected.
        beta: of the weights exp(-2 beta (sigmoid(c / gamma) - 1/2)) of windows.
        gamma: of the same.
        windows: encoded or decoded at once.
        submissions: benchmarks (sintel, kitti2012, kitti2015) whose test pairs are predicted too, and the folders that the
            predictions go to.
    """

    train_on: dict[str, float] = field(
        default_factory=lambda: {"sintel": 40.0, "flyingthings": 4.0, "flyingchairs": 4.0, "tartanair": 1.0}
    )
    loss: Literal["bounded", "symmetric", "free", "l1"] = "bounded"
    max_flow: float = 10_000.0
    augment: Literal["raft", "crop"] = "raft"
    report: Literal["auto", "held-out", "subval", "all"] = "auto"
    overlap: float = 0.9
    select_overlap: float = 0.7
    beta: float = 10.0
    gamma: float = 5.0
    windows: int = field(default=8, metadata={"scientific": False})
    submissions: dict[str, str] = field(default_factory=dict, metadata={"scientific": False})


class SintelFlow(Task):
    """Three channels out: flow to the right and down in pixels, and the raw confidence (none with L1)."""

    Options = SintelFlowOptions
    views = 2

    def __init__(self, options: SintelFlowOptions, image_size: Size) -> None:
        _check(options)
        self.options, self.image_size, self.state = options, image_size, {}
        change = FlowAugment(image_size)
        if options.augment == "crop":
            change = replace(change, resized=0.0, flipped=0.0, upended=0.0, jitter=None)
        self._augment = change
        self._submissions: dict[str, Reader] = {}
        self._trained_on = ""

    @property
    def out_channels(self) -> int:
        """Flow, and how much it is to be trusted."""
        return 2 if self.options.loss == "l1" else 3

    @property
    def selection_metric(self) -> str:
        """That of the headlines, over clean and final pairs together."""
        return "epe"

    @property
    def _weigh(self) -> Callable[[Tensor], Tensor] | None:
        if self.options.loss == "l1":
            return None
        return partial(confidence_weight, beta=self.options.beta, gamma=self.options.gamma)

    def splits(self, root: Path, *, seed: int) -> Splits:
        """See `Task.splits`; `root` is Sintel's folder, the other datasets lie beside it."""
        test = self.test_split(root)
        wanted = SELECT_SCENES if self.options.report != "subval" else HELD_OUT
        kept = [scene for scene in scenes_of(root, "train") if scene not in (*SELECT_SCENES, *HELD_OUT)]
        if "sintel" in self.options.train_on and not kept:
            raise DataError(
                f"{root} holds no scene to train on beside those that select and report; get all {len(SCENES)}"
            )
        train, select = open_mixture(root.parent, self.options.train_on, sintel_scenes=kept, seed=seed)
        return Splits(train, select or open_split(root, "train", scenes=_present(root, wanted)), test)

    def test_split(self, root: Path) -> Reader:
        """Sintel's training scenes that are reported, each pair in both passes."""
        self._submissions = open_submissions(root.parent, self.options.submissions)
        return BothPasses(root, "train", self._reported(root))

    def _reported(self, root: Path) -> list[str] | None:
        """The scenes; None for all."""
        report = self.options.report
        if report == "auto":
            report = "held-out" if "sintel" in self.options.train_on else "all"
        if report == "all":
            return None
        return _present(root, HELD_OUT if report == "held-out" else SELECT_SCENES)

    def resolved(self, test: Reader) -> dict[str, Any]:
        """The grid of windows on the first pair's size, rows by columns."""
        height, width = test[0]["valid"].shape
        rows, columns = grid((height, width), self.image_size, self.options.overlap)
        return {
            "window": list(self.image_size),
            "overlap": self.options.overlap,
            "windows": {f"{height}x{width}": [rows, columns]},
        }

    def adopt(self, metadata: Mapping[str, Any], source: str) -> None:
        """See `Task.adopt`; files of CroCo-Flow are taken where crop, criterion and weights of windows are those of the run."""
        check_settings(settings_of(metadata, source), self.image_size, self.options, source)
        self._trained_on = str(metadata.get("dataset", "data that the file doesn't tell"))

    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """As `augment` says; `flow_px` becomes (2, H, W)."""
        moved = self._augment(sample, generator)
        return {
            **{name: to_unit(moved[name]) for name in ("image1", "image2")},
            "flow_px": torch.from_numpy(moved["flow_px"]).permute(2, 0, 1),
            "valid": torch.from_numpy(moved["valid"]),
        }

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Over all known pixels of the batch whose flow isn't too long."""
        valid = within(batch["flow_px"], batch["valid"], self.options.max_flow)
        return LOSSES[self.options.loss](output, batch["flow_px"], valid)

    def selection(self, reader: Reader) -> Evaluation:
        """All pairs in one."""
        return self._scored("", reader, _prepare, self.options.select_overlap)

    def evaluations(self, reader: Reader) -> list[Evaluation]:
        """The clean and the final pass; then the submissions, which score nothing."""
        found = [self._scored(name, reader, partial(_prepare_pass, name), self.options.overlap) for name in PASSES]
        return found + [
            self._evaluation(
                f"submission-{name}",
                pairs,
                SubmissionMeter(SERVERS[name], Path(self.options.submissions[name])),
                _prepare,
                self.options.overlap,
                batch_size=_PAIRS if name == "sintel" else 1,  # KITTI's images differ in size
            )
            for name, pairs in self._submissions.items()
        ]

    def _scored(self, prefix: str, reader: Reader, prepare: Callable[[Sample], Sample], overlap: float) -> Evaluation:
        found = self._evaluation(prefix, reader, FlowMeter(), prepare, overlap, batch_size=_PAIRS)
        seen = (
            f"the weights come from their authors, who trained on {self._trained_on}, and maybe on scenes that are reported "
            "here (task.report=subval scores the two that they kept for validation)"
        )
        return replace(found, deviations=(seen,) if self._trained_on else ())

    def _evaluation(
        self,
        prefix: str,
        reader: Reader,
        meter: Meter,
        prepare: Callable[[Sample], Sample],
        overlap: float,
        *,
        batch_size: int,
    ) -> Evaluation:
        height, width = self.image_size
        weights = "" if self._weigh is None else ", weighted by confidence"
        return Evaluation(
            prefix=prefix,
            reader=reader,
            meter=meter,
            prepare=prepare,
            predict=partial(self._predict, overlap),
            batch_size=batch_size,
            citation=f"pairs of {reader.dataset}, {reader.split}, in windows of {height}x{width} that overlap by "
            f"{overlap:g} or more{weights}, as CroCo-Flow; errors of all known pixels pooled, as RAFT",
        )

    def _predict(self, overlap: float, network: nn.Module, batch: Batch) -> list[Array]:
        flow = slide_pairs(
            *(network, batch["image1"], batch["image2"], self.image_size, overlap),
            weigh=self._weigh,
            batch=self.options.windows,
        )
        return list(flow.permute(0, 2, 3, 1).cpu().numpy())

    def baselines(self) -> Mapping[str, Callable[[Batch], list[Array]]]:
        """No motion at all, and two of OpenCV's methods."""
        return {name: partial(classical_flow.on_batch, method) for name, method in classical_flow.METHODS.items()}

    def evaluation_for(self, baseline: str, evaluation: Evaluation) -> Evaluation:
        """Methods without learning see whole images."""
        pairs = f"pairs of {evaluation.reader.dataset}, {evaluation.reader.split}"
        return replace(
            evaluation, citation=f"{pairs}, whole; errors of all known pixels pooled, as RAFT", deviations=()
        )

    def panels(self, sample: Sample, prediction: Array) -> Mapping[str, Array]:
        """Images, flow in colours with a legend, error."""
        return flow_pictures.panels(sample, prediction)


def _prepare(sample: Sample) -> Sample:
    truth = {name: sample[name] for name in _TRUTH if name in sample}
    return {**{name: to_unit(sample[name]) for name in ("image1", "image2")}, **truth}


def _prepare_pass(name: str, sample: Sample) -> Sample:
    """One pass of a pair that is there in both."""
    image1, image2 = sample["passes"][name]
    return _prepare({**sample, "image1": image1, "image2": image2})


def _present(root: Path, wanted: tuple[str, ...]) -> list[str]:
    """Those of the wanted scenes that are there: a miniature hasn't all."""
    found = [scene for scene in wanted if scene in scenes_of(root, "train")]
    if not found:
        raise DataError(
            f"{root} has none of the scenes {', '.join(wanted)}; get all of MPI-Sintel: croco-bench data list"
        )
    return found


def _check(options: SintelFlowOptions) -> None:
    """Refuses what no type excludes."""
    check_weights(options.train_on)
    for name in ("overlap", "select_overlap"):
        if not 0 <= getattr(options, name) < 1:
            raise UsageError(f"task.{name}={getattr(options, name):g} should be at least 0 and less than 1")
    if not 0 < options.beta <= 40:
        raise UsageError(f"task.beta={options.beta:g} should be more than 0 and at most 40, or the weights overflow")
    for name in ("gamma", "max_flow", "windows"):
        if not getattr(options, name) > 0:
            raise UsageError(f"task.{name}={getattr(options, name):g} should be more than 0")
    if options.report == "all" and "sintel" in options.train_on:
        raise UsageError(
            "task.report=all would score scenes that are trained on; leave sintel out of task.train_on, or report=held-out"
        )
