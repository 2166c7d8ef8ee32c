"""Results and published numbers -> grids: what stands in which row and column, and what a reader must be told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from croco_bench.errors import FAILED, UsageError
from croco_bench.metrics.ranks import Ties
from croco_bench.records.selection import EVERYTHING, Selection
from croco_bench.records.store import ResultFile
from croco_bench.tables import published_grids
from croco_bench.tables.cells import PACKAGED_SIGN, Cell, cell_of, with_ranks
from croco_bench.tables.columns import Column, arranged, chosen_columns, columns_of, installed_columns
from croco_bench.tables.comparison.positions import position_notes
from croco_bench.tables.finer import finer_grids
from croco_bench.tables.groups import MEAN_RANK, Group, groups, mean_ranks
from croco_bench.tables.layout import Grid, Kind, Row
from croco_bench.tables.marks import Marks, ranked_cells
from croco_bench.tables.overlaps import overlap_notes
from croco_bench.tables.published import Source
from croco_bench.tables.shape import USUAL, Runs, Shape, gathered, in_order, runs_of_rows, unranked_note, with_digits

if TYPE_CHECKING:
    from croco_bench.tables.comparison.sides import Side

# Published rows beside measured ones of the same real dataset, or in a grid of their own below.
Published = Literal["beside", "apart"]


@dataclass(frozen=True)
class Options:
    """What a table shows; see `build`."""

    published: Published
    include_limited: bool
    ties: Ties
    tests: bool
    selection: Selection
    shape: Shape
    methods: Sequence[Side]


def build(
    found: Sequence[ResultFile],
    listed: Sequence[Source],
    *,
    published: Published = "beside",
    include_limited: bool = False,
    ties: Ties = "mean",
    tests: bool = True,
    selection: Selection = EVERYTHING,
    shape: Shape = USUAL,
) -> list[Grid]:
    """Grids for each (recipe, real or miniature).

    Args:
        found: results.
        listed: sources of published numbers, none for a table without them.
        published: where they stand; without results always apart.
        include_limited: also results on a part of a split.
        ties: how equal values share ranks within a group of tasks.
        tests: whether the best of a column is marked only where a paired test separates it from the others.
        selection: which tasks, metrics and models.
        shape: what stands in rows and columns.

    Raises:
        UsageError: there is no such column to sort by, no result has numbers per scene or class, or there is no such method.
        RecordError: backbones of a method aren't alike.
    """
    chosen = selection.results(found)
    options = Options(published, include_limited, ties, tests, selection, shape, _methods(shape, chosen))
    listed = published_grids.chosen_sources(listed, selection)
    kept = [file for file in chosen if include_limited or not file.result.limited]
    left_out = len(chosen) - len(kept)
    notes = (
        [f"{left_out} runs that saw only part of their data are left out (--limited shows them)"] if left_out else []
    )
    grids: list[Grid] = []
    for (recipe, mini), files in _sections(kept, shape).items():
        beside = listed if published == "beside" and not mini else ()
        grids += _section(recipe, files, notes, beside, options, miniature=mini)
    if kept and not grids and shape.columns != "metric":
        raise UsageError(f"no chosen result has numbers per {shape.columns}", "choose others with --task and --metric")
    if not grids and not listed:
        grids = [Grid("no results yet", (), (), notes=tuple(notes))]
    elif listed and (published == "apart" or not grids):
        grids.append(_published(kept, listed, options, [] if grids else ["no results yet", *notes]))
    return in_order(grids, shape.sort)


def _methods(shape: Shape, found: Iterable[ResultFile]) -> Sequence[Side]:
    """The methods that have rows. Comparisons need numpy, which most tables do without."""
    if not shape.methods:
        return ()
    if shape.rows != "model":
        raise UsageError("methods gather rows of backbones", f"leave them out where a row is a {shape.rows}")
    from croco_bench.tables.comparison.sides import parse_methods

    return parse_methods(shape.methods, {file.result.model.name for file in found})


def _sections(found: Sequence[ResultFile], shape: Shape) -> dict[tuple[str, bool], list[ResultFile]]:
    """(recipe, miniature or not) -> results; of all recipes together if rows tell them apart."""
    sections: dict[tuple[str, bool], list[ResultFile]] = defaultdict(list)
    recipes = sorted({file.result.recipe.name for file in found})
    together = f"recipe{'s' if len(recipes) > 1 else ''} {', '.join(recipes)}"
    for file in found:
        recipe = together if shape.rows == "recipe" else f"recipe {file.result.recipe.name}"
        sections[recipe, file.result.dataset.miniature].append(file)
    return dict(sorted(sections.items()))


def _published(found: Sequence[ResultFile], listed: Sequence[Source], options: Options, notes: Sequence[str]) -> Grid:
    """Published numbers of the tasks that have results; of all tasks if there are none."""
    columns = chosen_columns(found, options.selection)[0] or arranged(installed_columns(), options.selection)
    return published_grids.headlines(options.shape.with_digits(columns), listed, notes)


def _section(
    recipe: str,
    files: list[ResultFile],
    notes: list[str],
    listed: Sequence[Source],
    options: Options,
    *,
    miniature: bool,
) -> list[Grid]:
    """The grid of headline numbers, then one for each group of tasks."""
    runs, common = runs_of_rows(files, options.shape.rows)
    runs, behind_methods = gathered(runs, options.methods) if options.methods else (runs, [])
    title = ", ".join([recipe, *common.changes]) + (", miniature of rendered rooms" if miniature else "")
    caution = [*behind_methods, *unranked_note(options.shape.rows), *_caution(runs, miniature=miniature)]
    main, behind = chosen_columns(files, options.selection)
    if options.shape.columns != "metric":
        every = [*main, *(column for columns in behind.values() for column in columns)]
        finer, missing = finer_grids(title, runs, every, options.shape.columns, options.selection)
        said = (*notes, *common.notes, *missing, *caution)
        return [replace(grid, notes=said) for grid in with_digits(finer, options.shape)]
    columns, marks = options.shape.with_digits(main), Marks(options.tests)
    measured = _measured(runs, columns, marks)
    grids = []
    for group in groups():
        own = Marks(options.tests)
        ranked = _measured(runs, columns_of(group), own)
        if Column(group.name, MEAN_RANK) in main:
            measured, told = _with_mean_ranks(measured, group, ranked, (marks, own), options.ties)
            notes = [*notes, *told]
        if group in behind:
            shown = options.shape.with_digits(behind[group])
            rows = ranked if behind[group] == columns_of(group) else _measured(runs, shown, own)
            grids.append(_group_grid(title, group, shown, rows, listed, [*own.notes(), *caution]))
    if not main:
        return [replace(grids[0], notes=(*notes, *common.notes, *grids[0].notes)), *grids[1:]] if grids else []
    if options.selection.metrics:
        measured = [row for row in measured if row.cells]
    reported, used, told = published_grids.beside(columns, measured, listed)
    signs = [*_odd(measured), *_failed(measured, columns), *overlap_notes(measured, columns)]
    said = (*notes, *common.notes, *marks.notes(), *signs, *told, *caution)
    behind_them = [replace(grid, measured=_without_runs(grid.measured)) for grid in grids]
    return [Grid(title, tuple(columns), tuple(measured), reported, used, said), *behind_them]


def _without_runs(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows whose runs another grid tells of."""
    return tuple(replace(row, runs=()) for row in rows)


def _group_grid(
    title: str,
    group: Group,
    columns: Sequence[Column],
    rows: Sequence[Row],
    listed: Sequence[Source],
    notes: Sequence[str],
) -> Grid:
    """The numbers of a group's tasks."""
    filled = [row for row in rows if row.cells]
    reported, used, told = published_grids.beside(columns, filled, listed)
    labels = ", ".join(dict.fromkeys(column.metric.label for column in columns))
    return Grid(
        f"{title}, {group.name}: {labels} per domain",
        tuple(columns),
        tuple(filled),
        reported,
        used,
        (*_odd(filled), *overlap_notes(filled, columns), *told, *notes),
    )


def _odd(rows: Iterable[Row]) -> list[str]:
    """What the marks beside values mean, of those that occur."""
    cells = [cell for row in rows for cell in row.cells.values()]
    told = {
        "† not ranked: the row says what sets it apart from the recipe, the data and the others": any(
            cell.settings_differ for cell in cells
        ),
        f"{PACKAGED_SIGN} packaged, not run here: these results come with croco-bench": any(
            cell.packaged for cell in cells
        ),
    }
    return [note for note, holds in told.items() if holds]


def _failed(rows: Iterable[Row], columns: Sequence[Column]) -> list[str]:
    """Which rows have no value in a column, since predictions failed."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        tasks = {file.result.task.name for file in row.runs if file.result.failed}
        found[row.label] += [one.title for one in columns if one.task in tasks and one.key not in row.cells]
    return [f"{label}: {FAILED} of {', '.join(titles)}" for label, titles in found.items() if titles]


def _caution(rows: Iterable[Runs], *, miniature: bool) -> list[str]:
    text = "results on a miniature say nothing about the real dataset: compare rows of this table only"
    notes = position_notes((row.name, file.result) for row in rows for file in row.files)
    return [*notes, text] if miniature else notes


def _measured(runs: Iterable[Runs], columns: Sequence[Column], marks: Marks) -> list[Row]:
    """A row for each group of runs, with ranks and marks within each column."""
    rows = [_row(one, columns) for one in runs]
    for column in columns:
        if column.metric.better != "neither":
            rows = marks.column(_ranked_in(rows, column), column)
    return rows


def _row(runs: Runs, columns: Sequence[Column]) -> Row:
    cells = {}
    for column in columns:
        files = [file for file in runs.files if file.result.task.name == column.task]
        cell = cell_of(files, column, settings_differ=bool(runs.differences), method=runs.method)
        if cell is not None:
            cells[column.key] = cell
    kind: Kind = "classical" if runs.classical else "learned"
    return Row(runs.name, cells, kind, (*runs.parts, *runs.differences), runs=runs.files)


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
            mine = cells[row.label].values()
            fewest, packaged = min(cell.n for cell in mine), any(cell.packaged for cell in mine)
            row = replace(row, cells={**row.cells, own.key: Cell(ranks[row.label], n=fewest, packaged=packaged)})
        filled.append(row)
    intervals = marks[1].rank_intervals(group, columns, behind, ties)
    return marks[0].mean_ranks(_ranked_in(filled, own), own, intervals), told
