"""Names of tasks and heads -> what implements them, without importing it.

A distribution announces its rooms by entry points: group `croco_bench.tasks` points at a dict of name -> `TaskCard`,
group `croco_bench.heads` at a dict of name -> `HeadCard`. The built-in ones arrive the same way. No torch here.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from croco_bench.errors import BenchError, UsageError, unknown
from croco_bench.metrics import Metric


@dataclass(frozen=True)
class TaskCard:
    """A task as the catalogue shows it. `target` is "module:Class"; `headline` are the table's columns for this task.

    A headline metric's name is its key in the result (`delta1`, `clean/epe`). `dataset` is the folder under the data
    root. A task whose numbers change gets a new `version`. `showcase`: `croco-bench demo` runs it unasked.
    Tasks of one `group` share their recipes, a name to run them all by, and a column: the mean rank over them.
    `recipes` is "package:folder", where the TOML files lie; by default `recipes/<group or name>` beside the target's module.
    `reduction` is "module:function", free of torch, for a task whose metrics aren't means of per-image values: the function
    makes them from rows, as its meter's `reduce` does, so that results can be compared without the task.
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


@dataclass(frozen=True)
class HeadCard:
    """A head as the catalogue shows it. `target` is "module:Class"."""

    target: str
    summary: str


Card = TypeVar("Card", TaskCard, HeadCard)


@dataclass(frozen=True)
class Entry(Generic[Card]):
    """One registered name: its card and the distribution that announced it."""

    name: str
    card: Card
    distribution: str

    def load(self) -> Any:
        """Imports the target."""
        return _load(self.card.target)

    def load_reduction(self) -> Any:
        """Imports the function that makes a task's metrics from rows; None if they are means of per-image values."""
        return _load(self.card.reduction) if isinstance(self.card, TaskCard) and self.card.reduction else None


def _load(target: str) -> Any:
    """ "module:name" -> the object."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


class Registry(Generic[Card]):
    """Names of one kind. Clashes raise; unknown names get suggestions."""

    def __init__(self, kind: str, points: Iterable[EntryPoint]) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[Card]] = {}
        for point in points:
            self._announce(point)

    def _announce(self, point: EntryPoint) -> None:
        distribution = point.dist.name if point.dist else "unknown distribution"
        try:
            catalogue: Mapping[str, Card] = point.load()
        except Exception as error:
            raise BenchError(
                f"the {self.kind}s announced by {distribution} ({point.value}) can't be imported: {error}",
                f"repair or uninstall {distribution}",
            ) from error
        for name, card in catalogue.items():
            if name in self._entries:
                raise BenchError(
                    f"{self.kind} {name!r} is announced by both {self._entries[name].distribution} and {distribution}",
                    "rename one or uninstall one",
                )
            self._entries[name] = Entry(name, card, distribution)

    def __getitem__(self, name: str) -> Entry[Card]:
        if name not in self._entries:
            raise self._absent(name)
        return self._entries[name]

    def _absent(self, name: str) -> UsageError:
        shared = [entry.name for entry in self if isinstance(entry.card, TaskCard) and entry.card.group == name]
        if shared:
            return UsageError(f"{name!r} is a group of {len(shared)} tasks", f"name one: {', '.join(shared)}")
        return unknown(self.kind, name, self._entries)

    def __iter__(self) -> Any:
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def __len__(self) -> int:
        return len(self._entries)


@cache
def tasks() -> Registry[TaskCard]:
    """All installed tasks."""
    return Registry[TaskCard]("task", entry_points(group="croco_bench.tasks"))


def members(name: str) -> list[str]:
    """The tasks that a name stands for: itself, or all of a group.

    Raises:
        UsageError: no task and no group is called so.
    """
    groups = {entry.name: entry.card.group for entry in tasks()}
    found = [task for task, group in groups.items() if name in (task, group)]
    if not found:
        raise unknown("task", name, {*groups, *groups.values()} - {""})
    return found


@cache
def heads() -> Registry[HeadCard]:
    """All installed heads."""
    return Registry[HeadCard]("head", entry_points(group="croco_bench.heads"))
