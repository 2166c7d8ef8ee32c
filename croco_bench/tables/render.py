"""Grids as text: terminal, Markdown, LaTeX, CSV, JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from croco_bench.tables.cells import Cell
from croco_bench.tables.columns import Column
from croco_bench.tables.layout import Grid, Row
from croco_bench.tables.published import Source

MISSING = "–"


def number(cell: Cell | None, column: Column) -> str:
    """`85.6`, or `85.6 ± 0.3 (n=3)`, with a dagger where it isn't to be compared with the others."""
    if cell is None:
        return MISSING
    digits = column.metric.digits
    scale = column.scale
    if cell.is_difference:
        low, high = cell.interval or (None, None)
        bounds = (
            f" [{low * scale:+.{digits}f}, {high * scale:+.{digits}f}]" if low is not None and high is not None else ""
        )
        return f"{cell.value * scale:+.{digits}f}{bounds}"
    if cell.interval is not None:
        low, high = cell.interval
        return f"{cell.value * scale:.{digits}f} [{low * scale:.{digits}f}, {high * scale:.{digits}f}]"
    spread = f" ± {cell.deviation * scale:.{digits}f} (n={cell.n})" if cell.deviation is not None else ""
    return f"{cell.value * scale:.{digits}f}{spread}{'†' if cell.settings_differ else ''}"


def row_name(row: Row) -> str:
    """Published rows carry the number of their source."""
    return row.label if row.source is None else f"{row.label} [{row.source}]"


def footnotes(grid: Grid) -> list[str]:
    """What must be told below a grid: notes, then sources."""
    listed = [
        f"[{index}] {source.authors} {source.year}, {source.title}, {source.where} ({source.status}); {source.url}. "
        f"{source.protocol}"
        for index, source in enumerate(grid.sources, start=1)
    ]
    return [*grid.notes, *listed]


def _terminal(grids: Sequence[Grid], complaints: Sequence[str]) -> str:
    import shutil

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = max(shutil.get_terminal_size((120, 24)).columns, 60)
    console = Console(width=width, file=io.StringIO(), force_terminal=_stdout_is_terminal(), highlight=False)
    styles = {None: "", "best": "bold", "second": "underline", "tied": "italic"}
    for grid in grids:
        table = Table(title=grid.title, title_justify="left")
        table.add_column("backbone", min_width=18, overflow="fold")
        for column in grid.columns:
            table.add_column(f"{column.above}\n{column.measure}", justify="right", overflow="fold")
        for rows, style in ((grid.measured, ""), (grid.published, "dim")):
            for row in rows:
                cells = [row.cells.get(column.key) for column in grid.columns]
                texts = [
                    Text(number(cell, column), styles[cell.mark if cell else None])
                    for cell, column in zip(cells, grid.columns, strict=True)
                ]
                table.add_row(row_name(row), *texts, style=style)
            table.add_section()
        console.print(table)
        for note in footnotes(grid):
            console.print(f"  {note}", markup=False, style="dim")
    for complaint in complaints:
        console.print(f"left out: {complaint}", markup=False, style="red")
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue().rstrip("\n")


def _stdout_is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()


def _markdown(grids: Sequence[Grid], complaints: Sequence[str]) -> str:
    marks = {None: "{}", "best": "**{}**", "second": "<u>{}</u>", "tied": "*{}*"}
    parts = []
    for grid in grids:
        lines = [f"### {grid.title}", ""]
        lines.append("| backbone | " + " | ".join(column.title for column in grid.columns) + " |")
        lines.append("| --- |" + " ---: |" * len(grid.columns))
        for row in (*grid.measured, *grid.published):
            texts = []
            for column in grid.columns:
                cell = row.cells.get(column.key)
                texts.append(marks[cell.mark if cell else None].format(number(cell, column)))
            name = row_name(row).replace("|", "\\|")
            lines.append(f"| {name if row.source is None else f'*{name}*'} | " + " | ".join(texts) + " |")
        lines += ["", *(f"- {note}" for note in footnotes(grid))]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, *(f"left out: {complaint}" for complaint in complaints)])


_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"}
_LATEX |= {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "†": r"$^\dagger$", "δ": r"$\delta$", "–": "--"}
_LATEX |= {"^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}


def latex_text(text: str) -> str:
    """Escapes everything that LaTeX would take for a command."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _latex(grids: Sequence[Grid], complaints: Sequence[str]) -> str:
    marks = {None: "{}", "best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "tied": r"\textit{{{}}}"}
    parts = []
    for grid in grids:
        lines = [
            f"% {grid.title}; needs \\usepackage{{booktabs}}",
            r"\begin{tabular}{l" + "r" * len(grid.columns) + "}",
        ]
        lines += [
            r"\toprule",
            " & ".join(["backbone", *(latex_text(column.title) for column in grid.columns)]) + r" \\",
        ]
        for rows in (grid.measured, grid.published):
            if rows:
                lines.append(r"\midrule")
            for row in rows:
                texts = [latex_text(row_name(row))]
                for column in grid.columns:
                    cell = row.cells.get(column.key)
                    texts.append(marks[cell.mark if cell else None].format(latex_text(number(cell, column))))
                lines.append(" & ".join(texts) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}", *(f"% {note}" for note in footnotes(grid))]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, *(f"% left out: {complaint}" for complaint in complaints)])


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
    output = io.StringIO()
    if records:
        writer = csv.DictWriter(output, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    return output.getvalue().rstrip("\n")


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
    return json.dumps(content, indent=2, ensure_ascii=False)


_RENDERERS: dict[str, Callable[[Sequence[Grid], Sequence[str]], str]] = {
    "terminal": _terminal,
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
    "json": _json,
}


def text(grids: Sequence[Grid], complaints: Sequence[str], format: str) -> str:
    """Grids in one of the formats; `complaints` say what was left out."""
    return _RENDERERS[format](grids, complaints)
