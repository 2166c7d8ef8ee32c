"""Comparisons as text: terminal, Markdown, JSON."""

from __future__ import annotations

import io
import json
import shutil
import sys
import textwrap
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from croco_bench.tables.comparison.compare import ComparedRow, Comparison
from croco_bench.tables.comparison.overview import Overview, sentences

_METHOD = (
    "difference: first minus second, means over seeds, with its 95 % interval over images (or scenes) and seeds; "
    "docs/statistics.md says how, and why"
)
_MIN_WIDTH = 60


def to_terminal(comparison: Comparison) -> str:
    """A table for each pair and recipe, and one of ranks, in the width of the terminal."""
    width = max(shutil.get_terminal_size((100, 24)).columns, _MIN_WIDTH)
    parts = []
    for rows in _blocks(comparison):
        cells = [_cells(row, "\n") for row in rows]
        heads = [head.replace("-", "-\n") for head in _heads(rows, comparison)]
        bold = [row.verdict != "undecided" for row in rows]
        parts.append(_table(_claim(rows[0]), heads, cells, bold, width) + _wrapped(_notes(rows, comparison), width))
    for recipe, found in comparison.overviews:
        ranks = [[name, text] for name, text in _ranks(found)]
        title = f"mean ranks over {len(found.tasks)} tasks, recipe {recipe}"
        parts.append(_table(title, ["backbone", "mean rank"], ranks, [False] * len(ranks), width))
        parts[-1] += _wrapped(sentences(found), width)
    left_out = [f"not compared: {reason}" for reason in comparison.left_out]
    return "\n\n".join([*parts, *(textwrap.fill(line, width) for line in left_out)])


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], bold: Sequence[bool], width: int) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, head in enumerate(heads):
        table.add_column(head, justify="left" if index in (0, len(heads) - 1) else "right", overflow="fold")
    for row, strong in zip(rows, bold, strict=True):
        table.add_row(*row, style="bold" if strong else "")
    console = Console(width=width, file=io.StringIO(), force_terminal=sys.stdout.isatty(), highlight=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().rstrip().splitlines()) + "\n"


def _wrapped(notes: Sequence[str], width: int) -> str:
    return "\n".join(textwrap.fill(note, width, initial_indent="  ", subsequent_indent="    ") for note in notes)


def to_markdown(comparison: Comparison) -> str:
    """A heading, a table and notes for each pair and recipe, and for ranks."""
    parts = []
    for rows in _blocks(comparison):
        lines = _markdown_table(_heads(rows, comparison), [_cells(row, " ") for row in rows])
        parts.append([f"### {_claim(rows[0])}", "", *lines, "", *(f"- {note}" for note in _notes(rows, comparison))])
    for recipe, found in comparison.overviews:
        lines = _markdown_table(["backbone", "mean rank"], _ranks(found))
        title = f"### Mean ranks over {len(found.tasks)} tasks, recipe {recipe}"
        parts.append([title, "", *lines, "", *(f"- {note}" for note in sentences(found))])
    return "\n\n".join(["\n".join(part) for part in parts] + [f"not compared: {text}" for text in comparison.left_out])


def _markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in (heads, *rows)]
    rule = " | ".join(["---", *["---:"] * (len(heads) - 2), "---"])
    return [f"| {line} |" for line in (lines[0], rule, *lines[1:])]


def to_json(comparison: Comparison) -> str:
    """Everything in full precision."""
    content = {
        "backbones": list(comparison.names),
        "rows": [_record(row) for row in comparison.rows],
        "ranks": [_rank_record(recipe, found) for recipe, found in comparison.overviews],
        "not_compared": list(comparison.left_out),
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def _blocks(comparison: Comparison) -> list[list[ComparedRow]]:
    """Rows of one pair, recipe and kind of data, in the order of the pairs."""

    def key(row: ComparedRow) -> tuple[int, int, str, bool]:
        first, second = (comparison.names.index(name) for name in row.names)
        return first, second, row.recipe, row.miniature

    return [list(rows) for _, rows in groupby(sorted(comparison.rows, key=key), key=key)]


def _claim(row: ComparedRow) -> str:
    data = ", miniature of rendered rooms" if row.miniature else ""
    return f"{row.names[0]} is better than {row.names[1]} (recipe {row.recipe}{data})"


def _heads(rows: Sequence[ComparedRow], comparison: Comparison) -> list[str]:
    p_value = "p (Holm)" if len(comparison.rows) > 1 else "p"
    return ["task", *rows[0].names, "difference", p_value, "verdict"]


def _cells(row: ComparedRow, newline: str) -> list[str]:
    digits, unit = row.metric.digits, row.metric.unit
    found, arrow = row.difference, "↑" if row.metric.higher_is_better else "↓"
    low, high = found.ci95
    direction = {None: "equal", row.names[0]: "better", row.names[1]: "worse"}[row.better]
    return [
        f"{row.task}{newline}{row.metric.label}{f' ({unit})' if unit else ''} {arrow}",
        *(f"{mean.value:.{digits}f}" for mean in row.means),
        f"{found.value:+.{digits}f}{f' {unit}' if unit else ''} {direction}{newline}[{low:+.{digits}f}, {high:+.{digits}f}]",
        f"{row.adjusted_p:.3f}" if row.adjusted_p >= 0.001 else "< 0.001",
        row.verdict,
    ]


def _ranks(found: Overview) -> list[list[str]]:
    return [
        [name, f"{rank.value:.2f} [{rank.ci95[0]:.2f}, {rank.ci95[1]:.2f}]"] for name, rank in found.intervals.items()
    ]


def _notes(rows: Sequence[ComparedRow], comparison: Comparison) -> list[str]:
    """What holds for all rows, then what holds for some."""
    count, first = len(comparison.rows), rows[0].names[0]
    corrected = f", after Holm's correction over {count} comparisons" if count > 1 else ""
    notes = [_METHOD, f"holds: {first} is better; does not hold: it is worse; undecided: neither, at 5 %{corrected}"]
    by_note: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for note in (_size(row), *row.notes):
            by_note[note].append(row.task)
    tasks = {row.task for row in rows}
    for note, named in by_note.items():
        where = "" if set(named) == tasks else f"{', '.join(dict.fromkeys(named))}: "
        notes.append(f"{where}{note}")
    return notes


def _size(row: ComparedRow) -> str:
    found = row.difference
    scenes = f" in {found.scenes} scenes" if found.scenes is not None and found.scenes < found.images else ""
    return f"{found.seeds[0]} and {found.seeds[1]} seeds, {found.images} images{scenes}"


def _record(row: ComparedRow) -> dict[str, Any]:
    found = row.difference
    means = [
        {"name": name, "value": mean.value, "ci95": mean.ci95, "seeds": mean.seeds, "covers_seeds": mean.covers_seeds}
        for name, mean in zip(row.names, row.means, strict=True)
    ]
    return {
        "recipe": row.recipe,
        "miniature": row.miniature,
        "task": row.task,
        "metric": row.metric.name,
        "unit": row.metric.unit,
        "higher_is_better": row.metric.higher_is_better,
        "first": means[0],
        "second": means[1],
        "difference": found.value,
        "ci95": found.ci95,
        "p_value": found.p_value,
        "p_value_holm": row.adjusted_p,
        "better": row.better,
        "verdict": row.verdict,
        "standard_error": found.standard_error,
        "degrees_of_freedom": found.df,
        "bootstrap95": found.bootstrap95,
        "images": found.images,
        "scenes": found.scenes,
        "independent_blocks": found.blocks,
        "covers_seeds": found.covers_seeds,
        "notes": row.notes,
    }


def _rank_record(recipe: str, found: Overview) -> dict[str, Any]:
    test = found.test
    return {
        "recipe": recipe,
        "tasks": found.tasks,
        "mean_ranks": {name: {"value": rank.value, "ci95": rank.ci95} for name, rank in found.intervals.items()},
        "friedman": {"chi_square": test.statistic, "p_value": test.p_value},
        "critical_difference": test.critical_difference,
        "not_told_apart": test.cliques,
        "wilcoxon_holm": [{"pair": pair, "p_value": p} for pair, p in test.pairs.items()],
    }


RENDERERS: dict[str, Callable[[Comparison], str]] = {
    "terminal": to_terminal,
    "markdown": to_markdown,
    "json": to_json,
}
