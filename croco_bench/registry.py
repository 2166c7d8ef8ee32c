"""Tasks and heads by name, without importing their implementations. Imports no torch.

A distribution registers its tasks and heads by entry points: the group `croco_bench.tasks` names a dict of name ->
`TaskCard`, the group `croco_bench.heads` a dict of name -> `HeadCard`. The built-in ones are registered the same way.
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


@dataclass(frozen=True)
class HeadCard:
    """Catalogue entry of a head; `target` is "module:Class"."""

    target: str
    summary: str


Card = TypeVar("Card", TaskCard, HeadCard)


@dataclass(frozen=True)
class Entry(Generic[Card]):
    """A registered name, its card, and the distribution that registered it."""

    name: str
    card: Card
    distribution: str

    def load(self) -> Any:
        """Imports the target and returns it."""
        return _load(self.card.target)

    def load_reduction(self) -> Any:
        """Imports the `reduction` of a task that has one."""
        assert isinstance(self.card, TaskCard) and self.card.reduction, "metrics are means over images"
        return _load(self.card.reduction)


def _load(target: str) -> Any:
    """ "module:name" -> the object."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


class Registry(Generic[Card]):
    """All tasks or all heads by name. Two entries with one name are an error; unknown names get suggestions."""

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
    return Registry[HeadCard]("head", entry_points(group="croco_bench.heads"))
