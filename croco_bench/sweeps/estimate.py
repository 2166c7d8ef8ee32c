"""How long runs take, from the records of earlier ones. No torch here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from croco_bench.records.schema import Result
from croco_bench.records.store import read_all
from croco_bench.sweeps.cells import Cell
from croco_bench.sweeps.state import SweepFolder

Kind = tuple[str, ...]


@dataclass
class Estimates:
    """How long runs take.

    Attributes:
        seconds: of earlier runs, by (recipe, task, backbone), and by (recipe, task).
        expected_s: by (recipe, task), of runs on some machine; those on this one may all be faster or slower.
    """

    seconds: dict[Kind, list[float]] = field(default_factory=lambda: defaultdict(list))
    expected_s: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def add(self, kind: Kind, seconds: float) -> None:
        """Adds one run of (recipe, task, backbone)."""
        for length in (3, 2):
            self.seconds[kind[:length]].append(seconds)

    def of(self, cell: Cell) -> float | None:
        """The median of runs like this one, of other backbones where this one has none, or the expected time; else None."""
        kind = (cell.recipe_name, cell.task, cell.name)
        found = self.seconds.get(kind) or self.seconds.get(kind[:2])
        if found:
            return median(found)
        expected = self.expected_s.get(kind[:2])
        return None if expected is None else expected * self.pace

    @property
    def pace(self) -> float:
        """Measured by expected seconds, of the kinds of runs that have both; 1 where none has."""
        both = [(median(found), self.expected_s[kind]) for kind in self.expected_s if (found := self.seconds.get(kind))]
        return sum(one for one, _ in both) / sum(other for _, other in both) if both else 1.0

    def total(self, cells: Iterable[Cell]) -> tuple[float, int]:
        """Seconds of all cells, those without a record at the mean of the others; and the number of those without one."""
        found = [self.of(cell) for cell in cells]
        known = [seconds for seconds in found if seconds is not None]
        unknown = len(found) - len(known)
        return sum(known) + (unknown * sum(known) / len(known) if known else 0.0), unknown


def estimates(
    folders: Sequence[Path],
    cells: Iterable[Cell] = (),
    state: SweepFolder | None = None,
    expected_s: Mapping[tuple[str, str], float] | None = None,
) -> Estimates:
    """From the results of folders that exist; of cells that a sweep ran, the time that it measured.

    Args:
        folders: of results.
        cells: that a sweep may have run.
        state: of that sweep.
        expected_s: see `Estimates`.
    """
    found = Estimates(expected_s=expected_s or {})
    measured = set()
    for cell in cells if state is not None else ():
        known = state.read(cell) if state else None
        if known is not None and known.status == "done" and not known.resumed and known.seconds:
            found.add((cell.recipe_name, cell.task, cell.name), known.seconds)
            measured.add(cell.place)
    for file in read_all([folder for folder in folders if folder.is_dir()])[0]:
        slot = file.paths
        if f"{slot.recipe}/{slot.task}/{slot.model}/{slot.seed}" not in measured:
            found.add((slot.recipe, slot.task, slot.model), _seconds(file.result))
    return found


def _seconds(result: Result) -> float:
    """Wall time of a run; of an interrupted one, training and evaluation."""
    whole = (result.finished - result.started).total_seconds()
    return max(whole, result.timing.train_s + result.timing.eval_s)


def wall_time(total: float, longest: float, jobs: int) -> float:
    """Seconds until all is done, `jobs` at a time."""
    return max(total / max(jobs, 1), longest)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds for people: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
