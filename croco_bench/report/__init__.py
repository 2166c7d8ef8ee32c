"""All results as one page that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from croco_bench.report import comparing, overview, runs
from croco_bench.report.anchors import anchors, runs_of
from croco_bench.report.estimates import estimates
from croco_bench.report.filters import controls
from croco_bench.report.markup import Markup, element
from croco_bench.report.overview import Table
from croco_bench.report.pictures import Pictures
from croco_bench.tables.layout import Grid


def page(grids: Sequence[Grid], complaints: Sequence[str], *, pictures: Path | None = None) -> str:
    """The whole page. The same results give the same page.

    Args:
        grids: the tables, in order.
        complaints: what was left out.
        pictures: a folder beside the page that whole contact sheets are copied to; small ones are inside the page.

    Raises:
        BenchError: the folder can't be written.
    """
    found, names = runs_of(grids), anchors(grids)
    tables = [Table(grid, names, estimates(grid), place) for place, grid in enumerate(grids, start=1)]
    told = [element("p", f"left out: {complaint}", class_="complaint") for complaint in complaints]
    parts = [
        *(overview.section(table) for table in tables),
        *told,
        comparing.section(tables),
        runs.section(found, names, Pictures.of(found, pictures)),
    ]
    body = [_header(tables), controls(tables, found), element("main", *parts, id="content")]
    script = _asset("report.js")
    html = element("html", _head(script), element("body", *body, element("script", script)), lang="en")
    return f"<!doctype html>\n{html}\n"


def _header(tables: Sequence[Table]) -> Markup:
    runs_found = runs_of(table.grid for table in tables)
    links = [("#compare", "Compare"), ("#runs", "Runs")] if runs_found else []
    nav = element("nav", *(element("a", text, href=target) for target, text in links), aria_label="Parts of the page")
    backbones = {file.result.model.name for file in runs_found}
    tasks = {file.result.task.name for file in runs_found}
    numbers = (("run", len(runs_found)), ("backbone", len(backbones)), ("task", len(tasks)))
    counts = ", ".join(f"{count} {word}{'s' * (count != 1)}" for word, count in numbers) if runs_found else ""
    skip = element("a", "Skip to the numbers", href="#content", class_="skip")
    title = element("h1", "croco-bench ", element("small", counts) if counts else "")
    return element("header", skip, title, nav)


def _head(script: Markup) -> Markup:
    """Style, and a policy that lets the browser load nothing and run only this page's script."""
    style = _asset("report.css")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    # The policy stands first, so that it holds for everything after it.
    parts = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", "croco-bench: results"),
        element("style", style),
    ]
    return element("head", *parts)


def _asset(name: str) -> Markup:
    """A file of this package, which is no text of a result and isn't escaped."""
    return Markup((files("croco_bench.report") / "assets" / name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    """How a policy names a text."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


__all__ = ["page"]
