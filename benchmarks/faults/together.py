"""Several processes in one folder at once."""

from __future__ import annotations

import sys

from benchmarks.faults.bench import Bench, Table
from benchmarks.faults.ends import differences, end_of

COLUMNS = ("processes", "done", "told to wait", "else", "tables read", "equal end")
_RUN = "run nyuv2-depth"
_BUSY = ("another run is at work", "another process is writing", "another pre-training is at work")
# What the second of two identical commands does: says who is at work, or waits and finds the work done.
_TWINS = (
    "run nyuv2-depth",
    "pretrain",
    "data make-mini",
    "data make-pairs",
    "cached probe",
    "data get",
    "checkpoint by URL",
)


def start_together(bench: Bench, processes: int) -> None:
    """Runs of several seeds in one folder, read by `table` meanwhile; then identical commands."""
    table = bench.table("Processes at once", *COLUMNS)
    _seeds(bench, table, processes)
    for name in _TWINS:
        if bench.has_time:
            start_twins(bench, table, name, 2 if name != _RUN else processes)


def _seeds(bench: Bench, table: Table, processes: int) -> None:
    """Each of several runs at once has the end that it has alone."""
    row, place, alone = f"{_RUN}, seeds", bench.place("seeds at once"), bench.place("seeds one by one")
    lines = [bench.line(_RUN, "--seed", str(seed)) for seed in range(processes)]
    started = [place.start(line) for line in lines]
    while any(child.poll() is None for child in started):
        read = place.run([sys.executable, "-m", "croco_bench", "table", "--results", "results", "--format", "json"])
        table.count(row, "tables read")
        if read.code not in (0, 1) or "Traceback" in read.err or "schema" in read.err:
            bench.fault(place, "table fails while results are being written", read)
    for child in started:
        over = child.end()
        table.count(row, "processes")
        table.count(row, "else" if over.code else "done")
        if over.code:
            bench.fault(place, f"one of {processes} runs at once fails", over)
    for line in lines:
        alone.run(line)
    if different := differences(end_of(alone.end), end_of(place.end)):
        bench.fault(place, f"{processes} seeds at once end otherwise: {'; '.join(different[:8])}")
    else:
        table.count(row, "equal end")
    bench.done_with(place)
    bench.done_with(alone)


def start_twins(bench: Bench, table: Table, name: str, processes: int) -> None:
    """Of identical commands one works; the others wait, or say in one sentence who is at work."""
    place = bench.place(f"{name} twins")
    for child in [place.start(bench.line(name)) for _ in range(processes)]:
        over = child.end()
        busy = over.is_sentence and any(text in over.err for text in _BUSY)
        table.count(name, "processes")
        table.count(name, "done" if over.code == 0 else "told to wait" if busy else "else")
        if over.code and not busy:
            bench.fault(place, f"one of {processes} identical commands fails: {name}", over)
    if bench.compare(place, name):
        table.count(name, "equal end")
    print(f"{name}: {processes} at once", flush=True)
    bench.done_with(place)
