"""Results and published numbers -> grids: what stands in which cell, and what a reader must be told."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from croco_bench import registry
from croco_bench.metrics import Metric
from croco_bench.records.schema import Result
from croco_bench.records.store import ResultPaths
from croco_bench.tables.groups import MEAN_RANK, Group, groups, mean_ranks
from croco_bench.tables.published import Source, disagreements, sources

Found = tuple[ResultPaths, Result]


@dataclass(frozen=True)
class Column:
    """The headline metric of a task."""

    task: str
    metric: Metric

    @property
    def key(self) -> str:
        """`<task>/<metric>`, as published numbers have it."""
        return f"{self.task}/{self.metric.name}"

    @property
    def title(self) -> str:
        """With the arrow that says which way is better."""
        return f"{self.task} {self.measure}"

    @property
    def measure(self) -> str:
        """The title without the task."""
        unit = f" ({self.metric.unit})" if self.metric.unit else ""
        return f"{self.metric.label}{unit} {'↑' if self.metric.higher_is_better else '↓'}"


@dataclass(frozen=True)
class Cell:
    """A mean over `n` seeds, or a mean rank of such means (`n` the fewest of them), which has no deviation.

    `place` is 1 or 2 for the best and second-best measured value of a column.
    """

    value: float
    deviation: float | None = None
    n: int = 1
    place: int | None = None
    dagger: bool = False


@dataclass(frozen=True)
class Row:
    """A backbone that was measured (`source` None), or a line of a publication (its number in the list of sources)."""

    name: str
    cells: dict[str, Cell]
    source: int | None = None
    found: tuple[Found, ...] = ()


@dataclass(frozen=True)
class Grid:
    """Results of one recipe on one kind of data (real or miniature), beside what was published."""

    title: str
    columns: tuple[Column, ...]
    measured: tuple[Row, ...]
    published: tuple[Row, ...]
    sources: tuple[Source, ...]
    notes: tuple[str, ...] = field(default=())


def _percent(name: str, label: str) -> Metric:
    return Metric(name, label, "%", "higher", "image", 1, "")


# Headline numbers of published rows for tasks that no installed distribution offers.
_ELSEWHERE = (
    Column("taskonomy", MEAN_RANK),
    Column("ade20k-seg", _percent("miou", "mIoU")),
    Column("imagenet-linear", _percent("top1", "top-1")),
)


def installed_columns() -> list[Column]:
    """Headline metrics of all installed tasks; of a group of tasks the mean rank."""
    single = [
        Column(entry.name, metric)
        for entry in registry.tasks()
        if not entry.card.group
        for metric in entry.card.headline
    ]
    return sorted([*single, *(Column(group.name, MEAN_RANK) for group in groups())], key=lambda column: column.task)


def build(found: Sequence[Found], *, published: bool, include_limited: bool) -> list[Grid]:
    """One grid per (recipe, real or miniature); a grid of published numbers alone if nothing was measured."""
    kept = [item for item in found if include_limited or not item[1].limited]
    by_recipe: dict[tuple[str, bool], list[Found]] = defaultdict(list)
    for item in kept:
        by_recipe[item[1].recipe.name, item[1].dataset.miniature].append(item)
    left_out = len(found) - len(kept)
    notes = (
        [f"{left_out} runs that saw only part of their data are left out (--limited shows them)"] if left_out else []
    )
    grids = []
    for (recipe, mini), items in sorted(by_recipe.items()):
        title = f"recipe {recipe}" + (", miniature of rendered rooms" if mini else "")
        grids += [_grid(title, items, published, mini, notes), *_group_grids(title, items, published, mini)]
    return grids or [_grid("no results yet", [], published, False, notes)]


def _grid(title: str, found: list[Found], published: bool, miniature: bool, notes: list[str]) -> Grid:
    known, ran = installed_columns(), {result.task.name for _, result in found}
    own = [column for column in known if ran & set(registry.members(column.task))]
    listed = sources() if published else ()
    claimed = {key for source in listed for row in source.row for key in row.values}
    names = {column.key for column in known}
    others = [*known, *(column for column in _ELSEWHERE if column.key not in names)]
    columns = [column for column in others if column in own or column.key in claimed]
    measured, warnings = _measured(found, own)
    measured, ranked = _with_ranks(measured, found)
    told = [*notes, *warnings, *ranked, *(disagreements() if listed else ())]
    told += _cautions(compared=bool(listed and found), miniature=miniature)
    return Grid(title, tuple(columns), measured, _reported(columns, listed), listed, tuple(told))


def _cautions(*, compared: bool, miniature: bool) -> list[str]:
    notes = []
    if compared:
        notes.append(
            "published numbers follow their authors' protocols; they are neither ranked nor averaged with measured ones"
        )
    if miniature:
        notes.append("results on a miniature say nothing about the real dataset: compare rows of this table only")
    return notes


def _group_grids(title: str, found: list[Found], published: bool, miniature: bool) -> list[Grid]:
    """The numbers behind each mean rank."""
    grids = []
    for group in groups():
        columns = _columns_of(group)
        measured, warnings = _measured(_within(group, found), columns)
        if not measured:
            continue
        keys = {column.key for column in columns}
        claiming = (one for one in sources() if any(keys & row.values.keys() for row in one.row))
        listed = tuple(claiming) if published else ()
        rows = tuple(replace(row, found=()) for row in measured)  # their runs are told of beside the main grid
        labels = ", ".join(dict.fromkeys(metric.label for metric in group.metrics))
        told = [*warnings, *_cautions(compared=bool(listed), miniature=miniature)]
        grids.append(
            Grid(
                f"{title}, {group.name}: {labels} per domain",
                tuple(columns),
                rows,
                _reported(columns, listed),
                listed,
                tuple(told),
            )
        )
    return grids


def _columns_of(group: Group) -> list[Column]:
    return [Column(task, metric) for task, metric in zip(group.tasks, group.metrics, strict=True)]


def _within(group: Group, found: Iterable[Found]) -> list[Found]:
    return [item for item in found if item[1].task.name in group.tasks]


def _reported(columns: Sequence[Column], listed: Sequence[Source]) -> tuple[Row, ...]:
    """A row per published model that has a number for one of the columns."""
    return tuple(
        Row(
            row.model,
            {column.key: Cell(row.values[column.key]) for column in columns if column.key in row.values},
            number,
        )
        for number, source in enumerate(listed, start=1)
        for row in source.row
        if any(column.key in row.values for column in columns)
    )


def _with_ranks(rows: tuple[Row, ...], found: list[Found]) -> tuple[tuple[Row, ...], list[str]]:
    """Adds each group's mean ranks, of means over seeds in full precision; with a dagger if one of the tasks has it."""
    notes = []
    for group in groups():
        columns, place = _columns_of(group), Column(group.name, MEAN_RANK)
        behind, warnings = _measured(_within(group, found), columns)
        values = {
            row.name: {column.task: row.cells[column.key].value for column in columns if column.key in row.cells}
            for row in behind
        }
        ranks, told = mean_ranks(group, values)
        cells = {
            row.name: Cell(
                ranks[row.name],
                n=min(cell.n for cell in row.cells.values()),
                dagger=any(cell.dagger for cell in row.cells.values()),
            )
            for row in behind
            if row.name in ranks
        }
        filled = [
            replace(row, cells={**row.cells, place.key: cells[row.name]}) if row.name in cells else row for row in rows
        ]
        rows = tuple(_with_places(filled, place))
        notes += [*told, *warnings]
    return rows, notes


def _measured(found: Iterable[Found], columns: list[Column]) -> tuple[tuple[Row, ...], list[str]]:
    """A row per model: mean and deviation over seeds, places within each column, daggers where settings differ."""
    by_model: dict[str, list[Found]] = defaultdict(list)
    for item in found:
        by_model[item[1].model.name].append(item)
    rows = [Row(name, _cells(items, columns), found=tuple(items)) for name, items in sorted(by_model.items())]
    warnings = []
    for column in columns:
        rows = _with_places(rows, column)
        rows, differ = _with_daggers(rows, column)
        if differ:
            warnings.append(f"† {column.task}: settings or data differ from those of most rows of the column")
    return tuple(rows), warnings


def _cells(items: Sequence[Found], columns: Sequence[Column]) -> dict[str, Cell]:
    cells = {}
    for column in columns:
        values = [
            result.metrics[column.metric.name].value
            for _, result in items
            if result.task.name == column.task and column.metric.name in result.metrics
        ]
        if values:
            deviation = statistics.stdev(values) if len(values) > 1 else None
            cells[column.key] = Cell(math.fsum(values) / len(values), deviation, len(values))
    return cells


def _with_places(rows: list[Row], column: Column) -> list[Row]:
    """Marks the best and the second-best value, as they are shown: equal when rounded is a tie."""
    shown = {
        row.name: round(row.cells[column.key].value, column.metric.digits) for row in rows if column.key in row.cells
    }
    order = sorted(set(shown.values()), reverse=column.metric.higher_is_better)[:2]
    marked = []
    for row in rows:
        place = order.index(shown[row.name]) + 1 if shown.get(row.name) in order and len(shown) > 1 else None
        cell = row.cells.get(column.key)
        marked.append(replace(row, cells={**row.cells, column.key: replace(cell, place=place)}) if cell else row)
    return marked


def _with_daggers(rows: list[Row], column: Column) -> tuple[list[Row], bool]:
    """Marks cells whose settings or data aren't those of most results in the column."""
    prints = {
        row.name: {
            (result.recipe.fingerprint, result.task.version, result.dataset.fingerprint)
            for _, result in row.found
            if result.task.name == column.task
        }
        for row in rows
    }
    flat = [one for several in prints.values() for one in sorted(several)]
    if len(set(flat)) < 2:
        return rows, False
    usual = {max(sorted(set(flat)), key=flat.count)}
    marked = []
    for row in rows:
        cell = row.cells.get(column.key)
        odd = cell is not None and prints[row.name] != usual
        marked.append(
            replace(row, cells={**row.cells, column.key: replace(cell, dagger=True)}) if cell and odd else row
        )
    return marked, True
