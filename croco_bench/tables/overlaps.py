"""Marks cells whose backbone was pre-trained on data that overlap with the task's, as far as that is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from croco_bench.backbones.provenance import LEVELS, Overlap, overlap, training_data
from croco_bench.tables.cells import Cell
from croco_bench.tables.columns import Column
from croco_bench.tables.layout import Row

SIGNS: dict[Overlap, str] = {"images": "‡", "scenes": "§", "domain": "¶"}
_MEANINGS: dict[Overlap, str] = {
    "images": "pre-trained on images of this dataset",
    "scenes": "pre-trained on the same scenes",
    "domain": "pre-trained on scenes of the same kind",
}


def overlap_of(cell: Cell) -> tuple[Overlap, str] | None:
    """The overlap of a cell's pre-training data with its dataset, and the set that has it; None: none, or unknown.

    Miniatures are not asked: all of them, and the backbones of this package, show rendered rooms.
    """
    results = [file.result for file in cell.runs]
    if not results or results[0].dataset.miniature:
        return None
    return overlap(training_data(results[0].model.source) or (), results[0].dataset.name)


def sign_of(cell: Cell) -> str:
    """The sign beside a cell's value; empty where no overlap is known."""
    found = overlap_of(cell)
    return SIGNS[found[0]] if found else ""


def overlap_notes(rows: Sequence[Row], columns: Iterable[Column]) -> list[str]:
    """What the signs of a grid mean, with the sets behind them, and which backbones' training data is unknown."""
    sets: dict[Overlap, dict[str, None]] = {}
    unknown: dict[str, None] = {}
    keys = [column.key for column in columns]
    for row in rows:
        for cell in (row.cells[key] for key in keys if key in row.cells):
            found = overlap_of(cell)
            if found:
                sets.setdefault(found[0], {})[found[1]] = None
            elif _is_unknown(cell):
                unknown[row.name] = None
    told = [f"{SIGNS[level]} {_MEANINGS[level]} ({', '.join(sets[level])})" for level in LEVELS if level in sets]
    return [*told, *([f"pre-training data unknown: {', '.join(unknown)}"] if unknown else [])]


def _is_unknown(cell: Cell) -> bool:
    results = [file.result for file in cell.runs]
    return bool(results) and not results[0].dataset.miniature and training_data(results[0].model.source) is None
