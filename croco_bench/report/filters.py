"""Controls that choose what the page shows. The page's script makes them work; without it they aren't shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from croco_bench.records.store import ResultFile
from croco_bench.report.markup import Markup, element
from croco_bench.report.overview import Table


def controls(tables: Sequence[Table], found: Sequence[ResultFile]) -> Markup:
    """A field for names of backbones, menus of tasks and recipes, a switch for published numbers."""
    tasks = dict.fromkeys(column.task for table in tables for column in table.grid.columns)
    recipes = dict.fromkeys(file.result.recipe.name for file in found)
    name = element(
        "input",
        type="search",
        id="filter-backbone",
        placeholder="name, or several",
        autocomplete="off",
        spellcheck="false",
    )
    parts = [element("label", element("span", "Backbone"), name)]
    parts += [_menu("Tasks", "task", sorted(tasks)), _menu("Recipes", "recipe", sorted(recipes))]
    if any(table.grid.published for table in tables) and found:
        box = element("input", type="checkbox", id="filter-published", checked=True)
        parts.append(element("label", box, element("span", "published numbers"), class_="switch"))
    parts.append(element("button", "Reset", type="button", id="filter-reset"))
    parts.append(element("output", id="filter-count", aria_live="polite"))
    return element(
        "div", *parts, class_="controls filters needs-script", role="search", aria_label="Choose what is shown"
    )


def _menu(title: str, kind: str, names: Iterable[str]) -> Markup:
    """A box for each name, folded; nothing for fewer than two."""
    listed = list(names)
    if len(listed) < 2:
        return Markup()
    boxes = [
        element("label", element("input", type="checkbox", value=name, name=f"filter-{kind}", checked=True), name)
        for name in listed
    ]
    some = [
        element("button", text, type="button", data_check=kind, data_to=to)
        for text, to in (("all", "true"), ("none", "false"))
    ]
    summary = element("summary", title, " ", element("span", class_="count"))
    box = element("fieldset", element("legend", title), element("div", *some, class_="some"), *boxes)
    return element("details", summary, box, class_="menu", data_menu=kind)
