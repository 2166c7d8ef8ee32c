"""Comparisons as text: terminal, Markdown, LaTeX, JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

from croco_bench.display import json_text
from croco_bench.tables.comparison.compare import ComparedRow, Comparison
from croco_bench.tables.comparison.overview import Overview, sentences
from croco_bench.tables.text.latex import to_latex as latex_of_sheets
from croco_bench.tables.text.markdown import to_markdown as markdown_of_sheets
from croco_bench.tables.text.sheet import Entry, Head, Line, Sheet
from croco_bench.tables.text.terminal import Screen
from croco_bench.tables.text.terminal import to_terminal as text_of_sheets

_METHOD = (
    "difference: first minus second, means over {0}, with its 95 % interval over images (or scenes) and {0}; "
    "docs/statistics.md says how, and why"
)

_FILES = (
    "a backbone is one pre-training: of others of its kind nothing is said; NAME=BACKBONE,… compares several of each"
)


def to_terminal(comparison: Comparison) -> str:
    """A table for each pair and recipe, and one of ranks, in the width of the terminal."""
    return text_of_sheets(_sheets(comparison), _left_out(comparison), Screen.of_output(), turn=False)


def to_markdown(comparison: Comparison) -> str:
    """A heading, a table and notes for each pair and recipe, and for ranks."""
    return markdown_of_sheets(_sheets(comparison), _left_out(comparison))


def to_latex(comparison: Comparison) -> str:
    """A `table` with its notes for each pair and recipe, and for ranks."""
    return latex_of_sheets(_sheets(comparison), _left_out(comparison))


def _left_out(comparison: Comparison) -> list[str]:
    return [f"not compared: {reason}" for reason in comparison.left_out]


def _sheets(comparison: Comparison) -> list[Sheet]:
    sheets = []
    for rows in _blocks(comparison):
        heads = tuple(Head("", head) for head in _heads(rows, comparison))
        lines = tuple(_line(row) for row in rows)
        sheets.append(Sheet(_claim(rows[0]), "task", heads, (lines,), tuple(_notes(rows, comparison))))
    for recipe, found in comparison.overviews:
        title = f"mean ranks over {len(found.tasks)} tasks, recipe {recipe}"
        lines = tuple(Line(name, (entry,)) for name, entry in _ranks(found).items())
        sheets.append(Sheet(title, "backbone", (Head("", "mean rank"),), (lines,), tuple(sentences(found))))
    return sheets


def to_json(comparison: Comparison) -> str:
    """Everything in full precision."""
    content = {
        "backbones": list(comparison.names),
        "rows": [_record(row) for row in comparison.rows],
        "ranks": [_rank_record(recipe, found) for recipe, found in comparison.overviews],
        "not_compared": list(comparison.left_out),
    }
    return json_text(content)


def _blocks(comparison: Comparison) -> list[list[ComparedRow]]:
    """Rows of one pair, recipe and kind of data, in the order of the pairs."""

    def key(row: ComparedRow) -> tuple[int, int, str, bool]:
        first, second = (comparison.names.index(name) for name in row.names)
        return first, second, row.recipe, row.miniature

    return [list(rows) for _, rows in groupby(sorted(comparison.rows, key=key), key=key)]


def _claim(row: ComparedRow) -> str:
    data = ", miniature of rendered rooms" if row.miniature else ""
    return f"claim: {row.names[0]} is better than {row.names[1]} (recipe {row.recipe}{data})"


def _heads(rows: Sequence[ComparedRow], comparison: Comparison) -> list[str]:
    p_value = "p (Holm)" if len(comparison.rows) > 1 else "p"
    return [*rows[0].names, "difference", p_value, "verdict"]


def _line(row: ComparedRow) -> Line:
    digits, unit = row.metric.digits, f" {row.metric.unit}" if row.metric.unit else ""
    found, (low, high) = row.difference, row.difference.ci95
    direction = {None: "equal", row.names[0]: "better", row.names[1]: "worse"}[row.better]
    label = f"{row.metric.label}{f' ({row.metric.unit})' if unit else ''} {row.metric.arrow}"
    difference = f"{found.value:+.{digits}f}{unit} {direction}"
    return Line(
        f"{row.task} {label}",
        (
            *(Entry(f"{mean.value:.{digits}f}") for mean in row.means),
            Entry(difference, interval=f"[{low:+.{digits}f}, {high:+.{digits}f}]"),
            Entry(f"{row.adjusted_p:.3f}" if row.adjusted_p >= 0.001 else "< 0.001"),
            Entry(row.verdict),
        ),
    )


def _ranks(found: Overview) -> dict[str, Entry]:
    return {
        name: Entry(f"{rank.value:.2f}", interval=f"[{rank.ci95[0]:.2f}, {rank.ci95[1]:.2f}]")
        for name, rank in found.intervals.items()
    }


def _notes(rows: Sequence[ComparedRow], comparison: Comparison) -> list[str]:
    """What holds for all rows, then what holds for some."""
    count, first = len(comparison.rows), rows[0].names[0]
    corrected = f", after Holm's correction over {count} comparisons" if count > 1 else ""
    drawn = " or ".join({"pre-trainings" if method else "seeds": None for method in rows[0].methods})
    notes = [
        _METHOD.format(drawn),
        f"holds: {first} is better; does not hold: it is worse; undecided: neither, at 5 %{corrected}",
    ]
    if not any(rows[0].methods):
        notes.append(_FILES)
    by_note: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for note in (_size(row), *row.notes):
            by_note[note].append(row.task)
    tasks = {row.task for row in rows}
    for note, named in by_note.items():
        where = "" if set(named) == tasks else f"{', '.join(dict.fromkeys(named))}: "
        notes.append(f"{where}{note}")
    return notes + _advice(rows)


def _size(row: ComparedRow) -> str:
    found = row.difference
    scenes = f" in {found.scenes} scenes" if _seen(row) == "scenes" else ""
    one, two = (_counted(*side) for side in zip(found.seeds, row.methods, strict=True))
    both = f"{found.seeds[0]} and {two}" if row.methods[0] == row.methods[1] else f"{one} and {two}"
    return f"{both}, {found.images} images{scenes}"


def _seen(row: ComparedRow) -> str:
    """What counts as independent: more images of the same scenes would tell little."""
    found = row.difference
    return "scenes" if found.scenes is not None and found.scenes < found.images else "images"


def _advice(rows: Iterable[ComparedRow]) -> list[str]:
    """Of what there is too little to decide, for all undecided rows of which it is known."""
    wanting: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        share = row.difference.seed_share
        if row.verdict == "undecided" and share is not None:
            drawn = "pre-trainings" if any(row.methods) else "seeds"
            wanting[drawn if share > 0.5 else _seen(row)].append(f"{row.task} {row.metric.label}")
    return [
        f"undecided, and most of the variance comes from {what}, of which more would tell more: {', '.join(named)}"
        for what, named in wanting.items()
    ]


def _counted(count: int, method: bool) -> str:
    unit = "pre-training" if method else "seed"
    return f"{count} {unit}{'' if count == 1 and method else 's'}"


def _record(row: ComparedRow) -> dict[str, Any]:
    found = row.difference
    means = [
        {
            "name": name,
            "value": mean.value,
            "ci95": mean.ci95,
            "pretrainings" if method else "seeds": mean.seeds,
            "covers_seeds": mean.covers_seeds,
        }
        for name, mean, method in zip(row.names, row.means, row.methods, strict=True)
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
        "seed_share": found.seed_share,
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
    "latex": to_latex,
    "json": to_json,
}
