"""Names that stand for nothing, told with suggestions: in files of published numbers, and in what a user chooses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from croco_bench import registry
from croco_bench.errors import unknown
from croco_bench.records.selection import Selection, require_known, tasks_of
from croco_bench.records.store import ResultFile
from croco_bench.tables.columns import column_of_key, known_metrics
from croco_bench.tables.groups import MEAN_RANK, groups
from croco_bench.tables.published import PublishedRow, Source


def unknown_names(listed: Sequence[Source]) -> list[str]:
    """A sentence for each number, or column of a printed table, whose task or metric nobody defines."""
    found = []
    for source in listed:
        for where, key in _keys(source):
            if column_of_key(key, listed) is None:
                found.append(f"published numbers {source.name}.toml, {where}, {key}: {_why(key)}")
    return list(dict.fromkeys(found))


def _keys(source: Source) -> Iterator[tuple[str, str]]:
    rows: tuple[PublishedRow, ...] = source.row
    for number, row in enumerate(rows, start=1):
        yield from ((f"row {number} ({row.model})", key) for key in row.values)
    for table in source.table:
        yield from ((table.name, column.key) for column in table.columns)


def _why(key: str) -> str:
    task, _, name = key.partition("/")
    cards = {entry.name: entry.card for entry in registry.tasks()}
    if task not in cards:
        return str(unknown("task", task, {*cards, *(group.name for group in groups())}))
    known = {*known_metrics(), *(metric.name for metric in cards[task].headline)}
    return str(unknown(f"metric of {task}", name, known))


def require_chosen(
    selection: Selection, found: Sequence[ResultFile], listed: Sequence[Source], *, of_classes: bool = False
) -> list[str]:
    """A sentence for each chosen task that nobody has numbers of.

    Args:
        selection: names and globs.
        found: results.
        listed: published numbers.
        of_classes: whether chosen metrics are those of classes, which are checked where these are read.

    Raises:
        UsageError: a name or glob stands for no task, metric or model at all.
    """
    rows = [row for source in listed for row in source.row]
    published = {key.partition("/")[0] for row in rows for key in row.values}
    wanted = tasks_of(selection.tasks, found, published)
    models = [name for row in rows for name in (row.model, row.checkpoint) if name]
    require_known("backbone", selection.models, [*(file.result.model.name for file in found), *models])
    if not of_classes:
        keys = {key for file in selection.results(found) for key in file.result.metrics}
        parts = [key.partition("/") for row in rows for key in row.values]
        keys |= {metric for task, _, metric in parts if selection.has_task(task)}
        require_known("metric", selection.metrics, {*keys, MEAN_RANK.name})
    there = published | {file.result.task.name for file in found}
    return [f"no results of {glob}" for glob, tasks in wanted.items() if not tasks & there]
