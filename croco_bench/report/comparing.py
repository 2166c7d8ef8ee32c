"""Two backbones beside each other: controls, and the differences that the page's script shows."""

from __future__ import annotations

import json
from collections.abc import Sequence

from croco_bench.report.estimates import Estimates, Pair
from croco_bench.report.markup import Markup, element
from croco_bench.report.overview import Table
from croco_bench.tables.columns import Column

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
    rows = [row.label for row in table.grid.measured]
    columns = [_column(table.estimates[column.key], column, rows) for column in table.grid.columns]
    text = json.dumps({"rows": rows, "columns": columns}, ensure_ascii=False, separators=(",", ":"))
    return element("div", hidden=True, class_="differences", data_table=table.id, data_differences=text)


def _column(found: Estimates, column: Column, rows: Sequence[str]) -> dict[str, object]:
    """A column's title, why it has no differences, and its pairs by `<row>,<row>`, each in one of its two orders."""
    bounds = [abs(bound) for pair in found.pairs.values() for bound in pair.difference.ci95]
    reach = max(bounds, default=0.0) or 1.0
    pairs = {
        f"{rows.index(one)},{rows.index(two)}": _entry(pair, column, reach) for (one, two), pair in found.pairs.items()
    }
    return {"title": column.title, "why": found.reason, "pairs": pairs}


def _entry(pair: Pair, column: Column, reach: float) -> list[object]:
    """Low end, difference and high end in words, each with its sign; p-value; whether one is better; three places.

    Places are those of the three numbers in a picture, from -1 (the second is better) to 1.
    """
    low, high = pair.difference.ci95
    numbers = (low, pair.difference.value, high)
    words = [f"{number * column.scale:+.{column.metric.digits}f}" for number in numbers]
    direction = 1.0 if column.metric.higher_is_better else -1.0
    places = [round(direction * number / reach, 3) for number in numbers]
    return [*words, _p(pair.p_value), int(pair.p_value < _LEVEL), *places]


def _p(value: float) -> str:
    return f"= {value:.2g}" if value >= 0.001 else "< 0.001"
