"""One line for the whole of `croco-bench demo`: rendering of the data, then all runs, with one estimate of the time left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Self

from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from croco_bench.display import printable
from croco_bench.progress import console, only_told
from croco_bench.sweeps.cells import Cell
from croco_bench.sweeps.estimate import clock
from croco_bench.sweeps.overview import Overview
from croco_bench.sweeps.plan import Plan

_REFRESH_S = 1.0
# So long the rendering counts as having gone as expected before it began: the first images are waited for.
_AS_EXPECTED_S = 10.0
# Of runs that nobody has timed.
_USUAL_S = 30.0


class DemoLine:
    """Draws the line in a terminal; elsewhere it only estimates.

    Args:
        plan: all runs.
        rendering_s: dataset that is to be rendered -> expected seconds of one core.
        jobs: runs at a time, and processes that render.
    """

    def __init__(self, plan: Plan, rendering_s: Mapping[str, float], jobs: int) -> None:
        self._plan, self._rendering_s, self._jobs = plan, rendering_s, jobs
        self._shares = dict.fromkeys(rendering_s, 0.0)
        self._runs_s = sum(self._seconds(cell) for cell in plan.cells)
        self._began, self._shown = time.monotonic(), 0.0
        words = TextColumn(
            "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
        )
        columns = (TextColumn("demo"), BarColumn(20), TextColumn("{task.percentage:>3.0f} %"), words)
        self._drawn = Progress(*columns, console=console, transient=True, expand=True, disable=not console.is_terminal)
        self._task = self._drawn.add_task("", total=sum(rendering_s.values()) + self._runs_s)

    def __enter__(self) -> Self:
        self._drawn.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._drawn.stop()

    @property
    def due(self) -> bool:
        """Whether the line is old."""
        return console.is_terminal and time.monotonic() - self._shown > _REFRESH_S

    def show(self, overview: Overview) -> None:
        """Draws where the runs stand."""
        at_work, ended = overview.of("running"), overview.of("done", "failed")
        done = sum(self._seconds(view.cell) for view in ended)
        for view in at_work:
            usual = overview.estimates.of(view.cell) or _USUAL_S
            done += self._seconds(view.cell) * min(view.elapsed_s / usual, 0.95)
        now = ", ".join(f"{view.cell.name} on {view.cell.task} ({view.cell.recipe_name})" for view in at_work)
        text = f"{len(ended)} of {len(overview.views)} runs done; {now}"
        self._draw(self._rendered_s + done, overview.left_s, text)

    @contextmanager
    def rendering(self, dataset: str) -> Iterator[None]:
        """Inside the block a dataset is rendered; afterwards it counts as done."""
        with only_told(lambda _title, done, total, _left: self._render(dataset, done / total)):
            yield
        self._shares[dataset] = 1.0

    def paced(self) -> Plan:
        """The plan, with expected times as long as this machine's rendering lets one expect."""
        known = {kind: seconds * self._pace for kind, seconds in self._plan.expected_s.items()}
        return replace(self._plan, expected_s=known)

    @property
    def left_s(self) -> float:
        """Seconds until all is rendered and run, as far as the rendering tells."""
        left = sum(self._rendering_s.values()) - self._rendered_s + self._runs_s
        return left / self._jobs * self._pace

    @property
    def _rendered_s(self) -> float:
        return sum(share * self._rendering_s[dataset] for dataset, share in self._shares.items())

    @property
    def _pace(self) -> float:
        """Measured by expected seconds of the rendering; near 1 before much was rendered."""
        expected = self._rendered_s / self._jobs
        return (time.monotonic() - self._began + _AS_EXPECTED_S) / (expected + _AS_EXPECTED_S) if expected else 1.0

    def _render(self, dataset: str, share: float) -> None:
        self._shares[dataset] = share
        if self.due:
            self._draw(self._rendered_s, self.left_s, f"rendering {dataset}")

    def _draw(self, done: float, left_s: float | None, text: str) -> None:
        self._shown = time.monotonic()
        left = "" if left_s is None else f"about {clock(left_s)} left; "
        self._drawn.update(self._task, completed=done, description=printable(f"{left}{text}"))

    def _seconds(self, cell: Cell) -> float:
        return self._plan.expected_s.get((cell.recipe_name, cell.task), _USUAL_S)
