"""Columns: the headline metric of each task, in the order of the tasks' names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, cast

from croco_bench import registry
from croco_bench.metrics import Metric, better_of, definitions
from croco_bench.records.schema import Result
from croco_bench.records.store import ResultFile
from croco_bench.tables.groups import MEAN_RANK, Group, groups
from croco_bench.tables.published import Source

Unit = Literal["", "%", "m", "px", "deg"]
# Digits by unit, for metrics that no installed task defines.
_DIGITS = {"%": 1, "px": 2, "deg": 2, "m": 3, "": 4}


@dataclass(frozen=True)
class Column:
    """One metric of a task, or of a group of tasks their mean rank.

    A column of a table as its source prints it has the source's title, and values times `scale`, in `shown_unit`.
    """

    task: str
    metric: Metric
    scale: float = 1.0
    shown_unit: str | None = None

    @property
    def key(self) -> str:
        """`<task>/<metric>`, as published numbers have it."""
        return f"{self.task}/{self.metric.name}"

    @property
    def title(self) -> str:
        """With the arrow that says which way is better."""
        return f"{self.above} {self.measure}".strip()

    @property
    def above(self) -> str:
        """The first line of a title in two lines: the task, if the second doesn't name it."""
        return self.task if self.shown_unit is None else ""

    @property
    def measure(self) -> str:
        """The title without the task."""
        own = self.metric.unit if self.shown_unit is None else self.shown_unit
        unit = f" ({own})" if own else ""
        return f"{self.metric.label}{unit} {self.metric.arrow}".rstrip()

    def value(self, result: Result) -> float | None:
        """This column's number in a result; None where the result is of another task or lacks it."""
        metric = result.metrics.get(self.metric.name) if result.task.name == self.task else None
        return metric.value if metric else None


def installed_columns() -> list[Column]:
    """Headline metrics of all installed tasks; of a group of tasks the mean rank."""
    single = [
        Column(entry.name, metric)
        for entry in registry.tasks()
        if not entry.card.group
        for metric in entry.card.headline
    ]
    return sorted([*single, *(Column(group.name, MEAN_RANK) for group in groups())], key=lambda column: column.task)


def columns_of(group: Group) -> list[Column]:
    """A column for each task of a group."""
    return [Column(task, metric) for task, metric in zip(group.tasks, group.metrics, strict=True)]


def columns_for(found: Iterable[ResultFile], known: Sequence[Column]) -> list[Column]:
    """Those of `known` that some result belongs to, and one for each task that isn't installed here."""
    results = {file.result.task.name: file.result for file in found}
    installed = {entry.name for entry in registry.tasks()}
    own = [column for column in known if results.keys() & _members(column.task)]
    strange = [_column_of(result) for name, result in results.items() if name not in installed]
    return sorted([*own, *strange], key=lambda column: column.task)


def column_of_key(key: str, listed: Sequence[Source]) -> Column | None:
    """The column of a published number: a metric of an installed task, or one that a source defines itself."""
    task, _, name = key.partition("/")
    for group in groups():
        if key == f"{group.name}/{MEAN_RANK.name}":
            return Column(task, MEAN_RANK)
    for entry in registry.tasks():
        if entry.name == task and (metric := metric_named(entry.card, name)):
            return Column(task, metric)
    own = next((column for source in listed for column in source.column if column.key == key), None)
    if own is None:
        return None
    unit = cast(Unit, own.unit)
    return Column(task, Metric(name, own.label, unit, own.better, "image", own.digits, ""))


def metric_named(card: registry.TaskCard, name: str) -> Metric | None:
    """A headline metric of a task; or one that we know, under the prefix of a protocol (`eigen/rmse`)."""
    for metric in card.headline:
        if metric.name == name:
            return metric
    prefix, _, last = name.rpartition("/")
    known = known_metrics().get(last)
    return replace(known, name=name, label=f"{prefix} {known.label}".strip()) if known else None


@cache
def known_metrics() -> dict[str, Metric]:
    """Every metric that this package defines, by name."""
    found = vars(definitions).values()
    several = [one for value in found if isinstance(value, tuple) for one in value]
    return {metric.name: metric for metric in (*found, *several) if isinstance(metric, Metric)}


def _members(name: str) -> set[str]:
    return {entry.name for entry in registry.tasks() if name in (entry.name, entry.card.group)}


def _column_of(result: Result) -> Column:
    """The first metric of a result, the headline one; the file knows its unit and direction."""
    name = next(iter(result.metrics))
    value = result.metrics[name]
    better = better_of(value.higher_is_better)
    unit = cast(Unit, value.unit)  # a metric of another distribution may have another
    return Column(result.task.name, Metric(name, name, unit, better, "image", _DIGITS.get(unit, 4), ""))
