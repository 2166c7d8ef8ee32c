"""Probes on kept tokens: heads of several rates and blocks are trained together; the selection split chooses among them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from croco_bench.contracts import Evaluation, Head
from croco_bench.engine.loop import Clock
from croco_bench.engine.network import Network
from croco_bench.engine.optim import Schedule, build_optimizer, head_groups, require_warmup
from croco_bench.engine.signals import StopRequest, stop_request
from croco_bench.engine.step import State, StepLoss, load_state, save_state
from croco_bench.engine.train import FineTuneJob, TrainResult, weighted_losses
from croco_bench.engine.training_log import RunLog
from croco_bench.errors import DivergedError, Stopped
from croco_bench.metrics import Metric
from croco_bench.probing.feature_cache import CachedTokens, FeatureCache
from croco_bench.probing.linear_probe import at_the_edge
from croco_bench.probing.token_batches import TokenBatches, rows_of_step, score_on_tokens
from croco_bench.progress import Bar, log
from croco_bench.seeding import derive


@dataclass
class Candidate:
    """A head, its highest rate, and its best step so far.

    Attributes:
        head: trained in place.
        rate: highest learning rate.
        value: of the selection metric at the best step; None before the first score, and of a head that never gave one.
        step: the best step.
        weights: of the head at that step.
        alive: no loss or prediction has been infinite or NaN.
    """

    head: Head
    rate: float
    value: float | None = None
    step: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    alive: bool = True

    @property
    def blocks(self) -> list[int] | None:
        """The blocks that the head reads; None: all."""
        return None if self.head.hooks is None else list(self.head.hooks)

    def keep(self, value: float, step: int) -> None:
        """Makes `step` the best one."""
        self.value, self.step = value, step
        self.weights = {name: tensor.detach().cpu().clone() for name, tensor in self.head.state_dict().items()}


def probe_tokens(job: FineTuneJob, cache: FeatureCache, accelerator: Accelerator) -> TrainResult:
    """Extracts tokens of both training splits, trains all candidates, and gives the best one to `job.network`.

    Every process trains the same heads; the choice of the first one counts.

    Raises:
        DivergedError: no rate gave a head of finite predictions.
        UsageError: the warm-up is too long; nothing was extracted.
    """
    settings, clock = job.recipe.token_probe, Clock()
    assert settings is not None
    require_warmup(job.plan.steps, job.recipe.optim.warmup * job.plan.unit, job.plan.unit)
    heads = job.network.head.candidates()
    select = job.task.single_pass(job.splits.select)
    tokens = _extract(job, cache, select, heads, accelerator)
    device = accelerator.device
    candidates = [Candidate(deepcopy(head).to(device), rate) for head in heads for rate in settings.rates]
    trainer = TokenProbeTrainer(job, candidates, select, tokens, accelerator)
    trainer.run()
    best = trainer.choose()
    job.network.head = best.head
    clock.read()
    rates = [one.rate for one in candidates]
    return TrainResult(
        plan=job.plan,
        step=best.step,
        metric=job.task.selection_metric,
        value=best.value or 0.0,
        weights=_weights(job.network, best),
        seconds=clock.seconds,
        images_per_s=len(tokens[0]) / tokens[0].seconds if tokens[0].seconds else 0.0,
        chosen=_described(best, candidates, trainer.metric),
        notes=tuple(at_the_edge("rate of the probe on tokens", best.rate, rates)),
    )


def _extract(
    job: FineTuneJob, cache: FeatureCache, select: Evaluation, heads: Sequence[Head], accelerator: Accelerator
) -> tuple[CachedTokens, CachedTokens]:
    """Tokens of the training and the selection split, of all blocks that some head reads."""
    count = len(job.network.backbone.feature_spec().widths)
    blocks = sorted({block for head in heads for block in (range(count) if head.hooks is None else head.hooks)})
    train = replace(select, reader=job.splits.train)
    with Bar("extract", len(train.reader) + len(select.reader), shown=accelerator.is_main_process) as bar:
        counting = replace(cache, advance=bar.advance)
        return counting.tokens(train, blocks), counting.tokens(select, blocks)


def _weights(network: Network, best: Candidate) -> dict[str, Tensor]:
    """State dict of the network with the chosen head at its best step."""
    state = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
    return {**state, **{f"head.{name}": tensor for name, tensor in best.weights.items()}}


def _described(best: Candidate, candidates: Sequence[Candidate], metric: Metric) -> dict[str, Any]:
    """What was chosen among what, for the result; blocks are counted from 0."""
    told = {"metric": metric.name, "higher_is_better": metric.higher_is_better}

    def facts(one: Candidate) -> dict[str, Any]:
        return {"rate": one.rate, "layers": one.blocks, f"select_{metric.name}": one.value, "step": one.step}

    return {"tokens": {**facts(best), **told, "tried": [facts(one) for one in candidates]}}


class TokenProbeTrainer:
    """Trains candidates on the same batches, each as if it were alone, and scores them on the selection split."""

    def __init__(
        self,
        job: FineTuneJob,
        candidates: Sequence[Candidate],
        select: Evaluation,
        tokens: tuple[CachedTokens, CachedTokens],
        accelerator: Accelerator,
    ) -> None:
        optim, plan = job.recipe.optim, job.plan
        self.job, self.candidates, self.accelerator, self._selection = job, list(candidates), accelerator, select
        self._train, self._select = (TokenBatches(part, job.network, accelerator.device) for part in tokens)
        groups = head_groups([(one.head, one.rate) for one in candidates], optim)
        self._optimizer = build_optimizer(job.network, optim, groups)
        self._schedule = Schedule(
            self._optimizer, min_lr=optim.min_lr, steps=plan.steps, warmup=optim.warmup * plan.unit, unit=plan.unit
        )
        self.metric = next(one for one in select.meter.metrics if one.name == job.task.selection_metric)
        self._sign = 1.0 if self.metric.higher_is_better else -1.0
        self._clock = Clock()
        self._late = accelerator.device.type == "cuda"
        self._losses: deque[tuple[Candidate, StepLoss]] = deque()

    def run(self) -> None:
        """Trains to the end, from the saved state if there is one.

        Raises:
            Stopped: a signal came; the state is saved.
        """
        plan, main = self.job.plan, self.accelerator.is_main_process
        start = self._resume()
        self._log = (
            RunLog(
                self.job.folder,
                start=start,
                tracker=self.job.recipe.train.tracker,
                settings=self.job.recipe.model_dump(mode="json"),
            )
            if main
            else None
        )
        with stop_request() as stop, Bar("train", plan.steps, start=start, shown=main) as bar:
            for step in range(start, plan.steps):
                self._step(step)
                done = step + 1
                if done % (self.job.recipe.train.select_every * plan.unit) == 0 or done == plan.steps:
                    self._score(done)
                bar.advance(1, self._status())
                self._save_if_due(done, stop)
        if self._log:
            self._log.close()

    def choose(self) -> Candidate:
        """The best candidate; of equals the first.

        Raises:
            DivergedError: none has a finite score.
        """
        scored = [(i, one.value) for i, one in enumerate(self.candidates) if one.value is not None]
        found = max(scored, key=lambda pair: self._sign * pair[1])[0] if scored else None
        index: int | None = broadcast_object_list([found])[0]
        if index is None:
            rates = ", ".join(f"{rate:g}" for rate in dict.fromkeys(one.rate for one in self.candidates))
            raise DivergedError(
                f"no head stayed finite with the rates {rates}", "give lower ones with --set token_probe.rates=[…]"
            )
        return self.candidates[index]

    def _step(self, step: int) -> None:
        """One optimiser step of every candidate on one batch."""
        job = self.job
        rate = self._schedule.set(step)
        batch, features = self._train.batch(rows_of_step(job.plan, len(self._train), job.recipe.train, job.seed, step))
        for one in self.candidates:
            if not one.alive:
                continue
            # As in a training of this head alone, so that dropout is the same.
            torch.manual_seed(derive(job.seed, "step", step, 0, 0))
            loss = weighted_losses(job.task, job.network.predictions(one.head.train(), features), batch).sum()
            self._losses.append((one, StepLoss(loss, done=step + 1, rate=rate)))
            if not self._late:
                self._look(step + 1)
                if not one.alive:
                    continue
            loss.backward()  # type: ignore[no-untyped-call]
            if job.recipe.optim.clip_grad:
                torch.nn.utils.clip_grad_norm_(one.head.parameters(), job.recipe.optim.clip_grad)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._look(step)

    def _look(self, done: int) -> None:
        """Leaves candidates behind that had a loss that isn't finite in the first `done` steps.

        A GPU is asked after the next step is queued; until then such a candidate goes on, with weights that nobody reads.
        """
        while self._losses and self._losses[0][1].done <= done:
            one, loss = self._losses.popleft()
            one.alive &= loss.is_finite

    def _score(self, done: int) -> None:
        """Scores all candidates after `done` steps and keeps the weights of those that are better than before."""
        self._look(done)
        living = [one for one in self.candidates if one.alive]
        heads = [one.head.eval() for one in living]
        values = score_on_tokens(self._selection, self._select, heads, self.metric.name)
        for one, value in zip(living, values, strict=True):
            if value is None:
                one.alive = False
            elif one.value is None or self._sign * value > self._sign * one.value:
                one.keep(value, done)
        finite = [value for value in values if value is not None]
        if self._log and finite:
            best = max(finite, key=lambda value: self._sign * value)
            self._log.add(done - 1, **{f"select/{self.metric.name}": best})

    def _status(self) -> str:
        values = [one.value for one in self.candidates if one.value is not None]
        best = max(values, key=lambda value: self._sign * value, default=None)
        return "" if best is None else f"best {self.metric.name} {best:.3f}"

    def _save_if_due(self, done: int, stop: StopRequest) -> None:
        """Saves when it is time to; every process reads the file after a restart."""
        main = self.accelerator.is_main_process
        (asked,) = broadcast_object_list([stop.signal if main else None])
        due = done == self.job.plan.steps or self._clock.since_save >= self.job.recipe.train.save_seconds
        if main and (asked or due):
            self._look(done)
            self._clock.saved()
            save_state(self.job.folder / "last.pt", self._state(done))
        if asked:
            if main:
                log(f"saved after step {done} of {self.job.plan.steps}")
            raise Stopped(asked)

    def _state(self, done: int) -> State:
        candidates = [
            {
                "head": one.head.state_dict(),
                "value": one.value,
                "step": one.step,
                "weights": one.weights,
                "alive": one.alive,
            }
            for one in self.candidates
        ]
        return {
            "key": self.job.key,
            "step": done,
            "candidates": candidates,
            "optimizer": self._optimizer.state_dict(),
        }

    def _resume(self) -> int:
        """The first step; restores the saved state, if there is one."""
        state = load_state(self.job.folder / "last.pt", self.job.key)
        if state is None:
            return 0
        self._optimizer.load_state_dict(state["optimizer"])
        for one, kept in zip(self.candidates, state["candidates"], strict=True):
            one.head.load_state_dict(kept["head"])
            one.value, one.step, one.weights, one.alive = (kept[key] for key in ("value", "step", "weights", "alive"))
        if self.accelerator.is_main_process:
            log(f"going on from step {state['step']} of {self.job.plan.steps}")
        return int(state["step"])
