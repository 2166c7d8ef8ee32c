"""Published numbers in grids: beside measured ones where they are comparable, in grids of their own, or as printed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from croco_bench.errors import UsageError, unknown
from croco_bench.records.changes import is_installed
from croco_bench.records.schema import Result
from croco_bench.records.selection import EVERYTHING, Selection, metric_keys
from croco_bench.registry import tasks
from croco_bench.tables.cells import Cell
from croco_bench.tables.columns import Column, column_of_key
from croco_bench.tables.groups import MEAN_RANK, groups
from croco_bench.tables.layout import Grid, Row
from croco_bench.tables.published import PrintedTable, ProtocolClass, PublishedRow, Source, disagreements

# What may stand beside measured numbers of a class.
_COMPARABLE: Mapping[str, set[str]] = {"finetuned": {"finetuned", "dedicated"}}
CAUTION = "published numbers follow their authors' protocols; they are neither ranked nor averaged with measured ones"

Wanted = Callable[[Source, PublishedRow, Column], bool]


def class_of_run(result: Result) -> ProtocolClass:
    """The protocol class of a measured number, from its task and its settings."""
    if is_installed(result.task.name) and tasks()[result.task.name].card.training_free:
        return "zero-shot"
    frozen = result.settings.get("train", {}).get("frozen")
    if frozen in (None, False, "encoder"):
        return "frozen-encoder" if frozen else "finetuned"
    by_head: dict[str, ProtocolClass] = {
        "attentive": "frozen-attentive",
        "dense-linear": "frozen-linear",
        "dpt": "frozen-dpt",
        "dpt-probe": "frozen-dpt",
        "linear": "frozen-linear",
    }
    return by_head.get(result.settings.get("head", {}).get("name", ""), "frozen")


def comparable(source: Source, row: PublishedRow, column: Column, runs: Iterable[Result]) -> bool:
    """Whether a published number may stand beside those of `runs`: of the same class, on the same images.

    A mean rank never may: it depends on the backbones that it is among.
    """
    if column.metric.name == MEAN_RANK.name or source.status_of(row) == "contradicted":
        return False
    if row.split and row.images is None:
        return False
    kind = source.class_of(row, column.key)
    return any(
        kind in _COMPARABLE.get(mine := class_of_run(result), {mine}) and row.images in (None, result.dataset.images)
        for result in runs
    )


def beside(
    columns: Sequence[Column], measured: Sequence[Row], listed: Sequence[Source]
) -> tuple[tuple[Row, ...], tuple[Source, ...], list[str]]:
    """Published rows for the columns of measured ones, their sources, and what a reader must know."""
    runs = {
        column.key: [
            file.result
            for row in measured
            if row.ranked and column.key in row.cells
            for file in row.cells[column.key].runs
        ]
        for column in columns
    }
    rows, used, notes = _collect(
        listed, columns, lambda source, row, column: comparable(source, row, column, runs[column.key]), with_class=False
    )
    return rows, used, [*disagreements(used), *notes, CAUTION] if rows else []


def chosen_sources(listed: Iterable[Source], selection: Selection) -> tuple[Source, ...]:
    """The sources with those rows and values alone that are chosen; a row by its model or its checkpoint."""
    kept = []
    for source in listed:
        rows = [
            row.model_copy(update={"values": values})
            for row in source.row
            if selection.has_model(row.model, row.checkpoint) and (values := _chosen_values(row, selection))
        ]
        if rows:
            kept.append(source.model_copy(update={"row": tuple(rows)}))
    return tuple(kept)


def _chosen_values(row: PublishedRow, selection: Selection) -> dict[str, float]:
    parts = [(key, *key.split("/", 1)) for key in row.values]
    return {
        key: row.values[key]
        for key, task, metric in parts
        if selection.has_task(task) and (not selection.metrics or metric_keys([metric], selection.metrics))
    }


def headlines(columns: Sequence[Column], listed: Sequence[Source], notes: Sequence[str]) -> Grid:
    """What was published of some columns, in one grid."""
    rows, used, told = _collect(listed, columns, _any, with_class=True)
    shown = tuple(column for column in columns if any(column.key in row.cells for row in rows))
    return Grid("published numbers", shown, (), rows, used, (*notes, *disagreements(used), *told))


def by_task(listed: Sequence[Source]) -> list[Grid]:
    """All published numbers: a grid for each task, or group of tasks."""
    known = {task: group.name for group in groups() for task in group.tasks}
    keys = dict.fromkeys(key for source in listed for row in source.row for key in row.values)
    columns: dict[str, list[Column]] = {}
    for key in keys:
        task = key.partition("/")[0]
        column = column_of_key(key, listed)
        if column is not None:
            columns.setdefault(known.get(task, task), []).append(column)
    grids = []
    for name, found in sorted(columns.items()):
        ordered = sorted(found, key=lambda column: (column.task != name, column.key.count("/"), column.task))
        rows, used, notes = _collect(listed, ordered, _any, with_class=True)
        grids.append(Grid(f"published: {name}", tuple(ordered), (), rows, used, tuple(notes)))
    return grids or [Grid("no such number was published", (), ())]


def as_printed(listed: Sequence[Source], name: str, selection: Selection = EVERYTHING) -> list[Grid]:
    """The tables of one source as it prints them; if it names none, its numbers by task.

    Raises:
        UsageError: there is no such source (the message has the nearest names), or it has nothing that is chosen.
    """
    source = next((source for source in listed if source.name == name), None)
    if source is None:
        raise unknown("source of published numbers", name, [source.name for source in listed])
    kept = next(iter(chosen_sources([source], selection)), None)
    if kept is None:
        raise UsageError(
            f"{name} has none of the chosen numbers", f"croco-bench table --like {name} prints what it has"
        )
    made = [_printed(kept, table, listed) for table in source.table]
    return [grid for grid in made if grid.published] or by_task([kept])


def _printed(source: Source, table: PrintedTable, listed: Sequence[Source]) -> Grid:
    columns = []
    for printed in table.columns:
        column = column_of_key(printed.key, listed)
        if column is not None:
            metric = replace(column.metric, label=printed.label, digits=printed.digits)
            columns.append(Column(column.task, metric, scale=printed.scale, shown_unit=printed.unit))
    own = source.model_copy(update={"row": tuple(row for row in source.row if row.table == table.name)})
    columns = [column for column in columns if any(column.key in row.values for row in own.row)]
    rows, _, notes = _collect([own], columns, _any, with_class=False)
    title = f"{source.short}, {table.name}: {table.title}"
    return Grid(title, tuple(columns), (), rows, (source,), (*_classes(own, columns), *notes))


def _classes(source: Source, columns: Sequence[Column]) -> list[str]:
    """Which columns are of which protocol class; of a group of tasks its name."""
    group_of = {task: group.name for group in groups() for task in group.tasks}
    by_class: dict[str, dict[str, None]] = {}
    for column in columns:
        for row in source.row:
            tasks = by_class.setdefault(source.class_of(row, column.key), {})
            tasks[group_of.get(column.task, column.task)] = None
    if len(by_class) == 1:
        return [f"protocol: {next(iter(by_class))}"]
    return [f"protocol {name}: {', '.join(tasks)}" for name, tasks in by_class.items()]


def _any(source: Source, row: PublishedRow, column: Column) -> bool:
    return True


def _collect(
    listed: Sequence[Source], columns: Sequence[Column], wanted: Wanted, *, with_class: bool
) -> tuple[tuple[Row, ...], tuple[Source, ...], list[str]]:
    """Rows with a wanted number, the sources of these, numbered from 1, and the rows' notes.

    Args:
        listed: where rows come from.
        columns: which numbers.
        wanted: whether a number is shown.
        with_class: whether rows name their protocol's class; numbers of two classes then are two rows.
    """
    rows: list[Row] = []
    used: list[Source] = []
    notes: dict[tuple[int, str], list[str]] = {}
    for source in listed:
        for row in source.row:
            kept = [column for column in columns if column.key in row.values and wanted(source, row, column)]
            if not kept:
                continue
            if source not in used:
                used.append(source)
            number = len(used)
            if row.note:
                notes.setdefault((number, row.note), []).append(row.model)
            by_class: dict[str, list[Column]] = {}
            for column in kept:
                by_class.setdefault(source.class_of(row, column.key) if with_class else "", []).append(column)
            for name, mine in by_class.items():
                cells = {column.key: Cell(row.values[column.key]) for column in mine}
                rows.append(Row(row.model, cells, "published", _words(source, row, name), number))
    told = [f"[{number}] {'; '.join(dict.fromkeys(models))}: {note}" for (number, note), models in notes.items()]
    return tuple(rows), tuple(used), told


def _words(source: Source, row: PublishedRow, name: str) -> tuple[str, ...]:
    contradicted = "contradicted" if source.status_of(row) == "contradicted" else ""
    return tuple(word for word in (name, row.split, contradicted) if word)
