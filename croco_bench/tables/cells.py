"""Cells: the mean over seeds of runs that are the same in everything else."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from croco_bench.records.packaged import is_packaged
from croco_bench.records.store import ResultFile
from croco_bench.tables.columns import Column

Mark = Literal["best", "second", "tied"]
PACKAGED_SIGN = "◇"


@dataclass(frozen=True)
class Cell:
    """A mean over `n` seeds, or a mean rank of such means (`n` the fewest of them), which has no deviation.

    Attributes:
        value: the mean; of a method over its pre-trainings, each of which is the mean over its seeds.
        deviation: standard deviation over seeds or pre-trainings, of two or more.
        n: number of seeds, of a method that of pre-trainings.
        rank: 1 or 2 for the best and second-best value among the backbones that are ranked in a column.
        mark: how it is shown; see `croco_bench.tables.marks`.
        settings_differ: whether the value isn't to be compared with the others of its column; its row says why.
        runs: the results behind it, one a seed.
        interval: 95 % interval of a mean rank, or of a difference.
        is_difference: whether it is measured minus published.
        packaged: whether some result behind it comes with this package and wasn't made here.
        method: whether it is of several pre-trainings of one method.
    """

    value: float
    deviation: float | None = None
    n: int = 1
    rank: int | None = None
    mark: Mark | None = None
    settings_differ: bool = False
    runs: tuple[ResultFile, ...] = ()
    interval: tuple[float, float] | None = None
    is_difference: bool = False
    packaged: bool = False
    method: bool = False


def cell_of(runs: Sequence[ResultFile], column: Column, *, settings_differ: bool, method: bool = False) -> Cell | None:
    """The cell of runs that differ in their seeds, and of a method in their weights, alone; None where none has the metric."""
    pairs = [(file, column.value(file.result)) for file in runs]
    having = [(file, value) for file, value in pairs if value is not None]
    if not having:
        return None
    return mean_cell(having, settings_differ=settings_differ, method=method)


def mean_cell(having: Sequence[tuple[ResultFile, float]], *, settings_differ: bool, method: bool = False) -> Cell:
    """The mean of one value a run, of one run or more; of a method first over the seeds of each backbone."""
    of_each: dict[str, list[float]] = defaultdict(list)
    for file, value in having:
        of_each[file.result.model.name if method else str(file.paths.json)].append(value)
    values = [math.fsum(several) / len(several) for several in of_each.values()]
    deviation = statistics.stdev(values) if len(values) > 1 else None
    runs = tuple(file for file, _ in having)
    return Cell(
        math.fsum(values) / len(values),
        deviation,
        len(values),
        settings_differ=settings_differ,
        runs=runs,
        packaged=any(map(is_packaged, runs)),
        method=method,
    )


def with_ranks(cells: dict[str, Cell], column: Column) -> dict[str, Cell]:
    """Marks the best and the second-best of the cells, as they are shown: equal when rounded is a tie."""
    shown = {name: round(cell.value, column.metric.digits) for name, cell in cells.items()}
    order = sorted(set(shown.values()), reverse=column.metric.higher_is_better)[:2]
    if len(shown) < 2:
        return cells
    return {
        name: replace(cell, rank=order.index(shown[name]) + 1) if shown[name] in order else cell
        for name, cell in cells.items()
    }
