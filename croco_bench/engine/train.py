"""Fine-tuning: the loss of a task, and the choice of weights on the selection split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from croco_bench.config.recipe import Recipe
from croco_bench.contracts import Task, TrainingSplits
from croco_bench.engine.checkpointing import checkpoint_blocks
from croco_bench.engine.compiling import compile_network
from croco_bench.engine.dataloading import Plan
from croco_bench.engine.evaluate import EvalResult, NetworkPredictor, Scores, evaluate
from croco_bench.engine.loop import TrainingJob, TrainingLoop
from croco_bench.engine.network import Network, Outputs, inputs
from croco_bench.engine.optim import Schedule, build_optimizer, parameter_groups
from croco_bench.engine.step import State, Stepper
from croco_bench.types import Batch


@dataclass(frozen=True, kw_only=True)
class FineTuneJob(TrainingJob):
    """A fine-tuning: its task, data and network."""

    recipe: Recipe
    task: Task
    splits: TrainingSplits
    network: Network


@dataclass(frozen=True)
class TrainResult:
    """The outcome of a training. After it, the network holds the weights of the last step.

    Attributes:
        plan: length of the training.
        step: the selected step, at which `metric` had `value` on the selection split.
        weights: state dict of the network at that step.
        seconds: duration, pauses excluded.
        images_per_s: training throughput.
        chosen: settings that were chosen on the selection split, stored in the result.
        others: scores of the test split by other classifiers than the network's head.
        notes: remarks on the choice of settings and on the training, for the result.
    """

    plan: Plan
    step: int
    metric: str
    value: float
    weights: dict[str, Tensor]
    seconds: float
    images_per_s: float
    chosen: Mapping[str, Any] = field(default_factory=dict)
    others: tuple[EvalResult, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_last(self) -> bool:
        """Whether the selected step is the last one."""
        return self.step == self.plan.steps


def weighted_losses(task: Task, outputs: Tensor | Outputs, batch: Batch) -> Tensor:
    """The task's losses of a network's outputs, each times its weight, the main output first."""
    weighted: Outputs = outputs if isinstance(outputs, list) else [(1.0, outputs)]
    # In float32: squares and logarithms overflow in half precision.
    with torch.autocast(weighted[0][1].device.type, enabled=False):
        return torch.stack([weight * task.loss(output.float(), batch) for weight, output in weighted])


class Trainer(TrainingLoop[FineTuneJob]):
    """Fine-tunes `job.network` with `accelerator`."""

    title = "train"
    log_lines = 500

    def __init__(self, job: FineTuneJob, accelerator: Accelerator) -> None:
        optim, plan = job.recipe.optim, job.plan
        if accelerator.num_processes > 1 and accelerator.device.type == "cuda":  # SyncBatchNorm needs GPUs
            nn.SyncBatchNorm.convert_sync_batchnorm(job.network)  # type: ignore[no-untyped-call]
        if job.recipe.train.checkpointing:
            checkpoint_blocks(job.network.backbone.units(), job.network.backbone.name)
        if job.recipe.train.channels_last:
            job.network.head.to(memory_format=torch.channels_last)
        optimizer = build_optimizer(job.network, optim, self.groups(job))
        schedule = Schedule(
            optimizer, min_lr=optim.min_lr, steps=plan.steps, warmup=optim.warmup * plan.unit, unit=plan.unit
        )
        self.compilation = compile_network(job.network, job.recipe.train.compile, accelerator.device)
        stepper = Stepper(
            job.network,
            optimizer,
            schedule,
            self.loss_of,
            accelerator,
            accumulate=plan.accumulate,
            clip_grad=optim.clip_grad,
            seed=job.seed,
            compilation=self.compilation,
        )
        super().__init__(job, accelerator, stepper, reader=job.splits.train, transform=job.task.augment)
        self.best: State = {}

    def groups(self, job: FineTuneJob) -> list[dict[str, Any]]:
        """Parameter groups of the optimiser."""
        return parameter_groups(job.network, job.recipe.optim)

    def run(self) -> TrainResult:
        """Trains to the end; weights are selected during the training.

        Raises:
            DivergedError: the loss is not finite.
        """
        self.train()
        job, seconds = self.job, self.clock.seconds
        trained_images = job.plan.steps * job.recipe.train.batch_size
        return TrainResult(
            plan=job.plan,
            step=self.best["step"],
            metric=job.task.selection_metric,
            value=self.best["value"],
            weights=self.best["weights"],
            seconds=seconds,
            images_per_s=trained_images / seconds if seconds else 0.0,
            notes=self.compilation.notes if self.compilation else (),
        )

    def after_step(self, done: int, loss: float, rate: float) -> None:
        """See `TrainingLoop.after_step`."""
        if self.is_milestone(done):
            self.select(done)
            self.save_soon = True
        self.log_step(done, loss=loss, lr=rate)

    def is_milestone(self, done: int) -> bool:
        """See `TrainingLoop.is_milestone`: weights are scored."""
        plan = self.job.plan
        return done % (self.job.recipe.train.select_every * plan.unit) == 0 or done == plan.steps

    def status(self, loss: float) -> str:
        """See `TrainingLoop.status`."""
        best = f"  {self.job.task.selection_metric} {self.best['value']:.3f}" if self.best else ""
        return f"loss {loss:.4f}{best}"

    def extra_state(self) -> State:
        """See `TrainingLoop.extra_state`."""
        return {"best": self.best}

    def restore(self, state: State) -> None:
        """See `TrainingLoop.restore`."""
        best = dict(state["best"])
        if best:
            best = {"step": int(best["step"]), "value": float(best["value"]), "weights": dict(best["weights"])}
        self.best = best

    def loss_of(self, wrapped: nn.Module, batch: Batch) -> Tensor:
        """The loss of a batch, the sum over the network's outputs."""
        return self.losses_of(wrapped, batch).sum()

    def losses_of(self, wrapped: nn.Module, batch: Batch) -> Tensor:
        """Weighted losses of the network's outputs, the main output first."""
        return weighted_losses(self.job.task, wrapped(*inputs(batch, self.job.task.views)), batch)

    def select(self, done: int) -> None:
        """Scores the selection split; keeps the weights if they are better than all before."""
        scores = self.selection_scores()
        value = scores.value_of(self.job.task.selection_metric)
        if not self.best or self.sign * value > self.sign * self.best["value"]:
            weights = {name: tensor.detach().cpu().clone() for name, tensor in self.job.network.state_dict().items()}
            self.best = {"step": done, "value": value, "weights": weights}
        if self.log:
            self.log.add(done - 1, **{f"select/{name}": number for name, number in scores.metrics.items()})

    def selection_scores(self) -> Scores:
        """Scores of the network on the selection split."""
        evaluation = self.job.task.selection(self.job.splits.select)
        predictor, workers = NetworkPredictor(self.job.network), self.job.recipe.train.workers
        return evaluate(predictor, evaluation, self.accelerator, workers=workers)

    @property
    def sign(self) -> float:
        """1 if a higher value of the metric that selects is better, otherwise -1."""
        name = self.job.task.selection_metric
        meter = self.job.task.selection(self.job.splits.select).meter
        return 1.0 if next(one for one in meter.metrics if one.name == name).higher_is_better else -1.0
