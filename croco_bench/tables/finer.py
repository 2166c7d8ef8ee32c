"""Tables with a column for each scene, or for each class, of one metric."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from croco_bench.errors import RecordError
from croco_bench.metrics import Metric
from croco_bench.records.selection import Selection, metric_keys, position, require_known
from croco_bench.records.store import ResultFile
from croco_bench.tables.cells import Cell, cell_of, mean_cell
from croco_bench.tables.columns import Column
from croco_bench.tables.groups import MEAN_RANK
from croco_bench.tables.layout import Grid, Kind, Row
from croco_bench.tables.shape import Runs

# A run's value of each scene or class, by name.
Values = dict[str, float]
_HEADLINE = "headline"


@dataclass(frozen=True)
class _Part:
    """A metric, what it is called per scene or class, and how its values are read from a run."""

    column: Column
    label: str
    read: Callable[[ResultFile], Values]


def finer_grids(
    title: str, runs: Sequence[Runs], columns: Sequence[Column], kind: Literal["scene", "class"], selection: Selection
) -> tuple[list[Grid], list[str]]:
    """A grid for each metric that results have per scene or class, with a column for each; and why others have none.

    Args:
        title: of the table that they belong to.
        runs: of each row.
        columns: chosen metrics, of scenes.
        kind: what a column is.
        selection: its metrics are those of classes, which aren't those of results.

    Raises:
        UsageError: a chosen metric of classes stands for none; the message has the nearest names.
    """
    missing: dict[str, None] = {}
    parts = _of_scenes(columns, missing) if kind == "scene" else _of_classes(runs, selection)
    grids = [_grid(f"{title}, {part.label}", runs, part) for part in parts]
    return [grid for grid in grids if grid.columns], list(missing)


def _grid(title: str, runs: Sequence[Runs], part: _Part) -> Grid:
    """The metric itself, if results have it, and then its parts in the order in which they occur."""
    whole, names, rows = part.column, dict[str, None](), list[Row]()
    for one in runs:
        files = [file for file in one.files if file.result.task.name == whole.task]
        values = {str(file.paths.json): part.read(file) for file in files}
        names |= dict.fromkeys(name for found in values.values() for name in found)
        cells = {}
        for name in dict.fromkeys(name for found in values.values() for name in found):
            having = [(file, found[name]) for file in files if name in (found := values[str(file.paths.json)])]
            cells[_column(whole, name).key] = mean_cell(
                having, settings_differ=bool(one.differences), method=one.method
            )
        if cells:
            total_cell = cell_of(files, whole, settings_differ=bool(one.differences), method=one.method)
            rows.append(_row(one, cells, total_cell, whole))
    total = [replace(whole, part="all")] if any(whole.key in row.cells for row in rows) else []
    return Grid(title, (*total, *(_column(whole, name) for name in names)), tuple(rows))


def _row(runs: Runs, cells: dict[str, Cell], whole: Cell | None, column: Column) -> Row:
    kind: Kind = "classical" if runs.classical else "learned"
    total = {column.key: whole} if whole else {}
    return Row(runs.name, {**total, **cells}, kind, (*runs.parts, *runs.differences), runs=runs.files)


def _column(whole: Column, name: str) -> Column:
    metric = replace(whole.metric, name=f"{whole.metric.name}@{name}")
    return Column(whole.task, metric, part=name)


def _of_scenes(columns: Iterable[Column], missing: dict[str, None]) -> list[_Part]:
    return [
        _Part(column, f"{column.title} per scene", partial(_scenes, column=column, missing=missing))
        for column in columns
        if column.metric.name != MEAN_RANK.name
    ]


def _scenes(file: ResultFile, column: Column, missing: dict[str, None]) -> Values:
    """A run's values per scene; why there are none goes to `missing`."""
    if column.value(file.result) is None:
        return {}
    from croco_bench.tables.comparison.scenes import values_by_scene

    try:
        return values_by_scene(file, column.metric.name)
    except RecordError as error:
        missing[f"{column.title} of {file.result.model.name}: {error.what}"] = None
        return {}


def _of_classes(runs: Sequence[Runs], selection: Selection) -> list[_Part]:
    """The chosen metrics of classes; by default the first one of the headline protocol."""
    files = [file for one in runs for file in one.files]
    tasks = sorted({file.result.task.name for file in files}, key=lambda task: (position(task, selection.tasks), task))
    found = {task: [_classes(file) for file in files if file.result.task.name == task] for task in tasks}
    keys = {task: list(dict.fromkeys(key for table in tables for key in table)) for task, tables in found.items()}
    every = {key for known in keys.values() for key in known}
    if every:
        require_known("metric per class", selection.metrics, every)
    return [
        _Part(_class_column(task, key), f"{task} {key} per class", partial(_values_of, key=key))
        for task, known in keys.items()
        for key in (metric_keys(known, selection.metrics) if selection.metrics else known[:1])
    ]


def _class_column(task: str, key: str) -> Column:
    """Shares of pixels in percent; the files don't say which are better."""
    return Column(task, Metric(key, key, "%", "neither", "class", 1, ""))


def _values_of(file: ResultFile, key: str) -> Values:
    return _classes(file).get(key, {})


def _classes(file: ResultFile) -> dict[str, Values]:
    """`iou`, or `<protocol>/iou` -> values by class, from the run's breakdown.

    Raises:
        RecordError: it isn't a table of numbers.
    """
    path = file.paths.breakdown
    if not path.is_file():
        return {}
    found: dict[str, Values] = {}
    try:
        for line in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
            protocol, name = line.pop("protocol"), line.pop("class", None)
            for key, text in line.items() if name else ():
                if text:
                    found.setdefault(key if protocol == _HEADLINE else f"{protocol}/{key}", {})[name] = float(text)
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise RecordError(f"{path} isn't a table of numbers per class", "make the result again") from error
    return found
