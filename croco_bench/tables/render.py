"""Grids as text: terminal, Markdown, LaTeX, CSV, JSON."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from croco_bench.display import csv_text, json_text
from croco_bench.tables.cells import PACKAGED_SIGN, Cell, Mark
from croco_bench.tables.columns import Column
from croco_bench.tables.layout import Grid, Row
from croco_bench.tables.overlaps import overlap_of, sign_of
from croco_bench.tables.published import Source
from croco_bench.tables.text.latex import to_latex
from croco_bench.tables.text.markdown import to_markdown
from croco_bench.tables.text.sheet import MISSING as MISSING
from croco_bench.tables.text.sheet import Entry, Head, Line, Sheet, Style, transposed
from croco_bench.tables.text.terminal import Screen, to_terminal

# How a mark is shown; the notes of a grid say it in these words.
STYLES: dict[Mark | None, Style | None] = {None: None, "best": "bold", "second": "underline", "tied": "italic"}


def number(cell: Cell | None, column: Column) -> str:
    """`85.6`, or `85.6 ± 0.3 (n=3)`, with a dagger where it isn't to be compared with the others."""
    return str(entry(cell, column))


def entry(cell: Cell | None, column: Column) -> Entry:
    """The parts of a cell as text, with the column's digits."""
    if cell is None:
        return Entry(MISSING)
    signed = "+" if cell.is_difference else ""

    def text(value: float, sign: str = signed) -> str:
        return f"{value * column.scale:{sign}.{column.metric.digits}f}"

    return Entry(
        text(cell.value),
        spread=text(cell.deviation, "") if cell.deviation is not None else "",
        count=cell.n if cell.deviation is not None else None,
        interval=f"[{text(cell.interval[0])}, {text(cell.interval[1])}]" if cell.interval else "",
        sign=("†" if cell.settings_differ else "") + sign_of(cell) + (PACKAGED_SIGN if cell.packaged else ""),
        style=STYLES[cell.mark],
    )


def sheet_of(grid: Grid, told: Collection[str] = ()) -> Sheet:
    """A grid in words and rounded numbers; sources that are `told` by name below another sheet are only named."""
    rows = [tuple(_line(row, grid.columns) for row in part) for part in (grid.measured, grid.published)]
    heads = tuple(Head(column.above, column.measure) for column in grid.columns)
    across = "part" if any(column.part for column in grid.columns) else "task"
    sections, notes = tuple(part for part in rows if part), tuple(footnotes(grid, told))
    return Sheet(grid.title, "backbone", heads, sections, notes, across, _spreads(grid))


def _spreads(grid: Grid) -> str:
    """What deviations are over: seeds; of methods, pre-trainings."""
    scattered = {
        row.name: cell.method for row in grid.measured for cell in row.cells.values() if cell.deviation is not None
    }
    methods = [name for name, method in scattered.items() if method]
    if not methods:
        return "seeds"
    return "pre-trainings" if len(methods) == len(scattered) else f"seeds, of {', '.join(methods)} over pre-trainings"


def _line(row: Row, columns: Sequence[Column]) -> Line:
    entries = tuple(entry(row.cells.get(column.key), column) for column in columns)
    return Line(row_name(row), entries, quiet=row.kind == "published")


def row_name(row: Row) -> str:
    """Published rows carry the number of their source."""
    return row.label if row.source is None else f"{row.label} [{row.source}]"


def footnotes(grid: Grid, told: Collection[str] = ()) -> list[str]:
    """What must be told below a grid: notes, then sources; of those that are `told` elsewhere, by name, only the address."""
    listed = [
        f"[{index}] {source.short}, {source.url}: described below an earlier table"
        if source.name in told
        else f"[{index}] {source.authors} {source.year}, {source.title}, {source.where} ({source.status}); {source.url}. "
        f"{source.protocol}"
        for index, source in enumerate(grid.sources, start=1)
    ]
    return [*grid.notes, *listed]


def _records(grids: Sequence[Grid]) -> list[dict[str, Any]]:
    """A record per cell, in full precision."""
    return [
        {
            "table": grid.title,
            "backbone": row.name,
            "kind": "difference" if cell.is_difference else "measured" if row.source is None else "published",
            "task": column.task,
            "metric": column.metric.name,
            "unit": column.metric.unit,
            "better": column.metric.better,
            "value": cell.value,
            "deviation": cell.deviation,
            "n": cell.n,
            "interval": cell.interval and list(cell.interval),
            "place": cell.rank,
            "mark": cell.mark,
            "settings_differ": cell.settings_differ,
            "overlap": found[0] if (found := overlap_of(cell)) else None,
            "differences": ", ".join(row.differences),
            "source": grid.sources[row.source - 1].url if row.source is not None else None,
        }
        for grid in grids
        for row in (*grid.measured, *grid.published)
        for column in grid.columns
        if (cell := row.cells.get(column.key)) is not None
    ]


def _csv(grids: Sequence[Grid], complaints: Sequence[str]) -> str:
    records = _records(grids)
    return csv_text(list(records[0]), records).rstrip("\n") if records else ""


_NOT_LISTED = {"row", "column", "table"}


def _sources(grids: Sequence[Grid]) -> list[Source]:
    """Of all grids, each once."""
    return list({source.name: source for grid in grids for source in grid.sources}.values())


def _json(grids: Sequence[Grid], complaints: Sequence[str]) -> str:
    content = {
        "cells": _records(grids),
        "notes": {grid.title: list(grid.notes) for grid in grids},
        "sources": [source.model_dump(mode="json", exclude=_NOT_LISTED, by_alias=True) for source in _sources(grids)],
        "left_out": list(complaints),
    }
    return json_text(content)


_RECORDS: dict[str, Callable[[Sequence[Grid], Sequence[str]], str]] = {"csv": _csv, "json": _json}


@dataclass(frozen=True)
class Layout:
    """How tables of words are laid out.

    Attributes:
        width: letters in a line of the terminal's format; default: those of the terminal, 120 where there is none.
        file: whether the text goes to a file, which has no width and no bold type.
        transpose: tasks as rows and backbones as columns; default: in a terminal where a table fits it only so.
    """

    width: int | None = None
    file: bool = False
    transpose: bool | None = None


FITTING = Layout()


def text(grids: Sequence[Grid], complaints: Sequence[str], format: str, layout: Layout = FITTING) -> str:
    """Grids in one of the formats.

    Args:
        grids: tables.
        complaints: sentences that say what was left out.
        format: its name.
        layout: of tables of words; the records of CSV and JSON have none.
    """
    if format in _RECORDS:
        return _RECORDS[format](grids, complaints)
    sheets = _sheets_of_terminal(grids) if format == "terminal" else [sheet_of(grid) for grid in grids]
    left_out = [f"left out: {text}" for text in complaints]
    if layout.transpose:
        sheets = [transposed(sheet) for sheet in sheets]
    if format == "terminal":
        screen = Screen.of_output(layout.width, file=layout.file)
        return to_terminal(sheets, left_out, screen, turn=layout.transpose is None)
    return {"markdown": to_markdown, "latex": to_latex}[format](sheets, left_out)


def _sheets_of_terminal(grids: Sequence[Grid]) -> list[Sheet]:
    """Sheets that are read from top to bottom: each source is described once."""
    told: set[str] = set()
    sheets = []
    for grid in grids:
        sheets.append(sheet_of(grid, told))
        told |= {source.name for source in grid.sources}
    return sheets
