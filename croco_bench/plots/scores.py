"""Bars with intervals, and dots of all seeds: every row of a table in every column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from croco_bench.plots.figure import (
    GRAY,
    Palette,
    add_heading,
    add_notes,
    heading,
    panels,
    plain,
    title_of,
    within_bounds,
)
from croco_bench.report.estimates import Interval, estimates
from croco_bench.tables.columns import Column
from croco_bench.tables.layout import Grid, Row
from croco_bench.tables.render import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Kind = Literal["bars", "dots"]
INTERVALS = (
    "lines: 95 % intervals over images and seeds; of one seed, over images alone; of fewer than ten images, none"
)
UNRANKED = "hollow, †: not ranked, the label says what sets the runs apart"
_SEEDS = "small dots below: single seeds"
# Inches of a row and of a panel's title and axis.
_ROW, _REST = 0.22, 0.75


def draw(grids: Sequence[Grid], kind: Kind) -> Figure:
    """A panel for each column of each grid that has values, a line in it for each row."""
    places = [(grid, column) for grid in grids for column in grid.columns if _rows(grid, column)]
    rows = [row for grid in grids for row in grid.measured]
    palette = Palette([row.name for row in rows], [row.name for row in rows if row.kind == "classical"])
    longest = max(len(row.label) for row in rows)
    known = {id(grid): estimates(grid) for grid in grids}
    tallest = max(len(_rows(*place)) for place in places)
    width = 2.6 + 0.055 * min(longest, 60)
    figure, axes = panels(len(places), height=_ROW * tallest + _REST, columns=2 if longest > 24 else 3, width=width)
    for place, (grid, column) in zip(axes, places, strict=True):
        _panel(place, _rows(grid, column), column, known[id(grid)][column.key].intervals, palette, kind)
        place.set_title(heading(title_of(column, grid, grids), width))
    add_heading(figure, grids)
    add_notes(figure, _notes(rows, kind))
    return figure


def _rows(grid: Grid, column: Column) -> list[Row]:
    """Rows with a value in a column."""
    return [row for row in grid.measured if column.key in row.cells]


def _notes(rows: Sequence[Row], kind: Kind) -> list[str]:
    unranked = [UNRANKED] if any(row.differences for row in rows) else []
    return [INTERVALS, *([_SEEDS] if kind == "dots" else []), *unranked]


def _panel(
    axes: Axes,
    rows: Sequence[Row],
    column: Column,
    intervals: Mapping[str, Interval],
    palette: Palette,
    kind: Kind,
) -> None:
    """Rows from top to bottom in the order of the table."""
    for place, row in enumerate(rows):
        cell, color = row.cells[column.key], palette.color(row.name)
        fill = "white" if row.differences else color
        if kind == "bars":
            axes.barh(place, cell.value, height=0.66, color=fill, edgecolor=color, linewidth=1)
        else:
            seeds = [value for file in cell.runs if (value := column.value(file.result)) is not None]
            axes.plot(seeds, [place + 0.28] * len(seeds), ".", color=color, markersize=4)
            marker = palette.marker(row.name)
            axes.plot(cell.value, place, marker, color=color, markerfacecolor=fill, markersize=5.5)
        if row.label in intervals:
            low, high = intervals[row.label]
            axes.plot([low, high], [place, place], color="black" if kind == "bars" else color, linewidth=1.2)
    axes.set_yticks(range(len(rows)), [plain(row.label) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    values = [row.cells[column.key].value for row in rows]
    axes.set_xlim(within_bounds(values, column.metric.unit, axes.get_xlim()))
    axes.grid(visible=False, axis="y")
    _numbers(axes, rows, column)


def _numbers(axes: Axes, rows: Sequence[Row], column: Column) -> None:
    """The table's text of each value, right of the panel."""
    for place, row in enumerate(rows):
        text = number(row.cells.get(column.key), column)
        axes.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=6.5, color=GRAY)
