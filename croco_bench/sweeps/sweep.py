"""`croco-bench sweep`: works through a plan; what is done is skipped, what was interrupted goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from croco_bench.backbones.locate import parse_source
from croco_bench.errors import BenchError
from croco_bench.progress import log
from croco_bench.sweeps.cells import Cell, Surroundings
from croco_bench.sweeps.cluster import Cluster, ClusterSweep
from croco_bench.sweeps.estimate import Estimates, clock, estimates, wall_time
from croco_bench.sweeps.following import Followed
from croco_bench.sweeps.local import LocalSweep, Machine, Progress
from croco_bench.sweeps.overview import Display, Overview, Screen, look
from croco_bench.sweeps.plan import Plan
from croco_bench.sweeps.shares import Share, cores_per_job, share_out
from croco_bench.sweeps.state import SweepFolder, require_folder, signature, silent
from croco_bench.sweeps.worker import Task


@dataclass(frozen=True)
class Rest:
    """The runs of a plan that are done, and those that are to be done.

    Attributes:
        tasks: to be done; a result that no sweep has recorded is among them, and its run ends once it is set up.
        done: number of runs with a result.
    """

    tasks: tuple[Task, ...]
    done: int


def rest_of(plan: Sequence[Cell], around: Surroundings) -> Rest:
    """What is left to do. Runs that read the same share the work of looking."""
    folder = SweepFolder(around.results)
    tasks = [Task(cell, signature(cell, around)) for cell in plan]
    if around.verify:
        return Rest(tuple(tasks), 0)
    left = tuple(task for task in tasks if not folder.finished(task.cell, task.signature))
    return Rest(left, len(tasks) - len(left))


def sweep(plan: Plan, around: Surroundings, on: Machine | Cluster, display: Display | None = None) -> None:
    """Does all runs of a plan that have no result yet.

    Args:
        plan: the runs.
        around: what they share.
        on: this machine, or a cluster to which jobs are submitted.
        display: where overviews are drawn; None: on the terminal, all runs at work and all failures.

    Raises:
        UsageError: the device or the cluster isn't there, or options don't go together.
        BenchError: runs failed; all others are finished first.
        Stopped: a signal came; the runs at work were saved.
    """
    shares = _shares(on.jobs, plan, around) if isinstance(on, Machine) else []
    rest = rest_of(plan.cells, around)
    log(_head(plan, shares, rest))
    if not rest.tasks:
        return
    progress = Progress([task.cell for task in rest.tasks])
    jobs = len(shares) or on.jobs or len(rest.tasks)
    with Followed(plan, around.results, jobs, display or Screen()) as one:
        if isinstance(on, Machine):
            LocalSweep(rest.tasks, shares, around, progress, one.tell, one.look, on.retries).run()
        else:
            ClusterSweep(rest.tasks, on, around, progress, one.tell, one.look).run()
    _tell_failures(progress)


def _shares(jobs: int | None, plan: Plan, around: Surroundings) -> list[Share]:
    return share_out(jobs, around.device, around.processes, cores_per_job(plan.cells))


def _head(plan: Plan, shares: Sequence[Share], rest: Rest) -> str:
    counts = f"{len(plan.cells)} runs: {rest.done} done, {len(rest.tasks)} to do"
    if not rest.tasks or not shares:
        return counts
    count = min(len(shares), len(rest.tasks))
    on = {share.gpus for share in shares if share.gpus}
    cores = f"{shares[0].cores} core{'s' if shares[0].cores > 1 else ''} each"
    return f"{counts}, {count} at a time, {cores}" + (f" on {len(on)} GPUs" if on else "")


def _tell_failures(progress: Progress) -> None:
    """Lists failed runs by their reasons, and raises an error where there are some."""
    reasons: dict[str, list[str]] = {}
    for cell, outcome in progress.failed:
        reasons.setdefault(outcome.text, []).append(cell.label)
    for text, labels in reasons.items():
        log(f"failed: {', '.join(labels)}: {text}")
    if reasons:
        raise BenchError(
            f"{len(progress.failed)} of {len(progress.cells)} runs failed",
            "what they printed is in .sweep/logs below the results; the same command tries them again",
        )


def dry_run(plan: Plan, around: Surroundings, *, jobs: int | None = None, times_from: Iterable[Path] = ()) -> str:
    """The runs that are left, the checkpoints that they lack, and the time, from records of runs in these folders, too."""
    shares = _shares(jobs, plan, around)
    rest = rest_of(plan.cells, around)
    known = estimates([around.results, *times_from], plan.cells, SweepFolder(around.results))
    there = {task.cell for task in rest.tasks if task.cell.paths(around.results).json.is_file()}
    lines = [f"{_time(known, task.cell, there):>9}  {task.cell.label}" for task in rest.tasks]
    new = [task.cell for task in rest.tasks if task.cell not in there]
    whole = [_whole_time(known, new, len(shares))] if new else []
    return "\n".join([_head(plan, shares, rest), *lines, *_missing(rest), *whole])


def _missing(rest: Rest) -> list[str]:
    """A line for each checkpoint whose file isn't there."""
    runs = Counter(task.cell.ckpt for task in rest.tasks if not task.cell.ckpt.startswith("classical:"))
    sources = [parse_source(ckpt) for ckpt in runs]
    gone = [one for one in sources if (file := one.weights or one).kind == "file" and not Path(file.name).exists()]
    return [f"{one.text}: no such file or folder; its runs would fail ({runs[one.text]})" for one in gone]


def _whole_time(known: Estimates, cells: Sequence[Cell], jobs: int) -> str:
    total, unknown = known.total(cells)
    if not total:
        return "no run like these has a record, so nobody knows how long they take"
    left = wall_time(total, max(known.of(cell) or 0.0 for cell in cells), min(jobs, len(cells)))
    note = f"; {unknown} runs without a record count as the mean of the others" if unknown else ""
    return f"about {clock(left)}{note}"


def _time(known: Estimates, cell: Cell, there: Set[Cell]) -> str:
    if cell in there:
        return "checked"
    seconds = known.of(cell)
    return "?" if seconds is None else clock(seconds)


def status(results: Path, plan: Plan | None = None, *, every: bool = False) -> Overview:
    """The overview of the sweeps over a folder of results, from its files: of those at work, or else of the last one.

    Args:
        results: the folder.
        plan: only its runs.
        every: all sweeps that were ever started there.

    Raises:
        RecordError: no sweep was started there.
    """
    require_folder(results)
    folder = SweepFolder(results)
    known = folder.plans()
    at_work = [one for one in known if not silent(one)]
    chosen = known if every else at_work or known[:1]
    named = {cell.place: cell for one in reversed(chosen) for cell in one.cells}
    cells = plan.cells if plan else tuple(named.values())
    return look(folder, cells, sum(one.jobs for one in at_work) or 1, estimates([results], cells, folder))
