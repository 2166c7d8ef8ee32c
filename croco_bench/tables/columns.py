"""Columns: the headline metric of each task, or chosen metrics, in the order of the tasks' names or of the choice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, cast

from croco_bench import registry
from croco_bench.metrics import Metric, better_of, definitions
from croco_bench.records.schema import Result
from croco_bench.records.selection import Selection, metric_keys, position
from croco_bench.records.store import ResultFile
from croco_bench.tables.groups import MEAN_RANK, Group, groups
from croco_bench.tables.published import Source

Unit = Literal["", "%", "m", "px", "deg"]
# Digits by unit, for metrics that no installed task defines.
_DIGITS = {"%": 1, "px": 2, "deg": 2, "m": 3, "": 4}


@dataclass(frozen=True)
class Column:
    """One metric of a task, or of a group of tasks their mean rank.

    Attributes:
        task: or group of tasks.
        metric: of the values.
        scale: in a table as its source prints it, what values are multiplied with.
        shown_unit: in such a table, the unit of these.
        part: the scene or class that values are of; it is the title then.
    """

    task: str
    metric: Metric
    scale: float = 1.0
    shown_unit: str | None = None
    part: str = ""

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
        return self.task if self.shown_unit is None and not self.part else ""

    @property
    def measure(self) -> str:
        """The title without the task."""
        if self.part:
            return self.part
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
    """Those of `known` that some result belongs to, and the first metric of each task that isn't installed here."""
    results = {file.result.task.name: file.result for file in found}
    installed = {entry.name for entry in registry.tasks()}
    own = [column for column in known if results.keys() & _members(column.task)]
    strange = [
        column_of_metric(result, next(iter(result.metrics)))
        for name, result in results.items()
        if name not in installed
    ]
    return sorted([*own, *strange], key=lambda column: column.task)


def chosen_columns(found: Sequence[ResultFile], selection: Selection) -> tuple[list[Column], dict[Group, list[Column]]]:
    """Columns of the main table, and of a table for each group of tasks, in the order of the selection.

    Without chosen metrics, those are headline metrics and mean ranks, and the headline metrics behind these.
    """
    tasks = dict.fromkeys(file.result.task.name for file in found)
    ran = [group for group in groups() if tasks.keys() & set(group.tasks)]
    main = columns_for(found, installed_columns())
    behind = {group: columns_of(group) for group in ran}
    if selection.metrics:
        own = [column for task in sorted(tasks) for column in _columns_of_task(task, found, selection.metrics)]
        behind = {group: [column for column in own if column.task in group.tasks] for group in ran}
        members = {task for group in ran for task in group.tasks}
        ranks = [column for column in main if column.metric == MEAN_RANK]
        main = [column for column in own if column.task not in members]
        main += [column for column in ranks if metric_keys([column.metric.name], selection.metrics)]
    kept = {group: arranged(columns, selection) for group, columns in behind.items()}
    return arranged(main, selection), {group: columns for group, columns in kept.items() if columns}


def arranged(columns: Iterable[Column], selection: Selection) -> list[Column]:
    """The columns of chosen tasks, in the order in which these were named."""
    group_of = {task: group.name for group in groups() for task in group.tasks}

    def order(column: Column) -> int:
        names = (column.task, group_of.get(column.task, column.task))
        return min(position(name, selection.tasks) for name in names)

    return sorted((column for column in columns if selection.has_task(column.task)), key=order)


def _columns_of_task(task: str, found: Iterable[ResultFile], globs: Sequence[str]) -> list[Column]:
    """A column for each metric of a task's results that a glob stands for."""
    results = [file.result for file in found if file.result.task.name == task]
    by_key = {key: result for result in reversed(results) for key in reversed(result.metrics)}
    keys = dict.fromkeys(key for result in results for key in result.metrics)
    return [column_of_metric(by_key[key], key) for key in metric_keys(keys, globs)]


def column_of_metric(result: Result, key: str) -> Column:
    """The column of a metric of a result; its unit and direction are those of the file."""
    card = next((entry.card for entry in registry.tasks() if entry.name == result.task.name), None)
    known = metric_named(card, key) if card else None
    value = result.metrics[key]
    unit = cast(Unit, value.unit)  # a metric of another distribution may have another
    better = better_of(value.higher_is_better)
    if known is not None and known.unit == value.unit and known.better in (better, "neither"):
        return Column(result.task.name, known)
    return Column(result.task.name, Metric(key, key, unit, better, "image", _DIGITS.get(unit, 4), ""))


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
    known = _of_family(last, {metric.name.rpartition("/")[2] for metric in card.headline}) or known_metrics().get(last)
    return replace(known, name=name, label=f"{prefix} {known.label}".strip()) if known else None


def _of_family(name: str, relatives: set[str]) -> Metric | None:
    """A metric that is defined beside one of its relatives: depth and disparity each have a `rmse`, in m and in px."""
    families = [value for value in vars(definitions).values() if isinstance(value, tuple)]
    near = [metric for family in families if relatives & {_name(one) for one in family} for metric in family]
    return next((metric for metric in near if _name(metric) == name), None)


def _name(value: object) -> str:
    return value.name if isinstance(value, Metric) else ""


@cache
def known_metrics() -> dict[str, Metric]:
    """Every metric that this package defines, by name."""
    found = vars(definitions).values()
    several = [one for value in found if isinstance(value, tuple) for one in value]
    return {metric.name: metric for metric in (*found, *several) if isinstance(metric, Metric)}


def _members(name: str) -> set[str]:
    return {entry.name for entry in registry.tasks() if name in (entry.name, entry.card.group)}
