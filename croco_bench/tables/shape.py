"""What stands in the rows and columns of a table, in which order, and with how many digits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from croco_bench.errors import UsageError, unknown
from croco_bench.records.selection import matches
from croco_bench.records.store import ResultFile
from croco_bench.tables.columns import Column
from croco_bench.tables.layout import Grid, Row
from croco_bench.tables.variants import Variants, variants

if TYPE_CHECKING:
    from croco_bench.tables.comparison.sides import Side

Rows = Literal["model", "recipe", "seed"]
Columns = Literal["metric", "scene", "class"]
BY_NAME = "name"


@dataclass(frozen=True)
class Shape:
    """Arrangement of a table.

    Attributes:
        rows: a row is a backbone with the mean over its seeds; a backbone under one recipe, all recipes in one table; or
            a single run. Rows of several recipes and of single runs are not ranked.
        columns: a column is a metric; or a scene, or a class, with a table for each metric.
        sort: `name`; or a column by whose values rows are sorted, best first, largest first where none is better: `<task>`,
            `<metric>`, `<task>/<metric>`, or a glob. Default: measured rows by name, published ones by year.
        digits: digits after the point, instead of those of each metric.
        methods: `NAME=BACKBONE,…`: pre-trainings of one method that share a row.
    """

    rows: Rows = "model"
    columns: Columns = "metric"
    sort: str = ""
    digits: int | None = None
    methods: tuple[str, ...] = ()

    def with_digits(self, columns: Sequence[Column]) -> list[Column]:
        """The columns with this number of digits, if one is given."""
        if self.digits is None:
            return list(columns)
        return [replace(column, metric=replace(column.metric, digits=self.digits)) for column in columns]


USUAL = Shape()


@dataclass(frozen=True)
class Runs:
    """The runs of one row.

    Attributes:
        name: of the backbone.
        parts: recipe or seed, where rows are told apart by them.
        differences: what sets the runs apart from those that are ranked.
        classical: whether nothing is learned.
        files: results, one a seed; of a method, of all its backbones.
        method: whether they are of several pre-trainings of one method.
    """

    name: str
    parts: tuple[str, ...]
    differences: tuple[str, ...]
    classical: bool
    files: tuple[ResultFile, ...]
    method: bool = False


def runs_of_rows(found: Sequence[ResultFile], rows: Rows) -> tuple[list[Runs], Variants]:
    """Results of one kind of data as rows; with the changes that all have in common, and notes."""
    if rows != "recipe":
        sorted_runs = variants(found)
        plain = [Runs(row.name, (), row.differences, row.classical, row.runs) for row in sorted_runs.rows]
        return [single for row in plain for single in _seeds(row)] if rows == "seed" else plain, sorted_runs
    by_recipe: dict[str, list[ResultFile]] = defaultdict(list)
    for file in found:
        by_recipe[file.result.recipe.name].append(file)
    made = {recipe: variants(files) for recipe, files in sorted(by_recipe.items())}
    named = [
        Runs(row.name, (f"recipe {recipe}", *one.changes), row.differences, row.classical, row.runs)
        for recipe, one in made.items()
        for row in one.rows
    ]
    notes = tuple(note for one in made.values() for note in one.notes)
    return sorted(named, key=lambda row: (row.name, row.parts)), Variants((), (), notes)


def gathered(rows: Sequence[Runs], methods: Sequence[Side]) -> tuple[list[Runs], list[str]]:
    """The rows with those of each method's backbones as one, and what stands behind it.

    Runs that are set apart from those that are ranked keep rows of their own.

    Raises:
        UsageError: a backbone of a method learns nothing.
        RecordError: backbones of a method aren't equally long pre-trainings of one network with one objective.
    """
    from croco_bench.tables.comparison.sides import notes_of_row  # needs numpy, which most tables do without

    made, notes = list(rows), []
    for method in methods:
        members = [row for row in made if row.name in method.backbones and not row.differences]
        if not members:
            continue
        if any(row.classical for row in members):
            raise UsageError(f"{method.name} has a method without learning, of which there are no pre-trainings")
        files = tuple(file for row in members for file in row.files)
        notes += notes_of_row(method, files)
        together = Runs(method.name, (), (), classical=False, files=files, method=True)
        others = {row.name for row in members[1:]}
        made = [
            together if row is members[0] else row
            for row in made
            if row is members[0] or row.differences or row.name not in others
        ]
    return made, notes


def _seeds(row: Runs) -> list[Runs]:
    by_seed: dict[int, list[ResultFile]] = defaultdict(list)
    for file in row.files:
        by_seed[file.result.seed].append(file)
    return [replace(row, parts=(f"seed {seed}",), files=tuple(files)) for seed, files in sorted(by_seed.items())]


def unranked_note(rows: Rows) -> list[str]:
    """Why rows have no marks."""
    return {
        "model": [],
        "recipe": ["rows are of several recipes: nothing is ranked or marked"],
        "seed": ["rows are single runs: nothing is ranked or marked"],
    }[rows]


def with_digits(grids: Sequence[Grid], shape: Shape) -> list[Grid]:
    """The grids with the digits of a shape, if it gives any."""
    return [replace(grid, columns=tuple(shape.with_digits(grid.columns))) for grid in grids]


def in_order(grids: Sequence[Grid], sort: str) -> list[Grid]:
    """The grids with their rows sorted by name, or by a column in those grids that have it.

    Raises:
        UsageError: no grid has such a column; the message has the nearest.
    """
    if not sort:
        return list(grids)
    if sort == BY_NAME:
        return [_sorted(grid, None) for grid in grids]
    found = {
        index: next((column for column in grid.columns if _is(column, sort)), None) for index, grid in enumerate(grids)
    }
    if not any(found.values()):
        known = {name for grid in grids for column in grid.columns for name in (column.task, column.key)}
        raise unknown("column", sort, {BY_NAME, *known})
    return [_sorted(grid, found[index]) if found[index] else grid for index, grid in enumerate(grids)]


def _is(column: Column, glob: str) -> bool:
    return any(matches(name, glob) for name in (column.key, column.task, column.metric.name))


def _sorted(grid: Grid, column: Column | None) -> Grid:
    def order(row: Row) -> tuple[bool, float, str]:
        if column is None:
            return False, 0.0, row.label.lower()
        cell = row.cells.get(column.key)
        if cell is None:
            return True, 0.0, row.label.lower()
        return False, cell.value if column.metric.better == "lower" else -cell.value, row.label.lower()

    measured, published = (tuple(sorted(rows, key=order)) for rows in (grid.measured, grid.published))
    return replace(grid, measured=measured, published=published)
