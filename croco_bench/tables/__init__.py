"""Tables: results beside published numbers, in the format that the reader needs. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from croco_bench.metrics.ranks import Ties
from croco_bench.records.selection import EVERYTHING, Selection
from croco_bench.records.store import read_all, reasons_for_nothing
from croco_bench.tables import grid, published_grids, render
from croco_bench.tables.layout import Grid
from croco_bench.tables.published import sources
from croco_bench.tables.published_names import require_chosen, unknown_names
from croco_bench.tables.render import FITTING, Layout
from croco_bench.tables.shape import USUAL, Shape, in_order, with_digits

Format = Literal["terminal", "markdown", "latex", "csv", "json"]
# Makes a text of grids and of sentences that say what was left out; `croco_bench.report.page` is one.
Renderer = Callable[[Sequence[Grid], Sequence[str]], str]
# Published numbers beside measured ones where they are comparable, in a grid of their own below, or not at all.
Published = Literal["beside", "apart", "none"]


def make(
    results: Sequence[Path],
    *,
    recipe: str | None = None,
    format: Format | Renderer = "terminal",
    published: Published = "beside",
    include_limited: bool = False,
    ties: Ties = "mean",
    tests: bool = True,
    published_folders: Sequence[Path] = (),
    selection: Selection = EVERYTHING,
    shape: Shape = USUAL,
    layout: Layout = FITTING,
) -> str:
    """The table of all results below some folders, as text. The same results give the same text.

    Args:
        results: folders of result files.
        recipe: only results of this recipe.
        format: of the text, or a function that makes it.
        published: where published numbers stand. On a miniature they never stand beside measured ones.
        include_limited: also results on a part of a split.
        ties: how equal values share ranks within a group of tasks: CroCo's paper takes the best.
        tests: whether the best of a column is marked only where a paired test separates it from the others.
        published_folders: folders with further published numbers.
        selection: which tasks, metrics and models.
        shape: what stands in rows and columns, in which order.
        layout: width and orientation of the text.

    Raises:
        UsageError: something that is chosen stands for nothing; the message has the nearest names.
        RecordError: a folder is missing, or a file of published numbers isn't as it should be.
    """
    found, complaints = read_all(results, recipe)
    listed = sources(published_folders) if published != "none" else ()
    absent = require_chosen(selection, found, listed, of_classes=shape.columns == "class")
    grids = grid.build(
        found,
        listed,
        published="apart" if published == "apart" else "beside",
        include_limited=include_limited,
        ties=ties,
        tests=tests,
        selection=selection,
        shape=shape,
    )
    unseen = [] if found or complaints else reasons_for_nothing(results, recipe)
    return _text(grids, [*unseen, *complaints, *unknown_names(listed), *absent], format, layout)


def make_published(
    like: str | None = None,
    *,
    format: Format | Renderer = "terminal",
    published_folders: Sequence[Path] = (),
    selection: Selection = EVERYTHING,
    shape: Shape = USUAL,
    layout: Layout = FITTING,
) -> str:
    """Published numbers alone: by task, or the tables of one source as it prints them.

    Args:
        like: name of the source, such as `croco`.
        format: of the text, or a function that makes it.
        published_folders: folders with further published numbers.
        selection: which tasks, metrics and models.
        shape: their order and digits; rows are models and columns metrics.
        layout: width and orientation of the text.

    Raises:
        UsageError: there is no such source, or something that is chosen stands for nothing.
        RecordError: a folder is missing, or a file of published numbers isn't as it should be.
    """
    listed = sources(published_folders)
    absent = require_chosen(selection, (), listed)
    if like is not None:
        grids = published_grids.as_printed(listed, like, selection)
    else:
        grids = published_grids.by_task(published_grids.chosen_sources(listed, selection))
    return _text(in_order(with_digits(grids, shape), shape.sort), [*unknown_names(listed), *absent], format, layout)


def make_against(
    results: Sequence[Path],
    *,
    recipe: str | None = None,
    format: Format | Renderer = "terminal",
    published_folders: Sequence[Path] = (),
    selection: Selection = EVERYTHING,
    shape: Shape = USUAL,
    layout: Layout = FITTING,
) -> str:
    """Measured minus published, with intervals, where they are comparable. See `make` for the arguments and errors."""
    from croco_bench.tables.against import against_published

    found, complaints = read_all(results, recipe)
    listed = sources(published_folders)
    absent = require_chosen(selection, found, listed)
    grids = against_published(selection.results(found), listed, selection)
    said = [*complaints, *unknown_names(listed), *absent]
    return _text(in_order(with_digits(grids, shape), shape.sort), said, format, layout)


def _text(grids: Sequence[Grid], complaints: Sequence[str], format: Format | Renderer, layout: Layout) -> str:
    """Grids in one of the formats; `complaints` say what was left out."""
    return format(grids, complaints) if callable(format) else render.text(grids, complaints, format, layout)
