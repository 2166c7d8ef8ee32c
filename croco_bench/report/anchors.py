"""Names of the runs within a page: readable, each once, and the same as long as the run is there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from croco_bench.records.store import ResultFile
from croco_bench.tables.layout import Grid

Anchors = dict[Path, str]


def anchors(grids: Sequence[Grid]) -> Anchors:
    """Path of a result -> the `id` of its run in the page."""
    found: Anchors = {}
    taken: set[str] = set()
    for file in runs_of(grids):
        paths = file.paths
        if paths.json in found:
            continue
        words = (paths.recipe, paths.task, paths.model, f"seed{paths.seed}")
        base = "run-" + "-".join(re.sub(r"[^A-Za-z0-9.]+", "-", word).strip("-") for word in words)
        name, count = base, 1
        while name in taken:
            count += 1
            name = f"{base}-{count}"
        taken.add(name)
        found[paths.json] = name
    return found


def runs_of(grids: Iterable[Grid]) -> list[ResultFile]:
    """The results behind the rows and cells of some tables, each once."""
    found: dict[Path, ResultFile] = {}
    for grid in grids:
        for row in grid.measured:
            for file in (*row.runs, *(run for cell in row.cells.values() for run in cell.runs)):
                found.setdefault(file.paths.json, file)
    return list(found.values())
