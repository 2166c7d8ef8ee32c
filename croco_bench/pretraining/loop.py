"""The pre-training loop. Every step is a function of (seed, step): a restart repeats what was lost bit by bit."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from croco_bench.backbones.blocks import Block, CrossBlock
from croco_bench.engine.dataloading import Plan, training_batches
from croco_bench.engine.optim import Schedule
from croco_bench.engine.step import Stepper, load_state, save_state, shard
from croco_bench.engine.training_log import RunLog
from croco_bench.errors import DivergedError
from croco_bench.pretraining.objective import Objective
from croco_bench.pretraining.outputs import Output
from croco_bench.pretraining.recipe import Pretraining
from croco_bench.pretraining.sources import Source
from croco_bench.pretraining.validation import Check
from croco_bench.progress import Bar, log
from croco_bench.types import Batch


@dataclass(frozen=True)
class Job:
    """All that a pre-training needs. `key` identifies it: a restart goes on only where the key is the same."""

    recipe: Pretraining
    objective: Objective
    source: Source
    plan: Plan
    seed: int
    folder: Path
    key: str


class Pretrainer:
    """Trains `job.objective` with `accelerator`; `run` does everything, in steps."""

    def __init__(self, job: Job, accelerator: Accelerator) -> None:
        self.job, self.accelerator = job, accelerator
        recipe, plan = job.recipe, job.plan
        self._whole = _shard(job, accelerator) if recipe.train.shard else None
        optimizer = _adamw(job.objective, recipe)
        length = (recipe.train.schedule or recipe.train.epochs or recipe.train.steps or 0) * plan.unit
        warmup = recipe.optim.warmup * plan.unit
        schedule = Schedule(optimizer, min_lr=recipe.optim.min_lr, steps=length, warmup=warmup)
        self.stepper = Stepper(
            *(job.objective, optimizer, schedule, _loss, accelerator),
            accumulate=plan.accumulate,
            clip_grad=recipe.optim.clip_grad,
            seed=job.seed,
            sharded=recipe.train.shard,
        )
        self.average = _average(job.objective, recipe.train.ema)
        self.check = (
            Check(job.source, batch_size=plan.micro_batch, accelerator=accelerator) if job.source.held_out else None
        )
        self.output = Output(job.folder)
        self.seconds, self.cpu_seconds, self.scores = 0.0, 0.0, dict[str, float]()
        self.start = self._resume()

    def run(self) -> None:
        """Trains to the end; `scores` are then the last held-out ones.

        Raises:
            DivergedError: the loss or the held-out error is not finite.
        """
        train, plan, main = self.job.recipe.train, self.job.plan, self.accelerator.is_main_process
        log = RunLog(self.job.folder, start=self.start, tracker=train.tracker) if main else None
        batches = self._batches()
        clock = _Clock(self.seconds, self.cpu_seconds)
        with Bar("pretrain", plan.steps, start=self.start, shown=main) as bar:
            for step in range(self.start, plan.steps):
                loss, rate = self.stepper.step(step, batches)
                if self.average is not None:
                    self.average.update_parameters(self.job.objective)
                done = step + 1
                clock.count(train.batch_size)
                if log and (done % max(1, plan.steps // 2000) == 0 or done == plan.steps):
                    log.add(step, loss=loss, lr=rate, images_per_s=clock.rate)
                if done % (train.check_every * plan.unit) == 0 or done == plan.steps:
                    self.scores = self._look(done)
                    if log:
                        log.add(step, **self.scores, cpu_seconds=clock.cpu_seconds)
                if train.keep_every and done % (train.keep_every * plan.unit) == 0:
                    self._write(partial(self.output.keep, done // plan.unit))
                bar.advance(1, f"loss {loss:.4f}  {clock.rate:.0f} images/s{_short(self.scores)}")
                if self._due(clock) or done == plan.steps:
                    self._save(done, clock)
        if log:
            log.close()
        self.seconds, self.cpu_seconds = clock.seconds, clock.cpu_seconds
        self.accelerator.wait_for_everyone()

    def _batches(self) -> Iterator[Batch]:
        job, workers = self.job, self.job.recipe.train.workers
        return training_batches(
            job.source.train,
            job.source.training,
            job.plan,
            self.accelerator,
            seed=job.seed,
            start=self.start,
            workers=workers,
        )

    def model(self) -> Objective:
        """What is looked at: the running average where there is one."""
        if self.average is None:
            return self.job.objective
        assert isinstance(self.average.module, Objective)
        return self.average.module

    def whole_model(self) -> Objective:
        """What is written. Of a sharded model every process must ask, and the first one gets its weights."""
        if self._whole is None:
            return self.model()
        state = self.stepper.state()["network"]
        if self.accelerator.is_main_process:
            self._whole.load_state_dict(state)
        return self._whole

    def _look(self, done: int) -> dict[str, float]:
        """Held-out scores, a sheet of reconstructions, the latest checkpoint."""
        model, main = self.model(), self.accelerator.is_main_process
        scores: dict[str, float] = {}
        if self.check:
            scores = self.check.scores(model)
            if not all(math.isfinite(score) for score in scores.values()):
                raise DivergedError(
                    f"the held-out error is {scores['held_out']} after step {done}",
                    "lower the learning rate (--set "
                    "optim.blr), raise --set optim.warmup or set optim.clip_grad=1, and start over",
                )
            panels = self.check.panels(model)
            if main:
                said = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
                title = f"{self.job.recipe.objective}, recipe {self.job.recipe.name}, step {done}: {said}"
                self.output.sheet(done, panels, title)
                log(f"step {done} of {self.job.plan.steps}: {said}")
        self._write(self.output.latest)
        return scores

    def _write(self, how: Callable[[Objective], None]) -> None:
        model = self.whole_model()
        if self.accelerator.is_main_process:
            how(model)

    def _due(self, clock: _Clock) -> bool:
        """Whether it is time to save. Sharded weights take all processes, whose clocks differ: the first one decides."""
        due = [clock.since_save >= self.job.recipe.train.save_seconds]
        return bool(due[0] if self._whole is None else broadcast_object_list(due)[0])

    def _save(self, done: int, clock: _Clock) -> None:
        state: dict[str, Any] = {"key": self.job.key, "step": done, "scores": self.scores, **clock.saved()}
        state |= self.stepper.state()
        if self.average is not None:
            state["average"] = self.average.state_dict()
        if self.accelerator.is_main_process:
            save_state(self.job.folder / "last.pt", state)

    def _resume(self) -> int:
        """Restores the last save, if there is one; returns the step to go on from."""
        state = load_state(self.job.folder / "last.pt", self.job.key)
        if state is None:
            return 0
        self.stepper.restore(state)
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.seconds, self.cpu_seconds, self.scores = state["seconds"], state["cpu_seconds"], state["scores"]
        if self.accelerator.is_main_process and state["step"] < self.job.plan.steps:
            log(f"going on from step {state['step']} of {self.job.plan.steps}")
        return int(state["step"])


class _Clock:
    """Wall and processor time of this process, over all restarts."""

    def __init__(self, seconds: float, cpu_seconds: float) -> None:
        self._before, self._cpu_before = seconds, cpu_seconds
        self._began, self._cpu_began = time.monotonic(), time.process_time()
        self._saved, self._images = self._began, 0

    def count(self, images: int) -> None:
        """One more step."""
        self._images += images

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    @property
    def cpu_seconds(self) -> float:
        return self._cpu_before + time.process_time() - self._cpu_began

    @property
    def rate(self) -> float:
        """Images a second since this process began."""
        return self._images / max(time.monotonic() - self._began, 1e-9)

    @property
    def since_save(self) -> float:
        return time.monotonic() - self._saved

    def saved(self) -> dict[str, float]:
        """Starts the time to the next save; the times that a saved state keeps."""
        self._saved = time.monotonic()
        return {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}


def _shard(job: Job, accelerator: Accelerator) -> Objective:
    """Shards the objective; returns a copy that stays whole, on the CPU."""
    whole = copy.deepcopy(job.objective)
    blocks = [module for module in job.objective.modules() if isinstance(module, Block | CrossBlock)]
    shard(job.objective, blocks, ["reconstruct"], accelerator)
    return whole


def _loss(wrapped: nn.Module, batch: Batch) -> Tensor:
    loss: Tensor = wrapped(batch)
    return loss


def _adamw(objective: Objective, recipe: Pretraining) -> torch.optim.Optimizer:
    """Only matrices decay: no biases, norms, tokens or tables."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            token = name.rpartition(".")[2] in ("mask_token", "prefix")
            (matrices if parameter.ndim > 1 and not token else others).append(parameter)
    groups = [{"params": matrices, "weight_decay": recipe.optim.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.optim.betas, fused=True)


def _average(objective: Objective, decay: float) -> AveragedModel | None:
    if not decay:
        return None
    return AveragedModel(objective, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]


def _short(scores: dict[str, float]) -> str:
    return f"  held out {scores['held_out']:.3f}" if scores else ""
