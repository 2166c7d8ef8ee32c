"""What an evaluation runs: a network or a classical method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from accelerate import Accelerator

from croco_bench.contracts import ClassicalMethod, Evaluation, Task, TaskData
from croco_bench.engine.network import Network
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

    @abstractmethod
    def adapt(self, evaluation: Evaluation) -> Evaluation:
        """The evaluation as it is run for this predictor."""

    @abstractmethod
    def prepare(self, accelerator: Accelerator) -> None:
        """Moves to the accelerator's device and precision; training does so by itself."""

    @abstractmethod
    def resolved(self, task: Task, data: TaskData) -> dict[str, Any]:
        """Values derived from settings, weights and data, for the result: `task`, and `head` for networks."""


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

    def adapt(self, evaluation: Evaluation) -> Evaluation:
        """Unchanged."""
        return evaluation

    def prepare(self, accelerator: Accelerator) -> None:
        """See `Predictor.prepare`."""
        accelerator.prepare(self.network)

    def resolved(self, task: Task, data: TaskData) -> dict[str, Any]:
        """See `Predictor.resolved`."""
        return {"head": self.network.head.resolved(), "task": {**task.state, **task.resolved(data)}}


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

    def resolved(self, task: Task, data: TaskData) -> dict[str, Any]:
        """See `Predictor.resolved`."""
        return {"task": dict(task.state)}
