"""Commands on two processes (torchrun, gloo): scores equal those of one process; a killed process costs nothing."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.faults.bench import Bench, Table
from benchmarks.faults.commands import DISTRIBUTED
from benchmarks.faults.ends import differences, end_of

_TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
# Images per evaluation; None: all.
_LIMITS = (None, 5, 1)


def distribute(bench: Bench) -> None:
    """Evaluations on one and two processes, and trainings of which either process is killed."""
    table = bench.table("Two processes", "evaluations", "equal scores", "killed", "equal end")
    for name in DISTRIBUTED:
        if bench.has_time:
            _evaluate(bench, table, name)
    for rank in (0, 1):
        if bench.has_time:
            _kill(bench, table, DISTRIBUTED[0], rank)


def two(line: list[str]) -> list[str]:
    """A command line on two processes."""
    return [sys.executable, *_TORCHRUN, *line[1:]]


def _evaluate(bench: Bench, table: Table, name: str) -> None:
    place = bench.place(f"{name} weights")
    place.run(bench.line(name))
    weights = next(place.end.rglob("weights.safetensors"))
    for limit in _LIMITS:
        more = ("--eval-only", "--name", "scored", "--ckpt", str(weights), *(("--limit", str(limit)) if limit else ()))
        found = []
        for processes in (1, 2):
            here, line = bench.place(f"{name} on {processes}"), bench.line(name, *more)
            done = here.run(line if processes == 1 else two(line))
            if done.code:
                bench.fault(here, f"{name} fails on {processes} processes", done)
            found.append(scores(here.end))
            bench.done_with(here)
        table.count(name, "evaluations")
        if found[0] == found[1] and found[0]:
            table.count(name, "equal scores")
        else:
            bench.fault(place, f"{name}: scores of two processes differ, limit {limit}")
    print(f"{name}: two processes", flush=True)
    bench.done_with(place)


def scores(folder: Path) -> dict[str, Any]:
    """Metrics with their intervals, and the digest of the values per image, of every result below a folder."""
    results = sorted(folder.glob("work/results/*/*/*/seed*.json"))
    metrics = {path.name: json.loads(path.read_text(encoding="utf-8"))["metrics"] for path in results}
    rows = {name: digest for name, digest in end_of(folder).items() if name.endswith(".npz")}
    return {**metrics, **rows}


def _kill(bench: Bench, table: Table, name: str, rank: int) -> None:
    """Kills one of two processes at a random moment; the same command then ends as an undisturbed one."""
    line = two(bench.line(name))
    calm, place = bench.place(f"{name} on 2"), bench.place(f"{name} on 2 rank {rank}")
    done = calm.run(line)
    child, moment = place.start(line), time.monotonic() + bench.rng.uniform(0.5, 0.95) * done.seconds
    while child.poll() is None and time.monotonic() < moment:
        time.sleep(0.01)
    for number in place.alive(f"RANK={rank}"):
        os.kill(number, signal.SIGKILL)
        table.count(name, "killed")
    child.end()
    last = place.run(line)
    if left := place.helpers():
        bench.fault(place, f"{name} leaves processes {left}")
    different = differences(end_of(calm.end), end_of(place.end))
    if last.code or different:
        bench.fault(place, f"{name} ends otherwise after rank {rank} was killed: {'; '.join(different[:8])}", last)
    else:
        table.count(name, "equal end")
    bench.done_with(place)
    bench.done_with(calm)
