"""A process that does one run after another. It is forked from a process that has imported torch already.

It ends when its pipe says so or closes, that is, also when the process of the sweep was killed; the run at work then finishes
its step and saves. It has a session of its own and ignores the signals that a terminal or a cluster sends to all processes:
the process of the sweep gets them, too, and two of them would end a run without a save.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Literal

from croco_bench import registry
from croco_bench.backbones.locate import parse_source
from croco_bench.errors import BenchError, BusyError, OtherResultError, Stopped
from croco_bench.progress import log
from croco_bench.records.schema import Result
from croco_bench.sweeps.cells import Cell, Surroundings
from croco_bench.sweeps.reporter import Reporter
from croco_bench.sweeps.shares import Share
from croco_bench.sweeps.state import SweepFolder
from croco_bench.sweeps.torchrun import run_together

# Nobody else sends it to a process without a terminal.
_STOP = signal.SIGHUP
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@dataclass(frozen=True)
class Task:
    """A run to do; `signature` as in `CellState`."""

    cell: Cell
    signature: str


@dataclass(frozen=True)
class Outcome:
    """How a run ended; `text` is the headline, or what went wrong; `seconds` of a run that this sweep did.

    `busy`: another process is at work on it. `died`: the process of the run ended without a word.
    """

    status: Literal["done", "failed", "stopped", "busy", "died"]
    text: str = ""
    seconds: float | None = None


class Worker:
    """The loop of the process. A thread reads the pipe into `inbox`; None asks to end."""

    def __init__(self, pipe: Connection, around: Surroundings) -> None:
        self._pipe, self._around = pipe, around
        self.inbox: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._at_work = self._stopping = False
        self._folder = SweepFolder(around.results)
        threading.Thread(target=self._listen, daemon=True).start()

    def loop(self) -> None:
        """Does runs until it is asked to end, or one fails: what that leaves in memory goes with the process."""
        while (task := self.inbox.get()) is not None:
            outcome = self._do(task)
            self._pipe.send(outcome)
            if outcome.status in ("failed", "stopped"):
                return

    def _listen(self) -> None:
        task: Task | None = None
        while True:
            try:
                task = self._pipe.recv()
            except (EOFError, OSError):
                task = None
            self._stopping = task is None
            self.inbox.put(task)
            if self._stopping:
                if self._at_work:
                    os.kill(os.getpid(), _STOP)
                return

    def _do(self, task: Task) -> Outcome:
        self._at_work = True
        try:
            if self._stopping:
                return Outcome("stopped")
            with task.cell.paths(self._around.results).lock():  # taken again, and kept, by the run
                pass
            _print_to(self._folder.log(task.cell))
            with Reporter(self._folder, task.cell, task.signature) as reporter:
                return self._reported(task.cell, reporter)
        except BusyError as error:
            return Outcome("busy", str(error))
        except BenchError as error:
            return Outcome("failed", str(error))
        finally:
            self._at_work = False

    def _reported(self, cell: Cell, reporter: Reporter) -> Outcome:
        """Does a run and writes how it ended."""
        try:
            result = self._run(cell)
        except Stopped:
            reporter.end("stopped")
            return Outcome("stopped")
        except BusyError:
            raise
        except Exception as error:
            if not isinstance(error, BenchError):
                traceback.print_exc()
            log(f"croco-bench: {_sentence(error)}")
            reporter.end("failed", _sentence(error))
            return Outcome("failed", _sentence(error))
        text = headline(result)
        reporter.end("done", text, key=str(result.settings.get("key")))
        return Outcome("done", text, reporter.seconds)

    def _run(self, cell: Cell) -> Result:
        try:
            return self._call(cell, fresh=False)
        except OtherResultError:
            if not self._around.replace:
                raise
            return self._call(cell, fresh=True)

    def _call(self, cell: Cell, *, fresh: bool) -> Result:
        if self._around.processes > 1:
            return run_together(cell, self._around, self._folder.log(cell), fresh=fresh)
        from croco_bench.runs.runner import run

        classical = cell.ckpt.partition(":")[0] == "classical"
        usual = cell.ckpt.partition(":")[2] if classical else parse_source(cell.ckpt).default_name
        checks = cell.name == usual and not self._around.replace  # that no other weights have the name
        result = run(
            cell.task,
            cell.ckpt,
            recipe=cell.recipe,
            data_root=self._around.data_root,
            results=self._around.results,
            name=None if checks else cell.name,
            seed=cell.seed,
            limit=cell.limit,
            changes=cell.changes,
            device=self._around.device.partition(":")[0],
            fresh=fresh,
        )
        assert result is not None
        return result


def serve(pipe: Connection, share: Share, around: Surroundings) -> None:
    """The main function of the process."""
    if hasattr(os, "setsid"):
        os.setsid()
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(_STOP, _raise)
    _limit(share)
    with suppress(BrokenPipeError, Stopped):
        Worker(pipe, around).loop()


def _raise(number: int, _: FrameType | None) -> None:
    raise Stopped(signal.Signals(number))


def _limit(share: Share) -> None:
    """Keeps the process to its share of cores and GPUs."""
    import torch

    os.environ["CROCO_BENCH_CORES"] = str(share.cores)
    if share.gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = share.gpus
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or share.cores))


def _print_to(path: Path) -> None:
    """Lets stdout and stderr of this process and those that it starts go to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("ab") as stream:
        stream.write(
            f"-- {time.strftime('%Y-%m-%d %H:%M:%S')} on {os.uname().nodename}, process {os.getpid()}\n".encode()
        )
        stream.flush()
        for number in (1, 2):
            os.dup2(stream.fileno(), number)


def headline(result: Result) -> str:
    """The metrics of a result that have a column in the table."""
    metrics = registry.tasks()[result.task.name].card.headline
    found = [(one, result.metrics[one.name].value) for one in metrics if one.name in result.metrics]
    return ", ".join(f"{one.label} {value:.{one.digits}f} {one.unit}".rstrip() for one, value in found)


def _sentence(error: Exception) -> str:
    if isinstance(error, OtherResultError):
        return f"{error.what}; give --results to keep both, or --replace to start over"
    if isinstance(error, BenchError):
        return str(error)
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}".rstrip(": ")
