"""Tables of a page: numbers with their intervals, measured rows above published ones, and what a reader must be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from croco_bench.report.anchors import Anchors
from croco_bench.report.dots import Intervals, Scale, dot, interval_of, scales
from croco_bench.report.estimates import Estimates, Interval
from croco_bench.report.markup import Markup, element, join, link, with_links
from croco_bench.tables.cells import Cell
from croco_bench.tables.columns import Column
from croco_bench.tables.layout import Grid, Row
from croco_bench.tables.published import Source
from croco_bench.tables.render import MISSING, number

_LEGEND = "dots: values on the scale in the head of their column; lines: 95 % intervals over images and seeds"


@dataclass(frozen=True)
class Table:
    """A grid, with what is known beside its values.

    Attributes:
        grid: the numbers.
        anchors: of all runs of the page.
        estimates: intervals and differences, by the key of a column.
        number: of the table in the page, from 1.
    """

    grid: Grid
    anchors: Anchors
    estimates: dict[str, Estimates]
    number: int

    @property
    def id(self) -> str:
        """The table's `id` in the page."""
        return f"table-{self.number}"

    @property
    def recipe(self) -> str:
        """The recipe of its runs; empty for published numbers alone."""
        runs = (file for row in self.grid.measured for cell in row.cells.values() for file in cell.runs)
        return next((file.result.recipe.name for file in runs), "")


def section(table: Table) -> Markup:
    """A table with its title and notes."""
    grid = table.grid
    title = element("h2", grid.title, id=f"{table.id}-title")
    content = [title, _wide(table), _notes(table), _sources(grid.sources)]
    return element("section", *content, class_="numbers", id=table.id, data_recipe=table.recipe)


def _wide(table: Table) -> Markup:
    """The table in a box that scrolls sideways, by keyboard too."""
    grid = table.grid
    if not grid.columns:
        return Markup()
    intervals = {key: found.intervals for key, found in table.estimates.items()}
    found = scales(grid, intervals)
    heads = [_head("backbone", ""), *(_column_head(column, found.get(column.key)) for column in grid.columns)]
    bodies = []
    for rows in (_learned_first(grid.measured), list(grid.published)):
        if rows:
            lines = [_row(row, table, found, intervals) for row in rows]
            bodies.append(element("tbody", *_divider(rows, grid), *lines, class_=_kind(rows)))
    inner = element("table", element("thead", element("tr", *heads)), *bodies, class_="sortable")
    return element("div", inner, class_="wide", tabindex=0, role="region", aria_labelledby=f"{table.id}-title")


def _learned_first(rows: Sequence[Row]) -> list[Row]:
    """Methods without learning, which have few numbers, after all backbones; rows that were sorted by a column stay so."""
    by_name = sorted(rows, key=lambda row: (row.name, row.differences))
    return sorted(rows, key=lambda row: row.kind == "classical") if by_name == list(rows) else list(rows)


def _head(first: str, second: str, *more: str, **attributes: str) -> Markup:
    texts = [text for text in (first, second) if text]
    words = [element("span", text, class_=kind) for text, kind in zip(texts, ("task", "measure"), strict=False)]
    button = element("button", *words, type="button")
    return element("th", button, *more, scope="col", **attributes)


def _column_head(column: Column, scale: Scale | None) -> Markup:
    digits, factor = column.metric.digits, column.scale
    ends = [f"{bound * factor:.{digits}f}" for bound in (scale.low, scale.high)] if scale else []
    axis = element("span", *(element("span", end) for end in ends), class_="axis", aria_hidden="true")
    return _head(column.above, column.measure, axis, data_task=column.task, data_better=column.metric.better)


def _kind(rows: Sequence[Row]) -> str:
    """`measured`, `published`, or `differences` of both, which stand in the place of published rows."""
    if any(cell.is_difference for row in rows for cell in row.cells.values()):
        return "differences"
    return "measured" if rows[0].source is None else "published"


def _divider(rows: Sequence[Row], grid: Grid) -> list[Markup]:
    """A line above published rows that stand below measured ones."""
    if _kind(rows) != "published" or not grid.measured:
        return []
    text = "Published by others, under their own protocols: not ranked with the rows above"
    return [
        element(
            "tr",
            element("th", element("span", text), scope="rowgroup", colspan=len(grid.columns) + 1),
            class_="divider",
        )
    ]


def _row(row: Row, table: Table, found: dict[str, Scale], intervals: Intervals) -> Markup:
    name = [element("bdi", row.name, class_="name")]
    if row.source is not None:
        name.append(link(table.grid.sources[row.source - 1].url, f"[{row.source}]"))
    tags = [*(["no learning"] if row.kind == "classical" else []), *row.differences]
    name += [element("span", tag, class_="tag") for tag in tags]
    cells = []
    for column in table.grid.columns:
        cell = row.cells.get(column.key)
        if cell is None:
            cells.append(element("td", MISSING, class_="missing", data_value="", data_task=column.task))
        else:
            interval = interval_of(row, column, intervals)
            cells.append(_cell(cell, column, interval, found[column.key], table.anchors))
    head = element("th", join(name, " "), scope="row")
    return element("tr", head, *cells, data_backbone=row.name, data_label=row.label, data_kind=row.kind)


def _cell(cell: Cell, column: Column, interval: Interval | None, scale: Scale, anchors: Anchors) -> Markup:
    value, _, rest = number(cell, column).partition(" ")
    runs = [anchors[file.paths.json] for file in cell.runs]
    target = f"#{runs[0]}" if runs else None
    shown = element("a" if runs else "span", value, href=target, class_=cell.mark or "plain")
    spread = [element("span", f" {rest}", class_="spread")] if rest else []
    return element(
        "td",
        shown,
        *spread,
        dot(cell, interval, scale),
        data_value=cell.value,
        data_task=column.task,
        data_runs=" ".join(runs) or None,
        title=_told(interval, column),
    )


def _told(interval: Interval | None, column: Column) -> str | None:
    if interval is None:
        return None
    low, high = (f"{bound * column.scale:.{column.metric.digits}f}" for bound in interval)
    return f"95 % interval {low} to {high}"


def _notes(table: Table) -> Markup:
    told = [_LEGEND] if any(found.intervals for found in table.estimates.values()) else []
    notes = [element("li", with_links(note)) for note in (*told, *table.grid.notes)]
    return element("ul", *notes, class_="notes") if notes else Markup()


def _sources(sources: Sequence[Source]) -> Markup:
    """Where published numbers stand, folded."""
    if not sources:
        return Markup()
    items = []
    for source in sources:
        facts = f", {source.where} ({source.status}). {source.protocol}"
        items.append(
            element("li", f"{source.authors} {source.year}, ", link(source.url, source.title), with_links(facts))
        )
    title = f"Sources of published numbers ({len(sources)})"
    return element("details", element("summary", title), element("ol", *items), class_="sources")
