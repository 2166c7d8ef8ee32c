"""Scores a network or a classical method under one protocol: every image once, per-image rows in float64."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from croco_bench.contracts import ClassicalMethod, Evaluation, ScoredTask, TaskData, TensorPredict
from croco_bench.engine.dataloading import evaluation_batches
from croco_bench.engine.network import BareNetwork, Network
from croco_bench.engine.scoring import DeviceScorer, HostScorer, Scorer
from croco_bench.errors import FAILED, BenchError, DataError
from croco_bench.metrics.meter import Rows, stack
from croco_bench.types import Array, Batch


class Predictor(ABC):
    """Predicts the batches of an evaluation.

    `may_fail`: a prediction may hold NaN where no answer was found, and a result may lack its headline metric.
    """

    may_fail: ClassVar[bool]

    @property
    @abstractmethod
    def parameters(self) -> int:
        """Number of parameters, frozen ones included."""

    @abstractmethod
    def predict(self, evaluation: Evaluation, batch: Batch) -> list[Array]:
        """One array per image of a prepared batch, in physical units."""

    def scorer(self, evaluation: Evaluation, device: torch.device) -> Scorer:
        """What scores the batches of an evaluation on a device."""
        return HostScorer(evaluation, device, partial(self.predict, evaluation), may_fail=self.may_fail)

    @abstractmethod
    def adapt(self, evaluation: Evaluation) -> Evaluation:
        """The evaluation as it is run for this predictor."""

    @abstractmethod
    def prepare(self, accelerator: Accelerator) -> None:
        """Moves to the accelerator's device and precision; training does so by itself."""

    @abstractmethod
    def resolved(self, task: ScoredTask, data: TaskData) -> dict[str, Any]:
        """Values derived from settings, weights and data, for the result: `task`, and `head` for networks."""


def stays_on(device: torch.device) -> bool:
    """Whether answers are scored where they are: on a CPU the meters themselves do it."""
    return device.type == "cuda"


def _scorer_on(
    device: torch.device, evaluation: Evaluation, network: nn.Module, predictor: Predictor
) -> DeviceScorer | None:
    """For evaluations whose answers can stay on the device."""
    predict = evaluation.predict
    if not stays_on(device) or not isinstance(predict, TensorPredict):
        return None
    return DeviceScorer(evaluation, device, partial(predict.tensors, network), may_fail=predictor.may_fail)


@dataclass(frozen=True)
class NetworkPredictor(Predictor):
    """A network, always in eval mode."""

    may_fail: ClassVar = False
    network: Network

    @property
    def parameters(self) -> int:
        """Those of backbone and head."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def predict(self, evaluation: Evaluation, batch: Batch) -> list[Array]:
        """See `Evaluation.predict`."""
        self.network.eval()
        return evaluation.predict(self.network, batch)

    def scorer(self, evaluation: Evaluation, device: torch.device) -> Scorer:
        """See `Predictor.scorer`."""
        self.network.eval()
        return _scorer_on(device, evaluation, self.network, self) or super().scorer(evaluation, device)

    def adapt(self, evaluation: Evaluation) -> Evaluation:
        """Unchanged."""
        return evaluation

    def prepare(self, accelerator: Accelerator) -> None:
        """See `Predictor.prepare`."""
        accelerator.prepare(self.network)

    def resolved(self, task: ScoredTask, data: TaskData) -> dict[str, Any]:
        """See `Predictor.resolved`."""
        return {"head": self.network.head.resolved(), "task": {**task.state, **task.resolved(data)}}


@dataclass(frozen=True)
class BackbonePredictor(Predictor):
    """A backbone without a head, from whose features a task reads answers."""

    may_fail: ClassVar = True
    network: BareNetwork

    @property
    def parameters(self) -> int:
        """Those of the backbone."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def predict(self, evaluation: Evaluation, batch: Batch) -> list[Array]:
        """See `Evaluation.predict`."""
        return evaluation.predict(self.network, batch)

    def scorer(self, evaluation: Evaluation, device: torch.device) -> Scorer:
        """See `Predictor.scorer`."""
        return _scorer_on(device, evaluation, self.network, self) or super().scorer(evaluation, device)

    def adapt(self, evaluation: Evaluation) -> Evaluation:
        """Unchanged."""
        return evaluation

    def prepare(self, accelerator: Accelerator) -> None:
        """See `Predictor.prepare`; without gradients there is nothing to wrap."""
        self.network.to(accelerator.device)

    def resolved(self, task: ScoredTask, data: TaskData) -> dict[str, Any]:
        """See `Predictor.resolved`."""
        return {"task": {**task.state, **task.resolved(data)}}


@dataclass(frozen=True)
class ClassicalPredictor(Predictor):
    """A classical method: it has no parameters and runs on the CPU."""

    may_fail: ClassVar = True
    method: ClassicalMethod

    @property
    def parameters(self) -> int:
        """None."""
        return 0

    def predict(self, evaluation: Evaluation, batch: Batch) -> list[Array]:
        """See `ClassicalMethod.predict`."""
        return self.method.predict(batch)

    def adapt(self, evaluation: Evaluation) -> Evaluation:
        """See `ClassicalMethod.adapt`."""
        return self.method.adapt(evaluation)

    def prepare(self, accelerator: Accelerator) -> None:
        """Nothing to move."""

    def resolved(self, task: ScoredTask, data: TaskData) -> dict[str, Any]:
        """See `Predictor.resolved`."""
        return {"task": dict(task.state)}


@dataclass(frozen=True)
class Scores:
    """Rows of all images, in index order, and the metrics computed from them.

    `missing` holds the reason for each metric without a finite value; such metrics are left out of results.
    """

    rows: Rows
    metrics: dict[str, float]
    seconds: float
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Number of scored images."""
        return len(self.rows["index"])

    def value_of(self, metric: str) -> float:
        """The value of a metric that selects weights.

        Raises:
            DataError: it has no finite value.
        """
        if metric in self.missing:
            raise DataError(f"{metric}, which selects the weights, can't be computed: {self.missing[metric]}")
        return self.metrics[metric]


@dataclass(frozen=True)
class EvalResult:
    """Scores under one protocol, of the weights of the selected step (those to report) or of the last step."""

    weights: Literal["selected", "last"]
    evaluation: Evaluation
    scores: Scores


def evaluate(
    predictor: Predictor,
    evaluation: Evaluation,
    accelerator: Accelerator,
    *,
    workers: int,
    advance: Callable[[int], None] = lambda images: None,
) -> Scores:
    """Runs `evaluation` on all images of its reader. Each process scores a contiguous share; nothing is padded.

    Predictions must be finite, unless the predictor may fail and the meter scores failures. A metric without a finite
    value is left out of `metrics` and explained in `missing`: no image has what it needs, or too many predictions failed.

    Raises:
        DivergedError: a prediction isn't finite.
        DataError: no image has a valid target.
        BenchError: an image was not scored, or scored twice.
    """
    began = time.monotonic()
    total = len(evaluation.reader)
    rank, processes = accelerator.process_index, accelerator.num_processes
    mine = list(range(total * rank // processes, total * (rank + 1) // processes))
    scorer = predictor.scorer(evaluation, accelerator.device)
    batches = evaluation_batches(
        evaluation, mine, device=accelerator.device, workers=workers, to_move=isinstance(scorer, DeviceScorer)
    )
    with torch.inference_mode():
        for batch in batches:
            with accelerator.autocast():
                scorer.add(batch)
            advance(len(batch["index"]))
        scorer.finish()
    rows = scorer.rows
    if accelerator.num_processes > 1:
        rows = gather_object(rows)
    rows.sort(key=lambda row: int(row["index"]))
    scored = [int(row["index"]) for row in rows]
    if scored != list(range(total)):
        raise BenchError(f"{len(scored)} rows were scored for {total} images", "each image must be scored exactly once")
    table = stack(rows)
    metrics = evaluation.meter.reduce(table)
    if np.isnan(list(metrics.values())).all():
        raise DataError(
            f"{', '.join(metrics)} can't be computed: none of the {total} images of the {evaluation.reader.split} split "
            f"has a valid target",
            f"croco-bench data check {evaluation.reader.dataset} says more",
        )
    missing = {name: missing_reason(value, evaluation) for name, value in metrics.items() if not np.isfinite(value)}
    kept = {name: value for name, value in metrics.items() if name not in missing}
    return Scores(table, kept, time.monotonic() - began, missing)


def missing_reason(value: float, evaluation: Evaluation) -> str:
    """The reason why a metric is NaN or infinite."""
    if np.isnan(value):
        return f"no image of the {evaluation.reader.split} split has what it needs"
    return FAILED
