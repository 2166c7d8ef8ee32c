"""Results and published numbers -> grids: what stands in which row and column, and what a reader must be told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from croco_bench.metrics.ranks import Ties
from croco_bench.records.store import ResultFile
from croco_bench.tables import published_grids
from croco_bench.tables.cells import Cell, cell_of, with_ranks
from croco_bench.tables.columns import Column, columns_for, columns_of, installed_columns
from croco_bench.tables.groups import MEAN_RANK, Group, groups, mean_ranks
from croco_bench.tables.layout import Grid, Row
from croco_bench.tables.marks import Marks, ranked_cells
from croco_bench.tables.published import Source
from croco_bench.tables.variants import Variant, Variants, variants

# Published rows beside measured ones of the same real dataset, or in a grid of their own below.
Published = Literal["beside", "apart"]


def build(
    found: Sequence[ResultFile],
    listed: Sequence[Source],
    *,
    published: Published = "beside",
    include_limited: bool = False,
    ties: Ties = "mean",
    tests: bool = True,
) -> list[Grid]:
    """Grids for each (recipe, real or miniature).

    Args:
        found: results.
        listed: sources of published numbers, none for a table without them.
        published: where they stand; without results always apart.
        include_limited: also results on a part of a split.
        ties: how equal values share ranks within a group of tasks.
        tests: whether the best of a column is marked only where a paired test separates it from the others.
    """
    kept = [file for file in found if include_limited or not file.result.limited]
    sections: dict[tuple[str, bool], list[ResultFile]] = defaultdict(list)
    for file in kept:
        sections[file.result.recipe.name, file.result.dataset.miniature].append(file)
    left_out = len(found) - len(kept)
    notes = (
        [f"{left_out} runs that saw only part of their data are left out (--limited shows them)"] if left_out else []
    )
    grids: list[Grid] = []
    for (recipe, mini), files in sorted(sections.items()):
        beside = listed if published == "beside" and not mini else ()
        grids += _section(recipe, files, notes, beside, miniature=mini, ties=ties, tests=tests)
    if not grids and not listed:
        return [Grid("no results yet", (), (), notes=tuple(notes))]
    if listed and (published == "apart" or not grids):
        columns = columns_for(kept, installed_columns()) or installed_columns()
        grids.append(published_grids.headlines(columns, listed, [] if grids else ["no results yet", *notes]))
    return grids


def _section(
    recipe: str,
    files: list[ResultFile],
    notes: list[str],
    listed: Sequence[Source],
    *,
    miniature: bool,
    ties: Ties,
    tests: bool,
) -> list[Grid]:
    """The grid of headline numbers, then one for each group of tasks."""
    sorted_runs = variants(files)
    title = ", ".join([f"recipe {recipe}", *sorted_runs.changes])
    title += ", miniature of rendered rooms" if miniature else ""
    caution = _caution(miniature=miniature)
    columns, marks = columns_for(files, installed_columns()), Marks(tests)
    measured = _measured(sorted_runs, columns, marks)
    behind = []
    for group in groups():
        if any(file.result.task.name in group.tasks for file in files):
            own = Marks(tests)
            rows = [row for row in _measured(sorted_runs, columns_of(group), own) if row.cells]
            measured, told = _with_mean_ranks(measured, group, rows, (marks, own), ties)
            notes = [*notes, *told]
            behind.append(_group_grid(title, group, rows, listed, [*own.notes(), *caution]))
    reported, used, told = published_grids.beside(columns, measured, listed)
    said = (*notes, *sorted_runs.notes, *marks.notes(), *_odd(measured), *told, *caution)
    return [Grid(title, tuple(columns), tuple(measured), reported, used, said), *behind]


def _group_grid(title: str, group: Group, rows: Sequence[Row], listed: Sequence[Source], notes: Sequence[str]) -> Grid:
    """The numbers behind a mean rank."""
    columns = columns_of(group)
    reported, used, told = published_grids.beside(columns, rows, listed)
    labels = ", ".join(dict.fromkeys(metric.label for metric in group.metrics))
    return Grid(
        f"{title}, {group.name}: {labels} per domain",
        tuple(columns),
        tuple(replace(row, runs=()) for row in rows),  # the main grid tells of their runs
        reported,
        used,
        (*_odd(rows), *told, *notes),
    )


def _odd(rows: Iterable[Row]) -> list[str]:
    """What the marks beside values mean, of those that occur."""
    odd = any(cell.settings_differ for row in rows for cell in row.cells.values())
    return ["† not ranked: the row says what sets it apart from the recipe, the data and the others"] if odd else []


def _caution(*, miniature: bool) -> list[str]:
    text = "results on a miniature say nothing about the real dataset: compare rows of this table only"
    return [text] if miniature else []


def _measured(sorted_runs: Variants, columns: Sequence[Column], marks: Marks) -> list[Row]:
    """A row for each variant, with ranks and marks within each column."""
    rows = [_row(variant, columns) for variant in sorted_runs.rows]
    for column in columns:
        rows = marks.column(_ranked_in(rows, column), column)
    return rows


def _row(variant: Variant, columns: Sequence[Column]) -> Row:
    cells = {}
    for column in columns:
        runs = [file for file in variant.runs if file.result.task.name == column.task]
        cell = cell_of(runs, column, settings_differ=bool(variant.differences))
        if cell is not None:
            cells[column.key] = cell
    return Row(
        variant.name, cells, "classical" if variant.classical else "learned", variant.differences, runs=variant.runs
    )


def _ranked_in(rows: Sequence[Row], column: Column) -> list[Row]:
    """The rows, with the ranks of ranked rows in one column."""
    cells = with_ranks(ranked_cells(rows, column), column)
    return [
        replace(row, cells={**row.cells, column.key: cells[row.label]}) if row.ranked and row.label in cells else row
        for row in rows
    ]


def _with_mean_ranks(
    rows: list[Row], group: Group, behind: Sequence[Row], marks: tuple[Marks, Marks], ties: Ties
) -> tuple[list[Row], list[str]]:
    """Adds a group's mean ranks, of means over seeds in full precision, and says among which backbones.

    Args:
        rows: of the main grid.
        group: of tasks.
        behind: rows of the group's grid.
        marks: of the main grid and of the group's.
        ties: how equal values are ranked.
    """
    columns, own = columns_of(group), Column(group.name, MEAN_RANK)
    cells = {row.label: row.cells for row in behind if row.ranked}
    values = {
        name: {column.task: mine[column.key].value for column in columns if column.key in mine}
        for name, mine in cells.items()
    }
    ranks, told = mean_ranks(group, values, ties)
    filled = []
    for row in rows:
        if row.ranked and row.label in ranks:
            fewest = min(cell.n for cell in cells[row.label].values())
            row = replace(row, cells={**row.cells, own.key: Cell(ranks[row.label], n=fewest)})
        filled.append(row)
    intervals = marks[1].rank_intervals(group, columns, behind, ties)
    return marks[0].mean_ranks(_ranked_in(filled, own), own, intervals), told
