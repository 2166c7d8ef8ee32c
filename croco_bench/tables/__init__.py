"""Tables: results beside published numbers, in the format that the reader needs. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from croco_bench.metrics.ranks import Ties
from croco_bench.records.store import read_all
from croco_bench.tables import html, render
from croco_bench.tables.grid import Published, build

Format = Literal["terminal", "markdown", "latex", "csv", "json", "html"]


def make(
    results: Sequence[Path],
    *,
    recipe: str | None = None,
    format: Format = "terminal",
    published: Published = "beside",
    include_limited: bool = False,
    ties: Ties = "mean",
) -> str:
    """The table of all results below some folders, as text. The same results give the same text.

    Raises:
        RecordError: a folder is missing.
    """
    found, complaints = read_all(results, recipe)
    grids = build(found, published=published, include_limited=include_limited, ties=ties)
    if format == "html":
        return html.page(grids, complaints)
    return render.RENDERERS[format](grids, complaints)
