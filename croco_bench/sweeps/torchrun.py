"""One run on several processes, by torchrun."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from croco_bench.errors import BenchError, OtherResultError, Stopped
from croco_bench.records.schema import Result
from croco_bench.records.store import read
from croco_bench.sweeps.cells import Cell, Surroundings


def command(cell: Cell, around: Surroundings, *, fresh: bool = False) -> list[str]:
    """The command line of a run."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(around.processes)]
    words += ["-m", "croco_bench", "run", cell.task, "--ckpt", cell.ckpt, "--name", cell.name, "--recipe", cell.recipe]
    words += ["--seed", str(cell.seed), "--results", str(around.results), "--device", around.device.partition(":")[0]]
    words += [] if around.data_root is None else ["--data-root", str(around.data_root)]
    words += [] if cell.limit is None else ["--limit", str(cell.limit)]
    words += ["--fresh"] if fresh else []
    return [*words, *(word for change in cell.changes for word in ("--set", change))]


def run_together(cell: Cell, around: Surroundings, log: Path, *, fresh: bool = False) -> Result:
    """Does a run on `around.processes` processes, which print into `log`; `fresh`: it starts over.

    Raises:
        OtherResultError: starting over helps.
        BenchError: it failed.
        Stopped: a signal came; the processes have saved.
    """
    line, before = command(cell, around, fresh=fresh), log.stat().st_size
    with subprocess.Popen(line, stdin=subprocess.DEVNULL, preexec_fn=_obey_signals) as process:
        try:
            code = process.wait()
        except Stopped:
            process.terminate()  # torchrun passes it on
            process.wait()
            raise
    if code:
        printed = log.read_bytes()[before:].decode("utf-8", "replace")
        said = [line.partition("croco-bench: ")[2] for line in printed.splitlines() if line.startswith("croco-bench: ")]
        what, _, advice = said[-1].rpartition("; ") if said else ("", "", "")
        if "--fresh" in advice:
            raise OtherResultError(what, advice)
        raise BenchError(said[-1] if said else f"torchrun ended with exit code {code}", f"see {log}")
    return read(cell.paths(around.results).json)


def _obey_signals() -> None:
    """Signals that this process ignores would be ignored by those that it starts, too, and they couldn't be asked to save."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
