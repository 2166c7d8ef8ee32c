"""Two backbones beside each other: controls, and the differences that the page's script shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import permutations
from math import copysign

from croco_bench.report.estimates import Estimates, Pair
from croco_bench.report.markup import Markup, element
from croco_bench.report.overview import Table
from croco_bench.tables.cells import Cell
from croco_bench.tables.columns import Column
from croco_bench.tables.render import number

_LEVEL = 0.05


def section(tables: Sequence[Table]) -> Markup:
    """The part of the page that compares; nothing where no table has two measured rows."""
    able = [table for table in tables if len(table.grid.measured) > 1]
    if not able:
        return Markup()
    shown = [element("option", table.grid.title, value=table.id) for table in able]
    choices = [
        _choice("Table", "compare-table", shown, hidden=len(able) < 2),
        _choice("First", "compare-first", []),
        element("button", "⇄", type="button", id="compare-swap", aria_label="Swap the two"),
        _choice("Second", "compare-second", []),
    ]
    lead = (
        "First minus second on the same images, with 95 % intervals over images and seeds; a dot right of the line speaks for "
        "the first. The verdict is at 5 %, after Holm’s correction over all pairs of the column."
    )
    payload = [_payload(table) for table in able]
    content = [
        element("h2", "Compare two backbones"),
        element("p", lead, class_="facts"),
        element("div", *choices, class_="controls"),
        element("div", id="compare-result", aria_live="polite"),
        *payload,
    ]
    return element("section", *content, id="compare", class_="needs-script")


def _choice(label: str, name: str, options: Sequence[Markup], *, hidden: bool = False) -> Markup:
    select = element("select", *options, id=name)
    return element("label", element("span", label), select, hidden=hidden)


def _payload(table: Table) -> Markup:
    """Differences of a table, as text in an attribute, which no browser runs or shows."""
    columns = []
    for column in table.grid.columns:
        found = table.estimates[column.key]
        columns.append(
            {"title": column.title, "task": column.task, "why": found.reason, "pairs": _pairs(found, column)}
        )
    rows = [row.label for row in table.grid.measured]
    text = json.dumps({"rows": rows, "columns": columns}, ensure_ascii=False, separators=(",", ":"))
    return element("div", hidden=True, class_="differences", data_table=table.id, data_differences=text)


def _pairs(found: Estimates, column: Column) -> dict[str, list[object]]:
    """`first\\nsecond` -> difference, verdict, whether one is better, and three places from -1 (second better) to 1."""
    bounds = [abs(bound) for pair in found.pairs.values() for bound in pair.difference.ci95]
    reach = max(bounds, default=0.0) or 1.0
    return {
        f"{one}\n{two}": _entry(pair, column, reach, (one, two), sign)
        for (a, b), pair in found.pairs.items()
        for (one, two), sign in zip(permutations((a, b)), (1.0, -1.0), strict=True)
    }


def _entry(pair: Pair, column: Column, reach: float, names: tuple[str, str], sign: float) -> list[object]:
    low, high = sorted(sign * bound for bound in pair.difference.ci95)
    value = sign * pair.difference.value
    text = number(Cell(value, interval=(low, high), is_difference=True), column)
    direction = 1.0 if column.metric.higher_is_better else -1.0
    better = copysign(1.0, value * direction) > 0
    decided = pair.p_value < _LEVEL
    verdict = f"{names[0] if better else names[1]} is better" if decided else "can’t be told apart"
    places = [round(direction * bound / reach, 3) for bound in (low, value, high)]
    return [text, f"{verdict} (p {_p(pair.p_value)})", decided, *places]


def _p(value: float) -> str:
    return f"= {value:.2g}" if value >= 0.001 else "< 0.001"
