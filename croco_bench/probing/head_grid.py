"""Heads with several rates and weight decays, trained together on the same features of a frozen backbone."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from croco_bench.config.recipe import Recipe
from croco_bench.contracts import Features, Head
from croco_bench.engine.network import Network, Outputs
from croco_bench.engine.optim import is_decayed
from croco_bench.engine.train import FineTuneJob, Trainer, TrainResult
from croco_bench.errors import DivergedError
from croco_bench.probing.linear_probe import at_the_edge
from croco_bench.types import Batch


@dataclass(frozen=True)
class _NoOptions:
    """The copies have the options of their original."""


class HeadGrid(Head):
    """Copies of a head, of which that of `cell` predicts."""

    Options = _NoOptions

    def __init__(self, head: Head, count: int) -> None:
        nn.Module.__init__(self)
        self.copies = nn.ModuleList(deepcopy(head) for _ in range(count))
        self.hooks, self.cell = head.hooks, 0

    def copy_of(self, cell: int) -> Head:
        """The copy of a cell."""
        copy = self.copies[cell]
        assert isinstance(copy, Head)
        return copy

    def forward(self, features: Features) -> Tensor:
        """See `Head.forward`."""
        output: Tensor = self.copies[self.cell](features)
        return output

    def is_finite(self, cell: int) -> bool:
        """Whether all weights of a copy are finite numbers."""
        return all(bool(tensor.isfinite().all()) for tensor in self.copy_of(cell).state_dict().values())


class GridNetwork(Network):
    """A frozen backbone with a `HeadGrid`: in training all copies predict, in evaluation one."""

    def forward(self, *images: Tensor) -> Tensor | Outputs:
        """The decoded outputs of all copies with their loss weights; in evaluation the output of one copy."""
        features, grid = self.features(*images), self.head
        assert isinstance(grid, HeadGrid)
        if not self.training:
            return self.predictions(grid.copy_of(grid.cell), features)
        outputs: Outputs = []
        for cell in range(len(grid.copies)):
            found = self.predictions(grid.copy_of(cell), features)
            outputs += found if isinstance(found, list) else [(1.0, found)]
        return outputs


class GridTrainer(Trainer):
    """Trains a copy of the network's head for each rate and weight decay; the network takes over the best copy.

    A copy whose loss stops being finite is left behind; the others go on.
    """

    def __init__(self, job: FineTuneJob, accelerator: Accelerator) -> None:
        self.cells, self.reported = _cells(job.recipe), job.network
        network = job.network
        self.grid = HeadGrid(network.head, len(self.cells))
        grid_network = GridNetwork(
            network.backbone,
            self.grid,
            views=network.views,
            frozen=True,
            symmetric=network.symmetric,
            decode=network.decode,
        )
        super().__init__(replace(job, network=grid_network), accelerator)

    def groups(self, job: FineTuneJob) -> list[dict[str, Any]]:
        """Two groups per copy: with and without weight decay."""
        found = []
        scale = job.recipe.train.batch_size / 256 / job.recipe.optim.lr
        for cell, (rate, decay) in enumerate(self.cells):
            named = [item for item in self.grid.copy_of(cell).named_parameters() if item[1].requires_grad]
            for decayed in (False, True):
                chosen = [one for name, one in named if is_decayed(name, one) == decayed]
                group = {"params": chosen, "lr_scale": rate * scale, "weight_decay": decay if decayed else 0.0}
                found += [group] if chosen else []
        return found

    def loss_of(self, wrapped: nn.Module, batch: Batch) -> Tensor:
        """The sum of those losses that are finite; if none is, their sum."""
        losses = self.losses_of(wrapped, batch)
        finite = losses.isfinite()
        kept = torch.where(finite, losses, torch.zeros_like(losses)).sum()
        return torch.where(finite.any(), kept, losses.sum())

    def after_step(self, done: int, loss: float, rate: float) -> None:
        """See `TrainingLoop.after_step`; the loss is the mean over the copies."""
        super().after_step(done, loss / len(self.cells), rate)

    def status(self, loss: float) -> str:
        """See `TrainingLoop.status`; the loss is the mean over the copies."""
        return super().status(loss / len(self.cells))

    def select(self, done: int) -> None:
        """Scores all copies on the selection split; keeps the weights of the best if they are better than all before."""
        name, found = self.job.task.selection_metric, {}
        for cell in range(len(self.cells)):
            self.grid.cell = cell
            if self.grid.is_finite(cell):
                found[cell] = self.selection_scores().value_of(name)
        if not found:
            raise DivergedError("no copy of the head stayed finite", "give lower ones with --set grid.rates=[…]")
        cell = max(found, key=lambda one: self.sign * found[one])  # of equals the first
        if not self.best or self.sign * found[cell] > self.sign * self.best["value"]:
            self.best = {"step": done, "value": found[cell], "cell": cell, "weights": self._weights(cell)}
        if self.log:
            each = {f"select/{name}_{_words(self.cells[one])}": value for one, value in found.items()}
            self.log.add(done - 1, **{f"select/{name}": found[cell], **each})

    def _weights(self, cell: int) -> dict[str, Tensor]:
        """State dict of the reported network with the copy of a cell."""
        self.reported.head.load_state_dict(self.grid.copy_of(cell).state_dict())
        return {name: tensor.detach().cpu().clone() for name, tensor in self.reported.state_dict().items()}

    def run(self) -> TrainResult:
        """See `Trainer.run`; the reported network holds the chosen copy's weights of the last step."""
        result, cell = super().run(), int(self.best["cell"])
        rate, decay = self.cells[cell]
        self.reported.to(self.accelerator.device)
        self.reported.head.load_state_dict(self.grid.copy_of(cell).state_dict())
        rates, decays = ([pair[part] for pair in self.cells] for part in (0, 1))
        name = f"select_{result.metric}"
        return replace(
            result,
            chosen={"grid": {"rate": rate, "weight_decay": decay, name: result.value}},
            notes=(
                *result.notes,
                *at_the_edge("rate of the head", rate, rates),
                *at_the_edge("weight decay of the head", decay, decays),
            ),
        )


def _cells(recipe: Recipe) -> list[tuple[float, float]]:
    """Pairs of rate and weight decay."""
    assert recipe.grid is not None
    return list(product(recipe.grid.rates, recipe.grid.weight_decays))


def _words(cell: tuple[float, float]) -> str:
    return f"{cell[0]:g}_{cell[1]:g}"
