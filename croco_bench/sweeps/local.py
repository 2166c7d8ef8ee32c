"""Runs of a sweep on this machine, some at a time, each in a process that is forked from one that has imported torch."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import FrameType

from croco_bench import registry
from croco_bench.config.recipe import Recipe, load_task_recipe
from croco_bench.errors import Stopped
from croco_bench.signals import STOPPING, Repeats
from croco_bench.sweeps.cells import Cell, Surroundings
from croco_bench.sweeps.shares import Share
from croco_bench.sweeps.state import SweepFolder
from croco_bench.sweeps.worker import Outcome, Task, serve

# How long to wait before a run that another process does is looked at again.
_AGAIN_S = 10.0
_TICK_S = 0.25
# After a request to stop, a run may finish its step and save; then it is killed.
_GRACE_S = 300.0


@dataclass(frozen=True)
class Machine:
    """This machine does the runs.

    Attributes:
        jobs: runs at a time; None: one per GPU, or else one per four cores, or per core where all images are small.
        retries: how often a run whose process died is begun again.
    """

    jobs: int | None = None
    retries: int = 1


class Slot:
    """A place for one run at a time, with a process of its own, which is started when it is needed."""

    def __init__(self, share: Share, around: Surroundings, context: multiprocessing.context.BaseContext) -> None:
        self._share, self._around, self._context = share, around, context
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self.task: Task | None = None

    @property
    def pipe(self) -> Connection | None:
        """Where the outcome of the run at work comes; None without one."""
        return self._pipe if self.task else None

    def start(self, task: Task) -> None:
        """Begins a run."""
        if self._process is None or not self._process.is_alive():
            self.close()
            self._pipe, far = self._context.Pipe()
            self._process = self._context.Process(target=serve, args=(far, self._share, self._around))  # type: ignore[attr-defined]
            self._process.start()
            far.close()
        assert self._pipe is not None
        self.task = task
        with suppress(OSError):  # the process died between two runs: `outcome` tells
            self._pipe.send(task)

    def outcome(self) -> Outcome:
        """The outcome of the run at work, whose pipe is readable; of a process that died, that it did."""
        assert self._pipe is not None and self._process is not None
        self.task = None
        try:
            found: Outcome = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            self.close()
            return Outcome("died", _cause(code))
        if found.status in ("failed", "stopped"):  # the process ends, and with it what the run left in memory
            self.close()
        return found

    def ask_to_stop(self) -> None:
        """Lets a run finish its step and save; without one, the process ends."""
        if self._pipe is not None:
            with suppress(OSError):
                self._pipe.send(None)

    def kill(self) -> None:
        """Ends the process at once."""
        if self._process is not None:
            self._process.kill()

    def wait(self, seconds: float) -> None:
        """Waits for the process to end, for so long at most."""
        if self._process is not None:
            self._process.join(seconds)

    def close(self) -> None:
        """Ends the process, which has no run."""
        self.ask_to_stop()
        if self._process is not None:
            self._process.join(timeout=30)
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None


def _cause(code: int) -> str:
    """Why a process ended without a word."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = ", as the system does when memory is short" if -code == signal.SIGKILL else ""
    return f"its process was ended by {name}{hint}"


@dataclass
class Progress:
    """Where a sweep stands: its runs, and the outcomes by place of those that ended."""

    cells: Sequence[Cell]
    ended: dict[str, Outcome] = field(default_factory=dict)

    @property
    def failed(self) -> list[tuple[Cell, Outcome]]:
        """Failed runs and why."""
        return [(cell, self.ended[cell.place]) for cell in self.cells if self._is(cell, "failed")]

    @property
    def done(self) -> int:
        """Number of runs with a result."""
        return sum(self._is(cell, "done") for cell in self.cells)

    def _is(self, cell: Cell, status: str) -> bool:
        return cell.place in self.ended and self.ended[cell.place].status == status


@dataclass
class LocalSweep:
    """Works through tasks, `len(shares)` at a time.

    Attributes:
        tasks: in the order in which they are begun.
        shares: of cores and GPUs.
        around: what all runs share.
        progress: is kept up to date.
        tell: called with the cell and the outcome of each run that ends.
        look: called several times per second.
        retries: how often a run whose process died is begun again.
    """

    tasks: Sequence[Task]
    shares: Sequence[Share]
    around: Surroundings
    progress: Progress
    tell: Callable[[Cell, Outcome], None]
    look: Callable[[], None]
    retries: int = 1

    def __post_init__(self) -> None:
        self._folder = SweepFolder(self.around.results)
        self._queue = deque(self.tasks)
        self._later: deque[tuple[float, Task]] = deque()
        self._died: dict[str, int] = {}
        self._deadline = 0.0
        self._stopping = False

    def run(self) -> None:
        """Does all runs; failed ones stop nothing.

        Raises:
            Stopped: a signal came; all runs at work were saved.
        """
        context = _context(self.tasks, min(share.cores for share in self.shares))
        self._slots = [Slot(share, self.around, context) for share in self.shares[: len(self.tasks)]]
        with stop_signals() as received:
            try:
                while self._queue or self._later or any(slot.task for slot in self._slots):
                    self._step(received)
            finally:
                for slot in self._slots:
                    if slot.task:
                        slot.kill()
                    slot.close()
        if received:
            raise Stopped(received[0])

    def save_and_end(self) -> None:
        """Lets the runs at work save, and ends their processes; for a signal handler that interrupts `run`."""
        for slot in self._slots:
            slot.ask_to_stop()
        for slot in self._slots:
            slot.wait(_GRACE_S)

    def _step(self, received: list[signal.Signals]) -> None:
        """Begins what can be begun, waits a little, takes what has ended."""
        self._obey(received)
        for slot in self._slots:
            if slot.task is None and not self._stopping and (task := self._next()):
                slot.start(task)
        pipes = {slot.pipe: slot for slot in self._slots if slot.pipe is not None}
        if pipes:
            for pipe in multiprocessing.connection.wait(list(pipes), timeout=_TICK_S):
                self._end(pipes[pipe])  # type: ignore[index]
        else:
            time.sleep(_TICK_S)
        self.look()

    def _next(self) -> Task | None:
        """The next run that no other process is at work on."""
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            self._queue.append(self._later.popleft()[1])
        while self._queue:
            task = self._queue.popleft()
            if self._folder.view(task.cell).status == "running":
                self._postpone(task)
            elif not self.around.verify and self._folder.finished(task.cell, task.signature):
                self._close(task.cell, Outcome("done", "by another sweep"))
            else:
                return task
        return None

    def _close(self, cell: Cell, outcome: Outcome) -> None:
        self.progress.ended[cell.place] = outcome
        self.tell(cell, outcome)

    def _postpone(self, task: Task) -> None:
        self._later.append((time.monotonic() + _AGAIN_S, task))

    def _end(self, slot: Slot) -> None:
        task = slot.task
        assert task is not None
        outcome = slot.outcome()
        place = task.cell.place
        if outcome.status == "busy":
            self._postpone(task)
            return
        if outcome.status == "died" and self._stopping:
            outcome = Outcome("stopped", outcome.text)
        elif outcome.status == "died" and self._died.get(place, 0) < self.retries:
            self._died[place] = self._died.get(place, 0) + 1
            self.tell(task.cell, Outcome("died", f"{outcome.text}; it is begun again"))
            self._queue.appendleft(task)
            return
        elif outcome.status == "died":
            outcome = Outcome("failed", outcome.text)
        if outcome.status in ("failed", "stopped"):
            self._folder.close(task.cell, outcome.status, outcome.text)
        self._close(task.cell, outcome)

    def _obey(self, received: list[signal.Signals]) -> None:
        """After the first signal, asks all runs to stop; after the second one, kills them."""
        if received and not self._stopping:
            self._stopping, self._deadline = True, time.monotonic() + _GRACE_S
            self._queue.clear()
            self._later.clear()
            for slot in self._slots:
                slot.ask_to_stop()
        if self._stopping and (len(received) > 1 or time.monotonic() > self._deadline):
            for slot in self._slots:
                slot.kill()


def _context(tasks: Sequence[Task], cores: int) -> multiprocessing.context.BaseContext:
    """Starts the process from which workers are forked: it imports torch and what the tasks need, once.

    Where the system has no such thing, every worker imports them.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    multiprocessing.set_forkserver_preload(["croco_bench.runs.runner", *sorted(_modules(tasks))])
    with _threads(cores):
        forkserver.ensure_running()
    return multiprocessing.get_context("forkserver")


def _modules(tasks: Sequence[Task]) -> set[str]:
    """The modules of tasks and heads, which runs import by name."""
    targets = {registry.tasks()[task.cell.task].card.target for task in tasks}
    for cell in {(task.cell.task, task.cell.recipe, task.cell.changes) for task in tasks}:
        recipe = load_task_recipe(*cell)
        if isinstance(recipe, Recipe):
            targets.add(registry.heads()[recipe.head.name].card.target)
    return {target.partition(":")[0] for target in targets}


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Sets the number of threads of numerical libraries for processes that start inside the block, unless the user did."""
    names = [name for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS") if name not in os.environ]
    os.environ.update(dict.fromkeys(names, str(count)))
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]


@contextmanager
def stop_signals() -> Iterator[list[signal.Signals]]:
    """Inside the block signals that end a process are only noted. Signals that the process ignores stay ignored."""
    received: list[signal.Signals] = []
    before, repeats = {}, Repeats()

    def receive(number: int, _: FrameType | None) -> None:
        if not repeats.has(number):
            received.append(signal.Signals(number))

    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
