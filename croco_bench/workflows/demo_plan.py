"""What `croco-bench demo` runs, and which packaged results it shows beside that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from croco_bench import registry
from croco_bench.backbones import zoo
from croco_bench.config.recipe import names_of
from croco_bench.data.miniatures.make import MINIATURES
from croco_bench.errors import UsageError
from croco_bench.records import packaged
from croco_bench.records.store import ResultFile, read_all
from croco_bench.sweeps.cells import Cell
from croco_bench.sweeps.plan import Plan

FINE_TUNED = "mini"
# Seconds of one core, on an x86 server of 2023; on another machine all are longer or shorter.
_FINE_TUNING_S = 50.0
_RENDERING_S = {"7scenes": 40.0, "ade20k": 14.0, "imagenet": 80.0, "nyuv2": 18.0}


@dataclass(frozen=True)
class Protocol:
    """A recipe and a task, which all backbones run; `seconds` of one run on one core."""

    recipe: str
    task: str
    seconds: float

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.task} ({self.recipe})"


# Frozen backbones: read out by a linear layer, by attention, by nearest neighbors among tokens, and without any training.
FROZEN = (
    Protocol("attentive-mini", "imagenet-linear", 65.0),
    Protocol("mini", "correspondence", 20.0),
    Protocol("linear-mini", "nyuv2-depth", 15.0),
    Protocol("knn-dense-mini", "ade20k-seg", 10.0),
)
QUICK = FROZEN[2:]


@dataclass(frozen=True)
class DemoPlan:
    """What a demo runs.

    Attributes:
        protocols: run by all backbones, in this order.
        seeds: runs of each.
        beside: whether packaged results stand beside them.
    """

    protocols: tuple[Protocol, ...]
    seeds: int = 1
    beside: bool = True

    @property
    def backbones(self) -> dict[str, str]:
        """Name in the results -> checkpoint."""
        return {"random": "random:mini-croco", **{name: name for name in zoo.packaged()}}

    @property
    def sweep(self) -> Plan:
        """All runs: first those that take longest, so that no core waits for one of them in the end."""
        runs = product(range(self.seeds), self.protocols, self.backbones.items())
        cells = [Cell(one.task, one.recipe, name, ckpt, seed) for seed, one, (name, ckpt) in runs]
        return Plan(tuple(cells), expected_s={(one.recipe, one.task): one.seconds for one in self.protocols})

    @property
    def rendering_s(self) -> dict[str, float]:
        """Miniature that the runs read -> seconds of one core that it takes to render."""
        datasets = {registry.tasks()[one.task].card.dataset for one in self.protocols} & MINIATURES.keys()
        return {name: _RENDERING_S.get(name, 60.0) for name in sorted(datasets)}

    def packaged(self, there: Iterable[ResultFile] = ()) -> list[ResultFile]:
        """Packaged results of recipes and tasks that aren't run here, and of which no result is `there`."""
        if not self.beside:
            return []
        fresh = {(one.recipe, one.task) for one in self.protocols}
        fresh |= {(file.result.recipe.name, file.result.task.name) for file in there}
        found = read_all([packaged.folder()], FINE_TUNED)[0]
        return [file for file in found if (file.result.recipe.name, file.result.task.name) not in fresh]


def demo_plan(tasks: Sequence[str] = (), *, seeds: int = 1, quick: bool = False) -> DemoPlan:
    """The whole comparison; with `quick` a part of it; with `tasks` these alone, fine-tuned.

    Raises:
        UsageError: a task is unknown or has no recipe for the miniature, or `quick` is given with tasks.
    """
    if tasks and quick:
        raise UsageError("--quick chooses its tasks itself", "leave out --quick or --task")
    if tasks:
        return DemoPlan(_fine_tuned(tasks), seeds, beside=False)
    if quick:
        return DemoPlan(QUICK, seeds)
    showcase = [entry.name for entry in registry.tasks() if entry.card.showcase]
    return DemoPlan((*_fine_tuned(showcase), *FROZEN), seeds)


def _fine_tuned(tasks: Iterable[str]) -> tuple[Protocol, ...]:
    names = [registry.tasks()[name].name for name in tasks]
    if missing := [name for name in names if FINE_TUNED not in names_of(name)]:
        raise UsageError(f"{', '.join(missing)} has no recipe {FINE_TUNED}", "leave it out")
    return tuple(Protocol(FINE_TUNED, name, _FINE_TUNING_S) for name in names)
