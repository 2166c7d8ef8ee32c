"""Dots with intervals: each value of a column on the scale of that column, as a small picture beside the number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

from croco_bench.report.estimates import Interval
from croco_bench.report.markup import Markup, element
from croco_bench.tables.cells import Cell
from croco_bench.tables.columns import Column
from croco_bench.tables.layout import Grid, Row

# Key of a column -> label of a measured row -> interval.
Intervals = Mapping[str, Mapping[str, Interval]]
_WIDTH, _HEIGHT, _MARGIN = 96, 12, 5


@dataclass(frozen=True)
class Scale:
    """The range of a column, in the metric's unit."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """The place of a value between 0 (`low`) and 1 (`high`); the middle where the range is empty."""
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5

    def within(self, other: Scale) -> Scale:
        """The part of the range that lies in another one."""
        return Scale(max(self.low, other.low), min(self.high, other.high))

    @classmethod
    def of(cls, values: Iterable[float]) -> Scale:
        """The smallest range that holds all of the values, of which there is one or more."""
        found = list(values)
        return cls(min(found), max(found))


def scales(grid: Grid, intervals: Intervals) -> dict[str, Scale]:
    """The scale of each column that has values, by the column's key.

    Args:
        grid: values.
        intervals: of measured values.
    """
    found = {}
    for column in grid.columns:
        rows = [row for row in (*grid.measured, *grid.published) if column.key in row.cells]
        values = [row.cells[column.key].value for row in rows]
        bounds = [bound for row in rows for bound in interval_of(row, column, intervals) or ()]
        zero = [0.0] if any(row.cells[column.key].is_difference for row in rows) else []
        if values:
            found[column.key] = Scale.of([*values, *bounds, *zero]).within(_possible(values, column))
    return found


def _possible(values: Iterable[float], column: Column) -> Scale:
    """What values of a column can be, judged by those that are there: intervals by Student's t may reach beyond."""
    found = Scale.of(values)
    highest = 100.0 if column.metric.unit == "%" and found.high <= 100.0 else inf
    return Scale(0.0 if found.low >= 0.0 else -inf, highest)


def interval_of(row: Row, column: Column, intervals: Intervals) -> Interval | None:
    """The interval of a measured value; published ones have none, unless their cell has one of its own."""
    if row.source is None and row.label in intervals.get(column.key, {}):
        return intervals[column.key][row.label]
    return row.cells[column.key].interval


def dot(cell: Cell, interval: Interval | None, scale: Scale) -> Markup:
    """The value as a dot, its interval as a line. The numbers beside it say the same, so it is hidden from readers of them."""
    parts = [_line("track", 0.0, 1.0)]
    if cell.is_difference:
        zero = _x(scale.place(0.0))
        parts.append(element("line", class_="zero", x1=zero, x2=zero, y1=1, y2=_HEIGHT - 1))
    if interval is not None:
        parts.append(_line("whisker", scale.place(interval[0]), scale.place(interval[1])))
    parts.append(element("circle", cx=_x(scale.place(cell.value)), cy=_HEIGHT / 2, r=3))
    size = f"0 0 {_WIDTH} {_HEIGHT}"
    return element("svg", *parts, class_="dot", aria_hidden="true", viewBox=size, width=_WIDTH, height=_HEIGHT)


def _line(kind: str, start: float, end: float) -> Markup:
    return element("line", class_=kind, x1=_x(start), x2=_x(end), y1=_HEIGHT / 2, y2=_HEIGHT / 2)


def _x(place: float) -> float:
    """Pixels from the left."""
    return round(_MARGIN + (_WIDTH - 2 * _MARGIN) * min(max(place, 0.0), 1.0), 1)
