"""Intervals of the values of a column, and differences between its backbones. See `croco_bench.tables.comparison`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import isfinite

from croco_bench.errors import BenchError
from croco_bench.metrics.meter import FEWEST_IMAGES
from croco_bench.tables.cells import Cell
from croco_bench.tables.columns import Column
from croco_bench.tables.comparison.difference import Difference, all_differences, interval_of_mean
from croco_bench.tables.comparison.multiple import holm
from croco_bench.tables.comparison.scores import SeedScores, load_column
from croco_bench.tables.layout import Grid, Row

Interval = tuple[float, float]


@dataclass(frozen=True)
class Pair:
    """The first backbone's mean minus the second one's, in the metric's unit; `p_value` is Holm's."""

    difference: Difference
    p_value: float


@dataclass(frozen=True)
class Estimates:
    """What is known of a column beside its values.

    Attributes:
        intervals: label of a row -> 95 % interval over images and seeds.
        pairs: labels of two rows -> their difference, in the order of the rows.
        reason: why there are no differences, where there could be some; else empty.
    """

    intervals: Mapping[str, Interval] = field(default_factory=dict)
    pairs: Mapping[tuple[str, str], Pair] = field(default_factory=dict)
    reason: str = ""


def estimates(grid: Grid) -> dict[str, Estimates]:
    """Of each column of a grid, by the column's key."""
    return {column.key: _of_column(grid.measured, column) for column in grid.columns}


def _of_column(rows: Sequence[Row], column: Column) -> Estimates:
    cells = {row.label: row.cells[column.key] for row in rows if column.key in row.cells}
    known = {label: cell.interval for label, cell in cells.items() if cell.interval is not None}
    if not _has_rows(cells.values(), column):
        return Estimates(known)
    alike = [row for row in rows if not row.differences and row.label in cells and cells[row.label].runs]
    try:
        scores = _load({row.label: cells[row.label] for row in alike}, column) if alike else {}
        reason = _untested(scores.values(), column)
    except BenchError as error:
        scores, reason = {}, str(error)
    for label in cells.keys() - scores.keys():
        scores |= _load_alone(label, cells[label], column)
    known |= {label: interval for label, one in scores.items() if (interval := _interval(one)) is not None}
    missing = {label: _recorded(cell, column) for label, cell in cells.items() if label not in known}
    known |= {label: interval for label, interval in missing.items() if interval is not None}
    return Estimates(known, {} if reason else _pairs(alike, scores), reason if len(alike) > 1 else "")


def _untested(scores: Iterable[SeedScores], column: Column) -> str:
    """Why a column has no tests; empty where it has."""
    if column.metric.better == "neither":
        return f"no value of {column.metric.label} is better than another"
    few = any(len(one.blocks) < FEWEST_IMAGES for one in scores)
    return f"no test of fewer than {FEWEST_IMAGES} images" if few else ""


def _has_rows(cells: Iterable[Cell], column: Column) -> bool:
    """Whether the column is a metric of the results; mean ranks, scenes and classes are not."""
    return all(column.metric.name in file.result.metrics for cell in cells for file in cell.runs)


def _load(cells: Mapping[str, Cell], column: Column) -> dict[str, SeedScores]:
    methods = {label for label, cell in cells.items() if cell.method}
    return load_column({label: cell.runs for label, cell in cells.items()}, column.metric.name, methods)


def _load_alone(label: str, cell: Cell, column: Column) -> dict[str, SeedScores]:
    """The scores of one row; nothing where there are none."""
    try:
        return _load({label: cell}, column) if cell.runs else {}
    except BenchError:
        return {}


def _interval(scores: SeedScores) -> Interval | None:
    ci95 = interval_of_mean(scores).ci95
    return ci95 if len(scores.blocks) >= FEWEST_IMAGES and all(map(isfinite, ci95)) else None


def _recorded(cell: Cell, column: Column) -> Interval | None:
    """The interval that a single run recorded."""
    return cell.runs[0].result.metrics[column.metric.name].ci95 if len(cell.runs) == 1 else None


def _pairs(rows: Sequence[Row], scores: Mapping[str, SeedScores]) -> dict[tuple[str, str], Pair]:
    """All pairs. Holm's correction is over the pairs of ranked backbones, as in the table, and over all others apart."""
    ranked = {row.label for row in rows if row.ranked}
    labels = [row.label for row in rows]
    every = dict(zip(combinations(labels, 2), all_differences([scores[label] for label in labels]), strict=True))
    found: dict[tuple[str, str], Pair] = {}
    for among in (True, False):
        chosen = [(one, two) for one, two in every if (one in ranked and two in ranked) is among]
        differences = [every[pair] for pair in chosen]
        adjusted = holm([difference.p_value for difference in differences])
        found |= {
            pair: Pair(difference, p)
            for pair, difference, p in zip(chosen, differences, adjusted, strict=True)
            if all(map(isfinite, difference.ci95))
        }
    return found
