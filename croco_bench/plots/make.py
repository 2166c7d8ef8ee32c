"""From result files to the file of a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from croco_bench.errors import RecordError, UsageError
from croco_bench.plots import figure as paper
from croco_bench.plots.figure import Cost, Kind
from croco_bench.records.selection import EVERYTHING, Selection
from croco_bench.records.store import ResultFile, read_all, reasons_for_nothing
from croco_bench.tables import grid
from croco_bench.tables.columns import chosen_columns
from croco_bench.tables.layout import Grid
from croco_bench.tables.published_names import require_chosen

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def make(
    kind: Kind,
    results: Sequence[Path],
    out: Sequence[Path],
    *,
    recipe: str | None = None,
    selection: Selection = EVERYTHING,
    include_limited: bool = False,
    cost: Cost = "parameters",
    vary: Sequence[str] = (),
) -> list[str]:
    """Draws one figure and writes it to all files of `out`, each in the format of its name's end.

    Args:
        kind: of the figure.
        results: folders of result files.
        out: paths that end with .pdf, .svg or .png.
        recipe: only results of this recipe.
        selection: which tasks, metrics and backbones.
        include_limited: also results on a part of a split, which are never ranked.
        cost: the other axis of `cost`.
        vary: further settings in which the runs of one curve of `efficiency` may differ.

    Returns:
        Sentences that a reader must be told: the notes of the table of the same results, and what was left out.

    Raises:
        UsageError: a name stands for nothing, or a path isn't a figure.
        RecordError: there is nothing to draw, or a folder can't be read or written.
    """
    for path in out:
        paper.check_path(path)
    found, complaints = read_all(results, recipe)
    complaints += require_chosen(selection, found, ())
    grids = grid.build(found, (), include_limited=include_limited, selection=selection)
    shown = [one for one in grids if one.columns and one.measured]
    if not found or (not shown and kind != "efficiency"):
        unseen = [] if found else complaints or reasons_for_nothing(results, recipe)
        reasons = unseen + [note for one in grids for note in one.notes]
        raise RecordError("there is no result to draw", *(reasons[:1] or ["croco-bench run makes some"]))
    with paper.style():
        drawn = _draw(kind, shown, selection.results(found), selection, cost, vary)
        for path in out:
            paper.save(drawn, path)
    # Figures have no bold print, so that its meaning isn't told.
    notes = dict.fromkeys(note for one in shown for note in one.notes if not note.startswith("bold"))
    return [*notes, *(f"left out: {text}" for text in complaints)]


def _draw(
    kind: Kind,
    grids: Sequence[Grid],
    found: Sequence[ResultFile],
    selection: Selection,
    cost: Cost,
    vary: Sequence[str],
) -> Figure:
    match kind:
        case "bars" | "dots":
            from croco_bench.plots import scores

            return scores.draw(grids, kind)
        case "cost":
            from croco_bench.plots import cost as costs

            return costs.draw(grids, cost)
        case "curves":
            from croco_bench.plots import curves

            return curves.draw(grids)
        case "efficiency":
            from croco_bench.plots import efficiency

            columns, behind = chosen_columns(found, selection)
            every = [*columns, *(column for group in behind.values() for column in group)]
            return efficiency.draw(found, every, (*efficiency.AMOUNTS, *vary))
        case "layers":
            from croco_bench.plots import layers

            return layers.draw(grids)
    raise UsageError(f"there is no figure {kind}")
