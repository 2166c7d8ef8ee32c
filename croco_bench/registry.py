"""Tasks, heads and backbones of code by name, without importing their implementations. Imports no torch.

A distribution announces what it adds by entry points, each of which names a dict of name -> card: the group
`croco_bench.tasks` of `TaskCard`, `croco_bench.heads` of `HeadCard`, `croco_bench.backbones` of `BackboneCard`. The built-in
tasks and heads are announced the same way. `croco_bench.objectives` has `ObjectiveCard`s. Datasets and miniatures have groups,
too, which `announced` reads for the folders that they belong to.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from croco_bench.errors import BenchError, UsageError, unknown
from croco_bench.metrics import Metric
from croco_bench.progress import log


@dataclass(frozen=True)
class TaskCard:
    """Catalogue entry of a task.

    Attributes:
        target: "module:Class".
        summary: one line for `croco-bench tasks`.
        dataset: folder below the data root.
        headline: metrics with a column in the table; their names are keys of the result (`delta1`, `clean/epe`).
        version: to be incremented when the task's numbers change.
        showcase: whether `croco-bench demo` runs it by default.
        group: tasks of one group share recipes, a name that runs all of them, and a column: their mean rank.
        recipes: "package:folder" of the TOML files; default: `recipes/<group or name>` next to the target's module.
        reduction: "module:function" for a task whose metrics aren't means of per-image values. The function computes them
            from rows, like `reduce` of the task's meter, without torch, so that results can be compared without the task.
        training_free: nothing is trained: the target is a `TrainingFreeTask`, and recipes have no head and no optimiser.
        pooled: the reduction needs the sums of rows over images only (EPE, mIoU), so that leaving images out is fast.
    """

    target: str
    summary: str
    dataset: str
    headline: tuple[Metric, ...]
    version: int = 1
    showcase: bool = False
    group: str = ""
    recipes: str = ""
    reduction: str = ""
    pooled: bool = False
    training_free: bool = False


@dataclass(frozen=True)
class HeadCard:
    """Catalogue entry of a head; `target` is "module:Class"."""

    target: str
    summary: str


@dataclass(frozen=True)
class BackboneCard:
    """Catalogue entry of a backbone whose code another distribution brings.

    Attributes:
        target: "module:name" of a `Backbone` class or a function that returns one. It is called with `image_size=(H, W)`, or
            without arguments if it takes none of this name.
        summary: one line for `croco-bench models`.
        license: of the weights.
        training_data: the datasets that the weights were trained on; None: unknown.
    """

    target: str
    summary: str
    license: str = "unknown"
    training_data: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ObjectiveCard:
    """Catalogue entry of an objective of pre-training that another distribution brings.

    Attributes:
        target: "module:Class" of a `croco_bench.pretraining.objective.Objective`, built from a backbone, a plan of a decoder and
            the options in the recipe's table `own`.
        summary: one line.
        family: of the backbone that it trains, which decides tokens, positions and the format of the file.
    """

    target: str
    summary: str
    family: Literal["croco", "mae", "multimae"] = "mae"


Card = TypeVar("Card", TaskCard, HeadCard, BackboneCard, ObjectiveCard)


@dataclass(frozen=True)
class Entry(Generic[Card]):
    """A registered name, its card, and the distribution that registered it."""

    name: str
    card: Card
    distribution: str

    def load(self) -> Any:
        """Imports the target and returns it."""
        return load_object(self.card.target)

    def load_reduction(self) -> Any:
        """Imports the `reduction` of a task that has one."""
        assert isinstance(self.card, TaskCard) and self.card.reduction, "metrics are means over images"
        return load_object(self.card.reduction)


def load_object(target: str) -> Any:
    """ "module:name" -> the object.

    Raises:
        UsageError: the module can't be imported, or has no such name.
    """
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # foreign code may fail in any way
        raise UsageError(f"{target} can't be imported: {type(error).__name__}: {error}") from error


def announced(
    kind: str, *, group: str = "", points: Iterable[EntryPoint] | None = None, taken: Iterable[str] = ()
) -> Iterator[tuple[str, str, Any]]:
    """(name, distribution, object) of everything that installed distributions announce in a group of entry points.

    What can't be imported is reported on stderr and left out.

    Args:
        kind: what the objects are, for messages.
        group: of entry points; each names a mapping of name -> object.
        points: the entry points; default: the installed ones.
        taken: names that this project has itself.

    Raises:
        BenchError: two distributions announce the same name, or one announces a name that is taken.
    """
    owners = dict.fromkeys(taken, "croco-bench")
    for point in entry_points(group=group) if points is None else points:
        distribution = point.dist.name if point.dist else "unknown distribution"
        try:
            items = dict(point.load())
        except Exception as error:  # foreign code may fail in any way
            log(f"the {kind}s of {distribution} ({point.value}) are left out, as they can't be imported: {error}")
            continue
        for name, item in items.items():
            if name in owners:
                raise BenchError(
                    f"{kind} {name!r} is announced by both {owners[name]} and {distribution}",
                    "rename one or uninstall one",
                )
            owners[name] = distribution
            yield name, distribution, item


class Registry(Generic[Card]):
    """All tasks, heads or backbones by name. Two with one name are an error; unknown names get suggestions."""

    def __init__(self, kind: str, points: Iterable[EntryPoint]) -> None:
        self.kind = kind
        found = announced(kind, points=points)
        self._entries: dict[str, Entry[Card]] = {name: Entry(name, card, origin) for name, origin, card in found}

    def __getitem__(self, name: str) -> Entry[Card]:
        if name not in self._entries:
            raise self._absent(name)
        return self._entries[name]

    def _absent(self, name: str) -> UsageError:
        shared = [entry.name for entry in self if isinstance(entry.card, TaskCard) and entry.card.group == name]
        if shared:
            return UsageError(f"{name!r} is a group of {len(shared)} tasks", f"name one: {', '.join(shared)}")
        return unknown(self.kind, name, self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[Entry[Card]]:
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def __len__(self) -> int:
        return len(self._entries)


def _points(kind: str) -> EntryPoints:
    """Entry points of tasks or heads.

    Raises:
        BenchError: there are none, not even this project's own, which its installation announces.
    """
    points = entry_points(group=f"croco_bench.{kind}")
    if not points:
        source = Path(__file__).parents[1]
        raise BenchError(
            f"croco-bench isn't installed in this Python ({sys.executable}), so that it knows none of its {kind}",
            f"install it: pip install -e {source}" if (source / "pyproject.toml").is_file() else "install it with pip",
        )
    return points


@cache
def tasks() -> Registry[TaskCard]:
    """All installed tasks."""
    return Registry[TaskCard]("task", _points("tasks"))


def members(name: str) -> list[str]:
    """The tasks of a name: one task, or all of a group.

    Raises:
        UsageError: no task and no group has this name.
    """
    groups = {entry.name: entry.card.group for entry in tasks()}
    selected = [task for task, group in groups.items() if name in (task, group)]
    if not selected:
        raise unknown("task", name, {*groups, *groups.values()} - {""})
    return selected


@cache
def heads() -> Registry[HeadCard]:
    """All installed heads."""
    return Registry[HeadCard]("head", _points("heads"))


@cache
def backbones() -> Registry[BackboneCard]:
    """All backbones whose code an installed distribution brings."""
    return Registry[BackboneCard]("backbone", entry_points(group="croco_bench.backbones"))


@cache
def objectives() -> Registry[ObjectiveCard]:
    """All objectives of pre-training that another distribution brings."""
    return Registry[ObjectiveCard]("objective", entry_points(group="croco_bench.objectives"))
