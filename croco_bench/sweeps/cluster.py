"""A sweep as jobs of a cluster, by submitit: each job does some runs just as `croco-bench sweep` does them on one machine."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from croco_bench.errors import Stopped, UsageError
from croco_bench.progress import log
from croco_bench.sweeps.cells import Cell, Surroundings
from croco_bench.sweeps.job_ends import JobEnds
from croco_bench.sweeps.local import LocalSweep, Progress, stop_signals
from croco_bench.sweeps.shares import share_out
from croco_bench.sweeps.state import SweepFolder
from croco_bench.sweeps.worker import Outcome, Task

_LOOK_S = 1.0
# submitit asks for a warning 90 s before the end; Slurm may give it a minute earlier.
_LEAST_MIN = 5
_NAMES = {
    "time": "timeout_min",
    "partition": "slurm_partition",
    "account": "slurm_account",
    "qos": "slurm_qos",
    "constraint": "slurm_constraint",
    "mem": "slurm_mem",
    "gpus": "gpus_per_node",
    "cpus": "cpus_per_task",
}


@dataclass(frozen=True)
class Cluster:
    """Where jobs go.

    Attributes:
        executor: `slurm`, or `submitit-local`, which starts the same jobs as processes of this machine.
        options: of Slurm by the names of its own options (`partition`, `account`, `time`, `mem`, …), as texts.
        jobs: most jobs at a time; None: as many as the cluster gives.
        per_job: runs that one job does.
        at_a_time: runs that a job does at the same time; None: one per GPU, or one per four cores.
        resubmits: how often a job that died is submitted again.
    """

    executor: Literal["slurm", "submitit-local"]
    options: Mapping[str, str] = field(default_factory=dict)
    jobs: int | None = None
    per_job: int = 1
    at_a_time: int | None = None
    resubmits: int = 2


@dataclass
class ClusterJob:
    """What a job does: submitit pickles it, calls it there, and asks for `checkpoint` before the job's time is over."""

    tasks: tuple[Task, ...]
    around: Surroundings
    at_a_time: int | None

    def __call__(self) -> None:
        """Does the runs; how each ended is in its state file."""
        shares = share_out(self.at_a_time, self.around.device, self.around.processes)
        progress = Progress([task.cell for task in self.tasks])
        self._work = LocalSweep(self.tasks, shares, self.around, progress, _print, lambda: None)
        self._work.run()

    def checkpoint(self) -> Any:
        """Saves the runs at work; the job is submitted again and goes on with them."""
        from submitit.helpers import DelayedSubmission

        self._work.save_and_end()
        return DelayedSubmission(ClusterJob(self.tasks, self.around, self.at_a_time))

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_work"}


def _print(cell: Cell, outcome: Outcome) -> None:
    log(f"{outcome.status:<8} {cell.label}  {outcome.text}".rstrip())


@dataclass
class ClusterSweep:
    """Submits jobs, follows them, and submits those that died again.

    Attributes:
        tasks: the runs.
        cluster: where jobs go.
        around: what all runs share.
        progress: is kept up to date.
        tell: called with the cell and the outcome of each run that ends.
        look: called about every second.
    """

    tasks: Sequence[Task]
    cluster: Cluster
    around: Surroundings
    progress: Progress
    tell: Callable[[Cell, Outcome], None]
    look: Callable[[], None]

    def run(self) -> None:
        """Waits until all jobs have ended.

        Raises:
            Stopped: a signal came; the jobs were cancelled, and their runs save.
        """
        self._folder, ends = SweepFolder(self.around.results), JobEnds(slurm=self.cluster.executor == "slurm")
        self._before = {task.cell.place: self._folder.read(task.cell) for task in self.tasks}
        executor = _executor(self._folder.root / "jobs", self.cluster)
        parts = list(_parts(self.tasks, self.cluster.per_job))
        open_jobs = [(job, part, 0) for job, part in self._submit(executor, parts)]
        with stop_signals() as received:
            while open_jobs and not received:
                time.sleep(_LOOK_S)
                self.look()
                over = ends.over([job for job, _, _ in open_jobs])
                self._take_states()
                ended = [one for one in open_jobs if one[0] in over]
                open_jobs = [one for one in open_jobs if one[0] not in over]
                for _, part, tries in ended:
                    open_jobs += self._again(executor, part, tries)
            if received:
                for job, _, _ in open_jobs:
                    job.cancel()
                raise Stopped(received[0])

    def _submit(self, executor: Any, parts: Sequence[tuple[Task, ...]]) -> list[tuple[Any, tuple[Task, ...]]]:
        """An array of jobs, one for each part."""
        with executor.batch():
            jobs = [executor.submit(ClusterJob(part, self.around, self.cluster.at_a_time)) for part in parts]
        log(f"submitted {len(jobs)} jobs: {', '.join(job.job_id for job in jobs[:8])}{', …' if len(jobs) > 8 else ''}")
        return list(zip(jobs, parts, strict=True))

    def _again(self, executor: Any, part: tuple[Task, ...], tries: int) -> list[tuple[Any, tuple[Task, ...], int]]:
        """The job of those runs of a dead one that haven't ended, submitted again; nothing where all have."""
        for task in part:
            if task.cell.place not in self.progress.ended and self._folder.finished(task.cell, task.signature):
                self._close(task.cell, Outcome("done", "by another sweep"))
        left = tuple(task for task in part if task.cell.place not in self.progress.ended)
        if not left:
            return []
        if tries < self.cluster.resubmits:
            log(f"a job died before {len(left)} of its runs had ended; it is submitted again")
            return [(job, part, tries + 1) for job, part in self._submit(executor, [left])]
        for task in left:
            outcome = Outcome("failed", f"its job died {tries + 1} times; see .sweep/jobs below the results")
            self._folder.close(task.cell, "failed", outcome.text)
            self._close(task.cell, outcome)
        return []

    def _take_states(self) -> None:
        """Notes runs that have ended since the last look."""
        for task in self.tasks:
            if task.cell.place in self.progress.ended:
                continue
            state = self._folder.read(task.cell)
            if state is None or state == self._before[task.cell.place]:
                continue
            if state.status == "done":
                self._close(task.cell, Outcome("done", state.text, state.seconds))
            elif state.status == "failed":
                self._close(task.cell, Outcome("failed", state.text))

    def _close(self, cell: Cell, outcome: Outcome) -> None:
        self.progress.ended[cell.place] = outcome
        self.tell(cell, outcome)


def _parts(tasks: Sequence[Task], size: int) -> Iterator[tuple[Task, ...]]:
    for first in range(0, len(tasks), size):
        yield tuple(tasks[first : first + size])


def _executor(folder: Path, cluster: Cluster) -> Any:
    """submitit's executor with the options.

    Raises:
        UsageError: submitit or Slurm isn't there, or an option is wrong.
    """
    try:
        import submitit
    except ImportError as error:
        raise UsageError(
            f"--executor {cluster.executor} needs the submitit package", "pip install 'croco-bench[slurm]'"
        ) from error
    kind, found = "slurm" if cluster.executor == "slurm" else "local", parameters(cluster)
    if kind == "slurm" and found["timeout_min"] < _LEAST_MIN:
        raise UsageError(
            f"--time {cluster.options['time']} leaves a job no time to work, as Slurm warns it some two minutes before the end",
            f"give {_LEAST_MIN} minutes or more",
        )
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=kind)
        executor.update_parameters(**found)
    except (RuntimeError, ValueError, TypeError, NameError) as error:
        raise UsageError(
            f"submitit refuses the cluster or an option: {' '.join(str(error).split())[:400]}",
            "see sbatch --help and docs/sweep.md",
        ) from error
    return executor


def parameters(cluster: Cluster) -> dict[str, Any]:
    """The options by submitit's names; those that it doesn't know go to sbatch as they are.

    Raises:
        UsageError: a time or a number can't be read.
    """
    found: dict[str, Any] = {"timeout_min": 24 * 60, "slurm_job_name": "croco-bench"}
    more: dict[str, str] = {}
    for key, value in cluster.options.items():
        if key == "time":
            found["timeout_min"] = _minutes(value)
        elif key in ("gpus", "cpus"):
            if not value.isdecimal():
                raise UsageError(f"--{key} {value} isn't a whole number")
            found[_NAMES[key]] = int(value)
        elif key in _NAMES:
            found[_NAMES[key]] = value
        else:
            more[key] = value
    if more:
        found["slurm_additional_parameters"] = more
    if cluster.jobs:
        found["slurm_array_parallelism"] = cluster.jobs
    return found


def _minutes(text: str) -> int:
    """Slurm's forms of a time: MINUTES, MINUTES:SECONDS, HOURS:MINUTES:SECONDS, DAYS-HOURS, DAYS-HOURS:MINUTES[:SECONDS]."""
    form = re.fullmatch(r"(?:(\d{1,4})-)?(\d{1,6})(?::(\d{1,2}))?(?::(\d{1,2}))?", text)
    if form is None:
        raise UsageError(f"--time {text} can't be read", "give minutes, HH:MM:SS or D-HH:MM")
    days, first, second, third = (int(part or 0) for part in form.groups())
    if form[1] is not None:
        return days * 24 * 60 + first * 60 + second + (third > 0)
    if form[4] is not None:
        return first * 60 + second + (third > 0)
    return max(first + (second > 0), 1)
