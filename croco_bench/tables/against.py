"""Measured minus published: how far a reproduction is from the numbers that it reproduces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePath

from croco_bench.backbones import zoo
from croco_bench.errors import RecordError
from croco_bench.records.schema import ModelFacts
from croco_bench.records.selection import EVERYTHING, Selection
from croco_bench.records.store import ResultFile
from croco_bench.tables.cells import Cell, cell_of
from croco_bench.tables.columns import Column, arranged, chosen_columns
from croco_bench.tables.groups import MEAN_RANK
from croco_bench.tables.layout import Grid, Row
from croco_bench.tables.published import PublishedRow, Source
from croco_bench.tables.published_grids import CAUTION, comparable
from croco_bench.tables.variants import Variant, variants


def against_published(
    found: Sequence[ResultFile], listed: Sequence[Source], selection: Selection = EVERYTHING
) -> list[Grid]:
    """A grid for each recipe: differences from published numbers of the same weights, protocol class and images.

    Intervals are those of the measured mean (`croco_bench.tables.comparison`); a published number is taken as exact. Results on
    miniatures, on parts of a split, and those with other settings than the rest are compared with nothing; settings that all
    runs changed in the recipe stand in the title.
    """
    sections: dict[str, list[ResultFile]] = defaultdict(list)
    for file in found:
        if not (file.result.dataset.miniature or file.result.limited):
            sections[file.result.recipe.name].append(file)
    grids = [_section(recipe, files, listed, selection) for recipe, files in sorted(sections.items())]
    if not grids:
        note = "no result on a whole real dataset: miniatures and parts of a split can't be compared with what was published"
        return [Grid("measured minus published", (), (), notes=(note,))]
    return grids


def _section(recipe: str, files: list[ResultFile], listed: Sequence[Source], selection: Selection) -> Grid:
    sorted_runs = variants(files)
    columns = _columns(files, selection)
    rows: list[Row] = []
    used: list[Source] = []
    notes: list[str] = []
    for variant in sorted_runs.rows:
        if variant.classical:
            continue
        if variant.differences:
            notes.append(f"{', '.join([variant.name, *variant.differences])}: compared with nothing")
            continue
        pairs = [
            (source, row)
            for source in listed
            for row in source.row
            if same_weights(variant.runs[0].result.model, row) and _shared(variant, source, row, columns)
        ]
        if not pairs:
            notes.append(f"{variant.name}: no comparable number of these weights was published")
        for source, row in pairs:
            if source not in used:
                used.append(source)
            cells = _differences(variant, row, _shared(variant, source, row, columns), notes)
            rows.append(Row(f"{variant.name} − {row.model}", cells, "published", _split(row), used.index(source) + 1))
    title = ", ".join([f"recipe {recipe}", *sorted_runs.changes]) + ": measured minus published"
    shown = tuple(column for column in columns if any(column.key in row.cells for row in rows))
    told = dict.fromkeys([*notes, *([_INTERVALS, CAUTION] if rows else [])])
    return Grid(title, shown, (), tuple(rows), tuple(used), tuple(told))


_INTERVALS = (
    "in brackets, 95 % intervals of the measured mean over images and seeds, of one seed over images alone; the published "
    "number is taken as exact, which it isn't"
)


def same_weights(model: ModelFacts, row: PublishedRow) -> bool:
    """Whether a measured backbone is the checkpoint that a published row was measured with, by checksum, name or file."""
    entry = zoo.find(row.checkpoint) if row.checkpoint else None
    if entry is None or model.source.startswith("random:"):
        return False
    if entry.sha256 is not None and model.sha256 is not None:
        return entry.sha256 == model.sha256
    return entry.name in (model.name, model.source) or PurePath(model.source).name == PurePath(entry.url).name


def _columns(files: Sequence[ResultFile], selection: Selection) -> list[Column]:
    """The chosen ones of each task that was run; of a group those of its tasks, since a mean rank can't be compared."""
    main, behind = chosen_columns(files, selection)
    ran = {file.result.task.name for file in files}
    grouped = [column for columns in behind.values() for column in columns if column.task in ran]
    headline = [column for column in main if column.metric.name != MEAN_RANK.name]
    return arranged(sorted([*headline, *grouped], key=lambda column: column.task), selection)


def _shared(variant: Variant, source: Source, row: PublishedRow, columns: Sequence[Column]) -> list[Column]:
    results = [file.result for file in variant.runs]
    return [
        column
        for column in columns
        if column.key in row.values
        and comparable(source, row, column, [result for result in results if column.value(result) is not None])
    ]


def _differences(variant: Variant, row: PublishedRow, columns: Sequence[Column], notes: list[str]) -> dict[str, Cell]:
    cells = {}
    for column in columns:
        mine = cell_of(variant.runs, column, settings_differ=False)
        assert mine is not None, "a comparable column has a measured value"
        published = row.values[column.key]
        try:
            low, high = _interval(variant.name, mine, column)
        except RecordError as error:
            notes.append(f"{variant.name}, {column.title}: no interval, since {error}")
            cells[column.key] = Cell(mine.value - published, n=mine.n, is_difference=True)
            continue
        cells[column.key] = Cell(
            mine.value - published, n=mine.n, interval=(low - published, high - published), is_difference=True
        )
    return cells


def _interval(name: str, cell: Cell, column: Column) -> tuple[float, float]:
    from croco_bench.tables.comparison.difference import interval_of_mean
    from croco_bench.tables.comparison.scores import load_column

    scores = load_column({name: cell.runs}, column.metric.name)[name]
    return interval_of_mean(scores).ci95


def _split(row: PublishedRow) -> tuple[str, ...]:
    return (row.split,) if row.split else ()
