"""The overview of a sweep: counts, time left, what runs, what failed and why. Live on a terminal, or lines in a log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from rich.live import Live
from rich.text import Text

from croco_bench.display import printable
from croco_bench.progress import console
from croco_bench.sweeps.cells import Cell
from croco_bench.sweeps.estimate import Estimates, clock, wall_time
from croco_bench.sweeps.state import Status, SweepFolder, View

_ORDER: tuple[Status, ...] = ("done", "running", "waiting", "stopped", "lost", "failed")
_REFRESH_S = 1.0
_MOST_LINES = 12


@dataclass(frozen=True)
class Overview:
    """The state of all runs of a plan, at one moment."""

    views: Sequence[View]
    jobs: int
    estimates: Estimates

    def lines(self, most: int | None = None) -> list[str]:
        """A line of counts, then a line for each run at work, and for each that failed.

        Args:
            most: lines of each kind; None: all.
        """
        running = [_running(view) for view in self.of("running")]
        others = [
            f"  {view.status:<8} {view.cell.label}: {_why(view)}" for view in self.of("failed", "lost", "stopped")
        ]
        return [self.counts(), *_first(running, most), *_first(others, most)]

    @property
    def open(self) -> bool:
        """Whether some run is at work or waits."""
        return any(view.status in ("running", "waiting") for view in self.views)

    def counts(self) -> str:
        """How many runs are where, and the time left."""
        counted = Counter(view.status for view in self.views)
        parts = [f"{counted[status]} {status}" for status in _ORDER if counted[status]]
        return f"{len(self.views)} runs: {', '.join(parts)}{self._time_left()}"

    def _time_left(self) -> str:
        if self.left_s is None:
            return ""
        _, unknown = self.estimates.total(view.cell for view in self._open)
        note = f" ({unknown} runs without a record)" if unknown else ""
        return f"; about {clock(self.left_s)} left{note}"

    @property
    def left_s(self) -> float | None:
        """Seconds until all runs have ended; None where none is left, or no run has a record."""
        open_runs = self._open
        total, _ = self.estimates.total(view.cell for view in open_runs)
        if not total:
            return None
        gone = sum(min(view.elapsed_s, self.estimates.of(view.cell) or 0.0) for view in self.of("running"))
        longest = max((self.estimates.of(one.cell) or 0.0 for one in open_runs if one.status != "running"), default=0.0)
        return wall_time(total - gone, longest, min(self.jobs, len(open_runs)))

    @property
    def _open(self) -> list[View]:
        return [view for view in self.views if view.status not in ("done", "failed")]

    def of(self, *status: Status) -> list[View]:
        """The runs of these states."""
        return [view for view in self.views if view.status in status]


def look(folder: SweepFolder, cells: Iterable[Cell], jobs: int, estimates: Estimates) -> Overview:
    """The overview as the disk shows it."""
    return Overview([folder.view(cell) for cell in cells], jobs, estimates)


def _first(lines: list[str], most: int | None) -> list[str]:
    if most is None or len(lines) <= most:
        return lines
    return [*lines[:most], f"  and {len(lines) - most} more"]


def _running(view: View) -> str:
    assert view.state is not None
    left = "" if view.state.left_s is None else f", {clock(view.state.left_s)} to its end"
    return f"  running  {view.cell.label}: {view.state.text}{left}, for {clock(view.elapsed_s)} on {view.state.host}"


def _why(view: View) -> str:
    if view.state is None or not view.state.text or view.status != "failed":
        return "the same command goes on with it"
    return view.state.text


class Display(Protocol):
    """A context manager in which overviews are drawn."""

    def __enter__(self) -> Self:
        """Begins to draw."""

    def __exit__(self, *_: object) -> None:
        """Leaves the terminal as it was."""

    @property
    def due(self) -> bool:
        """Whether the picture is old."""

    def show(self, overview: Overview) -> None:
        """Draws the overview in place of the one before."""


class Screen:
    """Shows overviews: on a terminal in place, elsewhere a line for each run that ends."""

    def __init__(self) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._shown = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    @property
    def due(self) -> bool:
        """Whether the picture is old."""
        return self._live is not None and time.monotonic() - self._shown > _REFRESH_S

    def show(self, overview: Overview) -> None:
        """Draws the overview in place of the one before."""
        if self._live:
            self._shown = time.monotonic()
            text = "\n".join(printable(line) for line in overview.lines(_MOST_LINES))
            self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
