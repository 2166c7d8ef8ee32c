"""Pre-training: the loss of an objective, validation on held-out items, checkpoints on the way."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from croco_bench.backbones.networks.blocks import Block, CrossBlock
from croco_bench.engine.checkpointing import checkpoint_blocks
from croco_bench.engine.compiling import Compilation, parts_of
from croco_bench.engine.loop import TrainingJob, TrainingLoop
from croco_bench.engine.optim import Schedule, is_decayed
from croco_bench.engine.step import State, Stepper, shard
from croco_bench.errors import DivergedError, UsageError
from croco_bench.pretraining.objective import Objective
from croco_bench.pretraining.outputs import Output
from croco_bench.pretraining.recipe import PretrainRecipe
from croco_bench.pretraining.sources import PretrainSource
from croco_bench.pretraining.validation import Validation
from croco_bench.progress import log
from croco_bench.types import Batch


@dataclass(frozen=True, kw_only=True)
class PretrainJob(TrainingJob):
    """All that a pre-training needs."""

    recipe: PretrainRecipe
    objective: Objective
    source: PretrainSource


class Pretrainer(TrainingLoop[PretrainJob]):
    """Trains `job.objective` with `accelerator`; after `train`, `scores` are the last held-out ones."""

    title = "pretrain"
    log_lines = 2000

    def __init__(self, job: PretrainJob, accelerator: Accelerator) -> None:
        self._unsharded = _shard(job, accelerator) if job.recipe.train.shard else None
        if job.recipe.train.checkpointing:
            checkpoint_blocks(_blocks(job.objective), job.objective.backbone.name)
        self.compilation = _compilation(job, accelerator)
        super().__init__(
            job,
            accelerator,
            _stepper(job, accelerator, self.compilation),
            reader=job.source.train,
            transform=job.source.train_transform,
        )
        self.average = _average(job.objective, job.recipe.train.ema)
        self.validation = Validation(job.source, job.plan.micro_batch, accelerator) if job.source.held_out else None
        self.output = Output(job.folder)
        self.scores = dict[str, float]()

    def after_step(self, done: int, loss: float, rate: float) -> None:
        """See `TrainingLoop.after_step`."""
        self.log_step(done, loss=loss, lr=rate, images_per_s=self.clock.images_per_s)
        if self._is_checked(done):
            self.scores = self.validate(done)
            self._write(self.output.write_last)
            if self.log:
                self.log.add(done - 1, **self.scores, cpu_seconds=self.clock.read()["cpu_seconds"])
        if self._is_kept(done):
            self._write(partial(self.output.write_numbered, done // self.job.plan.unit))

    def is_milestone(self, done: int) -> bool:
        """See `TrainingLoop.is_milestone`: weights are validated or written."""
        return self._is_checked(done) or self._is_kept(done)

    def _is_checked(self, done: int) -> bool:
        plan = self.job.plan
        return done % (self.job.recipe.train.check_every * plan.unit) == 0 or done == plan.steps

    def _is_kept(self, done: int) -> bool:
        every = self.job.recipe.train.keep_every * self.job.plan.unit
        return every > 0 and done % every == 0

    def follow_weights(self) -> None:
        """See `TrainingLoop.follow_weights`: the running average takes the step's weights in."""
        if self.average is not None:
            self.average.update_parameters(self.job.objective)

    def status(self, loss: float) -> str:
        """See `TrainingLoop.status`."""
        held_out = f"  held out {self.scores['held_out']:.3f}" if self.scores else ""
        return f"loss {loss:.4f}  {self.clock.images_per_s:.0f} images/s{held_out}"

    def extra_state(self) -> State:
        """See `TrainingLoop.extra_state`."""
        average = {} if self.average is None else {"average": self.average.state_dict()}
        return {"scores": self.scores, **average}

    def restore(self, state: State) -> None:
        """See `TrainingLoop.restore`."""
        self.scores = state["scores"]
        if self.average is not None:
            self.average.load_state_dict(state["average"])

    def validate(self, done: int) -> dict[str, float]:
        """Held-out scores after `done` steps, and a sheet of reconstructions; nothing without held-out items.

        Raises:
            DivergedError: a score is not finite.
        """
        if self.validation is None:
            return {}
        model = self.model()
        scores = self.validation.scores(model)
        if not all(math.isfinite(score) for score in scores.values()):
            raise DivergedError(
                f"the held-out error is {scores['held_out']} after step {done}",
                "lower the learning rate (--set optim.blr), raise --set optim.warmup or set optim.clip_grad=1, and start "
                "over",
            )
        panels = self.validation.panels(model)
        if self.accelerator.is_main_process:
            recipe, summary = self.job.recipe, ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
            self.output.sheet(done, panels, f"{recipe.objective}, recipe {recipe.name}, step {done}: {summary}")
            log(f"step {done} of {self.job.plan.steps}: {summary}")
        return scores

    def model(self) -> Objective:
        """The model that is validated: the running average where there is one."""
        if self.average is None:
            return self.job.objective
        assert isinstance(self.average.module, Objective)
        return self.average.module

    def unsharded_model(self) -> Objective:
        """The model that is written. With sharded weights all processes must call this; the first one gets the weights."""
        if self._unsharded is None:
            return self.model()
        state = self.stepper.state()["network"]
        if self.accelerator.is_main_process:
            self._unsharded.load_state_dict(state)
        return self._unsharded

    def _write(self, write: Callable[[Objective], None]) -> None:
        model = self.unsharded_model()
        if self.accelerator.is_main_process:
            write(model)


def _shard(job: PretrainJob, accelerator: Accelerator) -> Objective:
    """Shards the objective; returns an unsharded copy on the CPU.

    Raises:
        UsageError: torchrun has started no group of processes.
    """
    if not torch.distributed.is_initialized():
        raise UsageError(
            "train.shard=true splits weights over processes of torchrun", "start with torchrun, or leave it out"
        )
    unsharded = copy.deepcopy(job.objective)
    shard(job.objective, _blocks(job.objective), ["reconstruct"], accelerator)
    return unsharded


def _blocks(objective: Objective) -> list[nn.Module]:
    """The transformer blocks of backbone and decoders."""
    return [module for module in objective.modules() if isinstance(module, Block | CrossBlock)]


def _compilation(job: PretrainJob, accelerator: Accelerator) -> Compilation | None:
    """Compiles each block, those of decoders too, or the whole objective with its loss."""
    extent, objective = job.recipe.train.compile, job.objective
    if extent == "off":
        return None
    return Compilation(parts_of(objective, _blocks(objective), objective.backbone.name, extent), accelerator.device)


def _stepper(job: PretrainJob, accelerator: Accelerator, compilation: Compilation | None) -> Stepper:
    train, optim, plan = job.recipe.train, job.recipe.optim, job.plan
    optimizer = _adamw(job.objective, job.recipe)
    length = train.schedule or train.epochs or train.steps or 0
    schedule = Schedule(
        optimizer, min_lr=optim.min_lr, steps=length * plan.unit, warmup=optim.warmup * plan.unit, unit=plan.unit
    )
    return Stepper(
        job.objective,
        optimizer,
        schedule,
        _loss,
        accelerator,
        accumulate=plan.accumulate,
        clip_grad=optim.clip_grad,
        seed=job.seed,
        sharded=train.shard,
        compilation=compilation,
    )


def _loss(wrapped: nn.Module, batch: Batch) -> Tensor:
    loss: Tensor = wrapped(batch)
    return loss


def _adamw(objective: Objective, recipe: PretrainRecipe) -> torch.optim.Optimizer:
    """AdamW over two groups: the decayed parameters, then the others."""
    trained = [(name, parameter) for name, parameter in objective.named_parameters() if parameter.requires_grad]
    decayed = [parameter for name, parameter in trained if is_decayed(name, parameter)]
    others = [parameter for name, parameter in trained if not is_decayed(name, parameter)]
    groups = [{"params": decayed, "weight_decay": recipe.optim.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.optim.betas, fused=True)


def _average(objective: Objective, decay: float) -> AveragedModel | None:
    if not decay:
        return None
    return AveragedModel(objective, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
