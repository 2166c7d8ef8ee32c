"""`croco-bench demo`: miniature data, runs of the small backbones in this package, tables and an HTML page."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from croco_bench import report
from croco_bench.data.folders import is_miniature
from croco_bench.data.miniatures.make import make_mini
from croco_bench.errors import BenchError, UsageError
from croco_bench.files import atomic
from croco_bench.progress import log
from croco_bench.records.store import read_all
from croco_bench.sweeps.cells import Surroundings
from croco_bench.sweeps.estimate import clock
from croco_bench.sweeps.local import Machine
from croco_bench.sweeps.shares import usable_cores
from croco_bench.sweeps.state import SweepFolder
from croco_bench.sweeps.sweep import sweep
from croco_bench.tables import grid, render
from croco_bench.workflows.demo_plan import DemoPlan
from croco_bench.workflows.demo_progress import DemoLine

_MOST_JOBS = 8


def demo(out: Path, what: DemoPlan, *, jobs: int | None = None, open_page: bool = True) -> None:
    """Runs tasks on miniatures with several backbones and prints the tables. An interrupted demo goes on where it stopped.

    Args:
        out: folder for data, results and `index.html`.
        what: the runs.
        jobs: runs at a time; default: one per core, at most eight.
        open_page: open `index.html` in a browser, where there is one.

    Raises:
        BenchError: runs failed; all others are finished, and the tables printed first.
    """
    results, count = out / "results", jobs or min(usable_cores(), _MOST_JOBS)
    _announce(what, results)
    missing = {name: seconds for name, seconds in what.rendering_s.items() if not is_miniature(out / "data" / name)}
    line = DemoLine(what.sweep, missing, count)
    _render(out / "data", sorted(what.rendering_s), line)
    failed = None
    try:
        sweep(line.paced(), Surroundings(results, data_root=out / "data"), Machine(count), line)
    except UsageError:
        raise
    except BenchError as error:
        failed = error
    page = _show(results, what, out / "index.html")
    log(f"the page with all pictures: {page}")
    if failed:
        raise failed
    if open_page and _has_browser():
        webbrowser.open(page.absolute().as_uri())


def _announce(what: DemoPlan, results: Path) -> None:
    """Says what is run, what isn't, and what an earlier demo has done."""
    plan, folder = what.sweep, SweepFolder(results)
    log(f"{len(what.backbones)} backbones on {', '.join(one.label for one in what.protocols)}")
    if beside := sorted({file.result.task.name for file in what.packaged()}):
        log(f"packaged, not run here: fine-tuned results of {', '.join(beside)}")
    status = Counter(folder.view(cell).status for cell in plan.cells)
    if status["waiting"] < len(plan.cells):
        begun = status["stopped"] + status["lost"]
        interrupted = f"; {begun} were interrupted and go on where they last saved" if begun else ""
        log(f"an earlier demo goes on: {status['done']} of {len(plan.cells)} runs are done{interrupted}")
    log("Ctrl-C stops it; the same command goes on")


def _render(data: Path, datasets: Sequence[str], line: DemoLine) -> None:
    """Writes the miniatures that aren't there."""
    with line:
        for name in datasets:
            if is_miniature(data / name):
                make_mini(data, datasets=[name])  # refuses one with other settings
                continue
            with line.rendering(name):
                make_mini(data, datasets=[name])
            log(f"         about {clock(line.left_s)} left")


def _show(results: Path, what: DemoPlan, page: Path) -> Path:
    """Prints the tables and writes the page; of all results in the folder, and of packaged ones where there are none."""
    found, complaints = read_all([results])
    grids = grid.build([*found, *what.packaged(found)], ())
    print(render.text(grids, complaints, "terminal"))
    with atomic(page) as temporary:
        temporary.write_text(report.page(grids, complaints), encoding="utf-8")
    return page


def _has_browser() -> bool:
    """Whether somebody looks at a terminal on a desktop: a browser of text would take the terminal."""
    desktop = sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
    return desktop and sys.stderr.isatty()
