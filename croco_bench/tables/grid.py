"""Results and published numbers -> grids: what stands in which row and column, and what a reader must be told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from croco_bench.metrics.ranks import Ties
from croco_bench.records.store import ResultFile
from croco_bench.tables.cells import Cell, cell_of, with_ranks
from croco_bench.tables.columns import Column, columns_for, columns_of, installed_columns
from croco_bench.tables.groups import MEAN_RANK, Group, groups, mean_ranks
from croco_bench.tables.published import Source, disagreements, sources
from croco_bench.tables.variants import Variant, Variants, variants

Kind = Literal["learned", "classical", "published"]
# Published rows beside measured ones of the same real dataset, in grids of their own below, alone, or not at all.
Published = Literal["beside", "apart", "alone", "none"]


@dataclass(frozen=True)
class Row:
    """A backbone, a classical method, or a line of a publication (`source` is its number in the list of sources).

    `differences` says what sets a measured row apart from those that are ranked.
    """

    name: str
    cells: dict[str, Cell]
    kind: Kind
    differences: tuple[str, ...] = ()
    source: int | None = None
    runs: tuple[ResultFile, ...] = ()

    @property
    def label(self) -> str:
        """The name, and what sets the row apart."""
        return ", ".join([self.name, *self.differences])

    @property
    def ranked(self) -> bool:
        """Whether its values are compared with those of other backbones."""
        return self.kind == "learned" and not self.differences


@dataclass(frozen=True)
class Grid:
    """Results of one recipe on one kind of data (real or miniature), beside what was published."""

    title: str
    columns: tuple[Column, ...]
    measured: tuple[Row, ...]
    published: tuple[Row, ...]
    sources: tuple[Source, ...]
    notes: tuple[str, ...] = field(default=())


def build(
    found: Sequence[ResultFile], *, published: Published, include_limited: bool, ties: Ties = "mean"
) -> list[Grid]:
    """Grids for each (recipe, real or miniature); a grid of published numbers alone if nothing was measured."""
    kept = [file for file in found if include_limited or not file.result.limited]
    sections: dict[tuple[str, bool], list[ResultFile]] = defaultdict(list)
    for file in kept:
        sections[file.result.recipe.name, file.result.dataset.miniature].append(file)
    left_out = len(found) - len(kept)
    notes = (
        [f"{left_out} runs that saw only part of their data are left out (--limited shows them)"] if left_out else []
    )
    grids = []
    for (recipe, mini), files in sorted(sections.items()):
        beside = published == "beside" and not mini
        grids += _section(recipe, files, notes, published=beside, miniature=mini, ties=ties)
    if published == "apart" or (published == "beside" and not grids):
        grids.append(_published_alone(columns_for(kept, installed_columns()) or installed_columns(), notes))
    return grids


def _section(
    recipe: str, files: list[ResultFile], notes: list[str], *, published: bool, miniature: bool, ties: Ties
) -> list[Grid]:
    """The grid of headline numbers, then one for each group of tasks."""
    sorted_runs = variants(files)
    title = ", ".join([f"recipe {recipe}", *sorted_runs.changes])
    title += ", miniature of rendered rooms" if miniature else ""
    listed = sources() if published else ()
    columns = columns_for(files, installed_columns())
    measured, ranked = _with_mean_ranks(_measured(sorted_runs, columns), sorted_runs, ties)
    told = [*notes, *sorted_runs.notes, *_marks(measured), *ranked, *(disagreements() if listed else ())]
    told += _cautions(compared=bool(listed), miniature=miniature)
    main = Grid(title, tuple(columns), measured, _reported(columns, listed), listed, tuple(told))
    behind = [
        _group_grid(title, group, sorted_runs, published=published, miniature=miniature)
        for group in groups()
        if any(file.result.task.name in group.tasks for file in files)
    ]
    return [main, *behind]


def _published_alone(columns: Sequence[Column], notes: list[str]) -> Grid:
    """What was published of some columns, all of real datasets."""
    listed = sources()
    claimed = {key for source in listed for row in source.row for key in row.values}
    shown = tuple(column for column in columns if column.key in claimed)
    return Grid("published numbers", shown, (), _reported(shown, listed), listed, (*notes, *disagreements()))


def _group_grid(title: str, group: Group, sorted_runs: Variants, *, published: bool, miniature: bool) -> Grid:
    """The numbers behind a mean rank."""
    columns = columns_of(group)
    rows = [row for row in _measured(sorted_runs, columns) if row.cells]
    keys = {column.key for column in columns}
    claiming = [one for one in sources() if any(keys & row.values.keys() for row in one.row)] if published else []
    labels = ", ".join(dict.fromkeys(metric.label for metric in group.metrics))
    return Grid(
        f"{title}, {group.name}: {labels} per domain",
        tuple(columns),
        tuple(replace(row, runs=()) for row in rows),  # the main grid tells of their runs
        _reported(columns, claiming),
        tuple(claiming),
        (*_marks(rows), *_cautions(compared=bool(claiming), miniature=miniature)),
    )


def _marks(rows: Iterable[Row]) -> list[str]:
    """What the marks beside values mean, of those that occur."""
    odd = any(cell.settings_differ for row in rows for cell in row.cells.values())
    return ["† not ranked: the row says what sets it apart from the recipe, the data and the others"] if odd else []


def _cautions(*, compared: bool, miniature: bool) -> list[str]:
    notes = []
    if compared:
        notes.append(
            "published numbers follow their authors' protocols; they are neither ranked nor averaged with measured ones"
        )
    if miniature:
        notes.append("results on a miniature say nothing about the real dataset: compare rows of this table only")
    return notes


def _reported(columns: Sequence[Column], listed: Sequence[Source]) -> tuple[Row, ...]:
    """A row per published model that has a number for one of the columns."""
    return tuple(
        Row(
            row.model,
            {column.key: Cell(row.values[column.key]) for column in columns if column.key in row.values},
            "published",
            source=number,
        )
        for number, source in enumerate(listed, start=1)
        for row in source.row
        if any(column.key in row.values for column in columns)
    )


def _measured(sorted_runs: Variants, columns: Sequence[Column]) -> tuple[Row, ...]:
    """A row for each variant, with ranks within each column."""
    rows = [_row(variant, columns) for variant in sorted_runs.rows]
    for column in columns:
        rows = _ranked_in(rows, column)
    return tuple(rows)


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
    """The rows, with best and second-best marked among the cells of ranked rows."""
    cells = with_ranks(
        {row.label: row.cells[column.key] for row in rows if row.ranked and column.key in row.cells}, column
    )
    return [
        replace(row, cells={**row.cells, column.key: cells[row.label]}) if row.ranked and row.label in cells else row
        for row in rows
    ]


def _with_mean_ranks(rows: tuple[Row, ...], sorted_runs: Variants, ties: Ties) -> tuple[tuple[Row, ...], list[str]]:
    """Adds each group's mean ranks, of means over seeds in full precision, and says among which backbones."""
    notes = []
    for group in groups():
        columns, own = columns_of(group), Column(group.name, MEAN_RANK)
        behind = {row.name: row.cells for row in _measured(sorted_runs, columns) if row.ranked and row.cells}
        values = {
            name: {column.task: cells[column.key].value for column in columns if column.key in cells}
            for name, cells in behind.items()
        }
        ranks, told = mean_ranks(group, values, ties)
        notes += told
        rows = tuple(
            replace(
                row,
                cells={
                    **row.cells,
                    own.key: Cell(ranks[row.name], n=min(cell.n for cell in behind[row.name].values())),
                },
            )
            if row.ranked and row.name in ranks
            else row
            for row in rows
        )
        rows = tuple(_ranked_in(rows, own))
    return rows, notes
