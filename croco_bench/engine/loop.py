"""The loop of fine-tuning and pre-training. Each step is a function of (seed, step): a restart repeats it bit by bit."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import numpy as np
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from croco_bench.config.tables import BaseRecipe
from croco_bench.contracts import Reader
from croco_bench.engine.dataloading import Plan, training_batches
from croco_bench.engine.signals import StopRequest, stop_request
from croco_bench.engine.step import State, StepLoss, Stepper, load_state, save_state, unreadable_state
from croco_bench.engine.training_log import RunLog
from croco_bench.errors import Stopped
from croco_bench.progress import Bar, log
from croco_bench.types import Sample

# Steps between two questions to the first process, whether sharded weights should be saved.
_ASK_EVERY = 8


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """Settings, length, seed and folder of a training. A restart continues only from a state with the same `key`."""

    recipe: BaseRecipe
    plan: Plan
    seed: int
    folder: Path
    key: str


J = TypeVar("J", bound=TrainingJob)


class TrainingLoop(ABC, Generic[J]):
    """Trains in steps, with a progress bar, a log, and a state in `last.pt` that a restart continues from.

    Attributes:
        title: of the progress bar.
        log_lines: number of steps that are logged, spread over the training.
        start: the first step of this process; 0 without a saved state.
        clock: time of this process and of those before the restarts.
        log: writes `log.jsonl`; None on processes other than the first, and before `train`.
        save_soon: save after the current step, even where `train.save_seconds` haven't passed.
    """

    title: ClassVar[str]
    log_lines: ClassVar[int]

    def __init__(
        self,
        job: J,
        accelerator: Accelerator,
        stepper: Stepper,
        *,
        reader: Reader,
        transform: Callable[[Sample, np.random.Generator], Sample],
    ) -> None:
        """`reader` has the training items; `transform` makes a random sample of an item."""
        self.job, self.accelerator, self.stepper = job, accelerator, stepper
        self._reader, self._transform = reader, transform
        self.start, self.clock, self.save_soon = 0, Clock(), False
        self.log: RunLog | None = None

    @abstractmethod
    def after_step(self, done: int, loss: float, rate: float) -> None:
        """Logs; at a milestone also scores and writes. `loss`, which is finite, and the learning rate are those of step `done`.

        On a GPU the next step may be at work already, except at a milestone.
        """

    @abstractmethod
    def is_milestone(self, done: int) -> bool:
        """Whether `after_step` reads the weights after `done` steps."""

    def follow_weights(self) -> None:
        """Called after each step, before its loss is known; nothing here may wait for the device."""

    @abstractmethod
    def status(self, loss: float) -> str:
        """Text beside the progress bar."""

    @abstractmethod
    def extra_state(self) -> State:
        """The subclass's part of the saved state."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """The inverse of `extra_state`; `state` is the whole saved state."""

    def train(self) -> None:
        """Runs all steps that follow the saved state.

        Raises:
            DivergedError: the loss is not finite.
            Stopped: a signal came; the state is saved.
        """
        job, main = self.job, self.accelerator.is_main_process
        self._resume()
        self.log = (
            RunLog(
                job.folder,
                start=self.start,
                tracker=job.recipe.train.tracker,
                settings=job.recipe.model_dump(mode="json"),
            )
            if main
            else None
        )
        batches = training_batches(
            self._reader,
            self._transform,
            job.plan,
            self.accelerator,
            seed=job.seed,
            start=self.start,
            workers=job.recipe.train.workers,
        )
        self.clock.start()
        with stop_request() as stop, Bar(self.title, job.plan.steps, start=self.start, shown=main) as bar:
            late: StepLoss | None = None
            for step in range(self.start, job.plan.steps):
                loss = self.stepper.step(step, batches)
                self.follow_weights()
                if late is not None:
                    self._finish(late, bar)
                late = loss
                if self._must_know(step + 1, stop):
                    self._finish(loss, bar)
                    late = None
                    self._save_if_due(step + 1, stop)
        if self.log:
            self.log.close()
        self.clock.read()
        self.accelerator.wait_for_everyone()

    def _finish(self, loss: StepLoss, bar: Bar) -> None:
        """What follows a step once its loss is known."""
        value = loss.value()
        self.clock.count(self.job.recipe.train.batch_size)
        self.after_step(loss.done, value, loss.rate)
        bar.advance(1, self.status(value))

    def _must_know(self, done: int, stop: StopRequest) -> bool:
        """Whether the loss of step `done` is needed before the next step: weights that it spoilt are never scored or saved.

        Processes that save together ask each other, which takes time: where losses are read late, at some steps only.
        """
        if not self.stepper.late or done == self.job.plan.steps or self.is_milestone(done):
            return True
        if self.stepper.sharded:
            return done % _ASK_EVERY == 0
        return stop.signal is not None or self.clock.since_save >= self.job.recipe.train.save_seconds

    def log_step(self, done: int, **values: float) -> None:
        """Logs values of the last step, if it is one of the logged steps."""
        steps = self.job.plan.steps
        if self.log and (done % max(1, steps // self.log_lines) == 0 or done == steps):
            self.log.add(done - 1, **values)

    def _save_if_due(self, done: int, stop: StopRequest) -> None:
        """Saves when it is time to. The first process decides when to stop, as it holds the file.

        All processes together save sharded weights, but their clocks differ: the first process decides that, too.
        """
        seconds = self.job.recipe.train.save_seconds
        due = self.save_soon or self.clock.since_save >= seconds or done == self.job.plan.steps
        asked = stop.signal if self.accelerator.is_main_process else None
        if self.stepper.sharded:
            due, asked = broadcast_object_list([due, asked])
        if due or asked:
            self.save(done)
        if asked:
            if self.accelerator.is_main_process:
                log(f"saved after step {done} of {self.job.plan.steps}")
            raise Stopped(asked)

    def save(self, done: int) -> None:
        """Writes the state after `done` steps."""
        self.save_soon = False
        self.clock.saved()
        state = {"key": self.job.key, "step": done, **self.clock.read(), **self.stepper.state(), **self.extra_state()}
        if self.accelerator.is_main_process:
            save_state(self.job.folder / "last.pt", state)

    def _resume(self) -> None:
        """Restores the saved state, if there is one."""
        path = self.job.folder / "last.pt"
        state = load_state(path, self.job.key)
        if state is None:
            return
        try:
            self.stepper.restore(state)
            self.restore(state)
            self.start, self.clock = int(state["step"]), Clock(float(state["seconds"]), state.get("cpu_seconds", 0.0))
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise unreadable_state(path, error) from error
        if self.accelerator.is_main_process and self.start < self.job.plan.steps:
            log(f"going on from step {self.start} of {self.job.plan.steps}")


class Clock:
    """Wall and processor time of a training, time before restarts included, and its speed in this process."""

    def __init__(self, seconds: float = 0.0, cpu_seconds: float = 0.0) -> None:
        self.seconds, self.cpu_seconds = seconds, cpu_seconds
        self.start()

    def start(self) -> None:
        """Counts from now on."""
        self._began = self._saved = self._now = time.monotonic()
        self._cpu_now, self._images = time.process_time(), 0

    def read(self) -> dict[str, float]:
        """`seconds` and `cpu_seconds` of the whole training, both brought up to date."""
        now, cpu_now = time.monotonic(), time.process_time()
        self.seconds += now - self._now
        self.cpu_seconds += cpu_now - self._cpu_now
        self._now, self._cpu_now = now, cpu_now
        return {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}

    def count(self, images: int) -> None:
        """Adds a step over `images`."""
        self._images += images

    @property
    def images_per_s(self) -> float:
        """Mean since the start of this process."""
        return self._images / max(time.monotonic() - self._began, 1e-9)

    @property
    def since_save(self) -> float:
        """Seconds since the last save."""
        return time.monotonic() - self._saved

    def saved(self) -> None:
        """Notes that a save begins now."""
        self._saved = time.monotonic()
