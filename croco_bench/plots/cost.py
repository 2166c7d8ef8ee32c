"""Score against cost: a point for each backbone, in a panel for each column of a table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from croco_bench.errors import RecordError
from croco_bench.plots.figure import (
    Cost,
    Palette,
    add_legend,
    add_notes,
    heading,
    panels,
    plain,
    title_of,
    within_bounds,
)
from croco_bench.plots.scores import INTERVALS, UNRANKED
from croco_bench.records.schema import Result
from croco_bench.report.estimates import Interval, estimates
from croco_bench.tables.cells import Cell
from croco_bench.tables.columns import Column
from croco_bench.tables.layout import Grid, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Axis:
    """One kind of cost.

    Attributes:
        label: with the unit.
        value: of a result; None where it doesn't say.
        of_machine: whether another machine gives another value.
    """

    label: str
    value: Callable[[Result], float | None]
    of_machine: bool = True


def _flops(result: Result) -> float | None:
    return result.cost.flops / 1e9 if result.cost and result.cost.flops else None


def _speed(result: Result) -> float | None:
    return result.cost.eval_images_per_s if result.cost else None


AXES: Mapping[Cost, Axis] = {
    "parameters": Axis("parameters with head (millions)", lambda result: result.model.parameters / 1e6 or None, False),
    "flops": Axis("operations of a forward pass (GFLOPs)", _flops, False),
    "speed": Axis("scored images per second", _speed),
    "train-speed": Axis("trained images per second", lambda result: result.timing.images_per_s or None),
    "memory": Axis("peak memory (GB)", lambda result: result.timing.peak_memory_mb / 1024 or None),
    "time": Axis("training (hours)", lambda result: result.timing.train_s / 3600 or None),
}


@dataclass(frozen=True)
class _Point:
    row: Row
    cell: Cell
    cost: float | None


def draw(grids: Sequence[Grid], cost: Cost) -> Figure:
    """A panel for each column that has a point; methods without this cost, such as classical ones, are dashed lines.

    Raises:
        RecordError: no result says its cost.
    """
    axis = AXES[cost]
    every = [(grid, column, _points(grid, column, axis)) for grid in grids for column in grid.columns]
    places = [place for place in every if any(point.cost is not None for point in place[2])]
    if not places:
        raise RecordError(f"none of the chosen results has {cost}", "older ones lack it: take another --cost")
    rows = [point.row for _, _, points in places for point in points]
    palette = Palette([row.name for row in rows], [row.name for row in rows if row.kind == "classical"])
    known = {id(grid): estimates(grid) for grid, _, _ in places}
    figure, axes = panels(len(places), height=2.5)
    for place, (grid, column, points) in zip(axes, places, strict=True):
        _panel(place, points, known[id(grid)][column.key].intervals, palette)
        values = [point.cell.value for point in points]
        place.set_ylim(within_bounds(values, column.metric.unit, place.get_ylim()))
        place.set_title(heading(title_of(column, grid, grids)))
        place.set_ylabel(column.measure)
        place.set_xlabel(axis.label)
    add_legend(figure, axes, grids[0].title)
    add_notes(figure, _notes(rows, axis))
    return figure


def _points(grid: Grid, column: Column, axis: Axis) -> list[_Point]:
    rows = [row for row in grid.measured if column.key in row.cells and row.cells[column.key].runs]
    return [_Point(row, row.cells[column.key], _mean_cost(row.cells[column.key], axis)) for row in rows]


def _mean_cost(cell: Cell, axis: Axis) -> float | None:
    """The mean over seeds; None where a result doesn't say, or has none."""
    values = [axis.value(file.result) for file in cell.runs]
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def _panel(axes: Axes, points: Sequence[_Point], intervals: Mapping[str, Interval], palette: Palette) -> None:
    for number, point in enumerate(points):
        row, value, color = point.row, point.cell.value, palette.color(point.row.name)
        label = plain(row.label)
        if point.cost is None:
            axes.axhline(value, color=color, linestyle="--", linewidth=0.9, zorder=1)
            # In turn at the left, in the middle and at the right, so that near lines can be told apart.
            x, side = [(0.01, "left"), (0.5, "center"), (0.99, "right")][number % 3]
            axes.annotate(label, (x, value), xycoords=("axes fraction", "data"), ha=side, va="bottom", fontsize=6)
            continue
        if row.label in intervals:
            axes.plot([point.cost] * 2, intervals[row.label], color=color, linewidth=1.2)
        fill = "white" if row.differences else color
        marker = palette.marker(row.name)
        axes.plot(point.cost, value, marker, color=color, markerfacecolor=fill, markersize=6, label=label)
    _scale(axes, [point.cost for point in points if point.cost is not None])


def _scale(axes: Axes, costs: Sequence[float]) -> None:
    """Logarithmic with plain numbers; linear where costs differ by less than a factor of three."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    low, high = min(costs), max(costs)
    if high < 3 * low:
        middle, reach = (low + high) / 2, max(0.7 * (high - low), 0.1 * high)
        axes.set_xlim(middle - reach, middle + reach)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        return
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _notes(rows: Sequence[Row], axis: Axis) -> list[str]:
    notes = [INTERVALS, *([UNRANKED] if any(row.differences for row in rows) else [])]
    if axis.of_machine:
        machines = {
            (run.result.environment.device, run.result.environment.processes) for row in rows for run in row.runs
        }
        told = ", ".join(f"{count} x {device}" for device, count in sorted(machines))
        notes.append(f"measured on {told}" + (": not comparable between machines" if len(machines) > 1 else ""))
    return notes
