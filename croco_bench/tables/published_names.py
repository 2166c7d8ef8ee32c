"""Names in files of published numbers that stand for nothing here: misspelt tasks and metrics, told with suggestions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from croco_bench import registry
from croco_bench.errors import unknown
from croco_bench.tables.columns import column_of_key, known_metrics
from croco_bench.tables.groups import groups
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
