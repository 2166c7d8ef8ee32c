"""The one training loop. Every step is a function of (seed, step), so that a restart repeats what was lost bit by bit."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from croco_bench.config.recipe import Recipe
from croco_bench.contracts import Splits, Task
from croco_bench.engine.dataloading import Plan, training_batches
from croco_bench.engine.evaluate import evaluate
from croco_bench.engine.network import Network, Outputs, inputs
from croco_bench.engine.optim import Schedule, build_optimizer
from croco_bench.engine.step import State, Stepper, load_state, save_state
from croco_bench.engine.training_log import RunLog
from croco_bench.progress import Bar, log
from croco_bench.types import Batch


@dataclass(frozen=True)
class Job:
    """All that a training needs. `key` identifies it: a restart goes on only where the key is the same."""

    recipe: Recipe
    task: Task
    splits: Splits
    network: Network
    plan: Plan
    seed: int
    folder: Path
    key: str


@dataclass(frozen=True)
class TrainResult:
    """How training went. `selected` are the network's weights at `step`; the network itself holds the last ones."""

    step: int
    metric: str
    value: float
    selected: dict[str, Tensor]
    seconds: float
    images_per_s: float


class Trainer:
    """Fine-tunes `job.network` with `accelerator`; `run` does everything, in steps."""

    def __init__(self, job: Job, accelerator: Accelerator) -> None:
        self.job, self.accelerator = job, accelerator
        optim, plan = job.recipe.optim, job.plan
        if accelerator.num_processes > 1 and accelerator.device.type == "cuda":  # torch has no such thing for CPUs
            nn.SyncBatchNorm.convert_sync_batchnorm(job.network)  # type: ignore[no-untyped-call]
        optimizer = build_optimizer(job.network, optim)
        schedule = Schedule(optimizer, min_lr=optim.min_lr, steps=plan.steps, warmup=optim.warmup * plan.unit)
        self.stepper = Stepper(
            *(job.network, optimizer, schedule, self._loss, accelerator),
            accumulate=plan.accumulate,
            clip_grad=optim.clip_grad,
            seed=job.seed,
        )
        self.checkpoint = job.folder / "last.pt"
        self.best: State = {}
        self.seconds = 0.0
        self.start = self._resume()

    def run(self) -> TrainResult:
        """Trains to the end, choosing weights on the selection split on the way.

        Raises:
            DivergedError: the loss is not finite.
        """
        job, accelerator = self.job, self.accelerator
        log = (
            RunLog(job.folder, start=self.start, tracker=job.recipe.train.tracker)
            if accelerator.is_main_process
            else None
        )
        batches, select_every = self._batches(), job.recipe.train.select_every * job.plan.unit
        began = saved = time.monotonic()
        with Bar("train", job.plan.steps, start=self.start, shown=accelerator.is_main_process) as bar:
            for step in range(self.start, job.plan.steps):
                loss, rate = self.stepper.step(step, batches)
                done = step + 1
                if done % select_every == 0 or done == job.plan.steps:
                    self._select(done, log)
                    saved = -math.inf
                if log and (done % max(1, job.plan.steps // 500) == 0 or done == job.plan.steps):
                    log.add(step, loss=loss, lr=rate)
                bar.advance(1, self._status(loss))
                now = time.monotonic()
                if now - saved >= job.recipe.train.save_seconds or done == job.plan.steps:
                    self._save(done, self.seconds + now - began)
                    saved = now
        if log:
            log.close()
        self.seconds += time.monotonic() - began
        accelerator.wait_for_everyone()
        trained_images = job.plan.steps * job.recipe.train.batch_size
        return TrainResult(
            step=self.best["step"],
            metric=job.task.selection_metric,
            value=self.best["value"],
            selected=self.best["weights"],
            seconds=self.seconds,
            images_per_s=trained_images / self.seconds if self.seconds else 0.0,
        )

    def _batches(self) -> Iterator[Batch]:
        job, workers = self.job, self.job.recipe.train.workers
        return training_batches(
            job.splits.train,
            job.task.augment,
            job.plan,
            self.accelerator,
            seed=job.seed,
            start=self.start,
            workers=workers,
        )

    def _loss(self, wrapped: nn.Module, batch: Batch) -> Tensor:
        outputs = wrapped(*inputs(batch, self.job.task.views))
        weighted: Outputs = outputs if isinstance(outputs, list) else [(1.0, outputs)]
        # Losses are computed in float32: squares and logarithms don't fit half precision.
        with torch.autocast(weighted[0][1].device.type, enabled=False):
            parts = [weight * self.job.task.loss(output.float(), batch) for weight, output in weighted]
        return torch.stack(parts).sum()

    def _select(self, done: int, log: RunLog | None) -> None:
        """Scores the selection split; keeps the weights when they are the best so far (the earlier on a tie)."""
        task = self.job.task
        evaluation = task.selection(self.job.splits.select)
        scores = evaluate(self.job.network, evaluation, self.accelerator, workers=self.job.recipe.train.workers)
        value = scores.needed(task.selection_metric)
        metric = next(metric for metric in evaluation.meter.metrics if metric.name == task.selection_metric)
        sign = 1.0 if metric.higher_is_better else -1.0
        if not self.best or sign * value > sign * self.best["value"]:
            weights = {name: tensor.detach().cpu().clone() for name, tensor in self.job.network.state_dict().items()}
            self.best = {"step": done, "value": value, "weights": weights}
        if log:
            log.add(done - 1, **{f"select/{name}": number for name, number in scores.metrics.items()})

    def _status(self, loss: float) -> str:
        best = f"  {self.job.task.selection_metric} {self.best['value']:.3f}" if self.best else ""
        return f"loss {loss:.4f}{best}"

    def _save(self, done: int, seconds: float) -> None:
        if self.accelerator.is_main_process:
            state = {"key": self.job.key, "step": done, "seconds": seconds, "best": self.best}
            save_state(self.checkpoint, {**state, **self.stepper.state()})

    def _resume(self) -> int:
        """Restores the last save, if there is one; returns the step to go on from."""
        state = load_state(self.checkpoint, self.job.key)
        if state is None:
            return 0
        self.stepper.restore(state)
        self.best, self.seconds = state["best"], state["seconds"]
        if self.accelerator.is_main_process and state["step"] < self.job.plan.steps:
            log(f"going on from step {state['step']} of {self.job.plan.steps}")
        return int(state["step"])
