"""What a sweep tells while it is at work: overviews to people, and its plan and signs of life to the disk."""

from __future__ import annotations

import time
from pathlib import Path

from croco_bench.progress import log
from croco_bench.sweeps.cells import Cell
from croco_bench.sweeps.estimate import clock, estimates
from croco_bench.sweeps.overview import Display, Overview, look
from croco_bench.sweeps.plan import Plan
from croco_bench.sweeps.state import BEAT_S, SweepFolder
from croco_bench.sweeps.worker import Outcome


class Followed:
    """A context manager that shows a sweep while it is at work, and announces it on disk.

    Args:
        plan: the sweep's.
        results: where its results go.
        jobs: runs at a time.
        display: where overviews are drawn.
    """

    def __init__(self, plan: Plan, results: Path, jobs: int, display: Display) -> None:
        self._cells, self._jobs, self._display = plan.cells, jobs, display
        self._folder = SweepFolder(results)
        self._known = estimates([results], plan.cells, self._folder, plan.expected_s)
        self._began, self._announced = time.time(), 0.0

    def __enter__(self) -> Followed:
        self._display.__enter__()
        self.look()
        return self

    def __exit__(self, *_: object) -> None:
        self._display.__exit__()
        self._folder.announce(self._cells, self._jobs, self._began)

    def look(self) -> None:
        """Called several times per second."""
        if time.time() - self._announced > BEAT_S:
            self._announced = time.time()
            self._folder.announce(self._cells, self._jobs, self._began)
        if self._display.due:
            self._display.show(self._overview())

    def tell(self, cell: Cell, outcome: Outcome) -> None:
        """Called when a run ends."""
        state = self._folder.read(cell)
        if outcome.status == "done" and state is not None and not state.resumed and state.seconds:
            self._known.add((cell.recipe_name, cell.task, cell.name), state.seconds)
        took = f" in {clock(outcome.seconds)}" if outcome.seconds is not None else ""
        text = f"  {outcome.text}" if outcome.text else ""
        log(f"{outcome.status:<8} {cell.label}{text}{took}\n         {self._overview().counts()}")

    def _overview(self) -> Overview:
        return look(self._folder, self._cells, self._jobs, self._known)
