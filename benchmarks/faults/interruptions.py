"""Commands stopped by signals at random moments, gone on with by the same command, and compared at the end."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

from benchmarks.faults.bench import Bench, Table
from benchmarks.faults.processes import Child, Ended, Place

SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SIGUSR1": signal.SIGUSR1}
_MOST_KILLS = 3
# Before the program has started, Python itself answers a signal.
_STARTING_S = 2.0


def interrupt(bench: Bench, names: Sequence[str], kills: int) -> None:
    """Chains of one to three interruptions and a last, undisturbed run, until `kills` signals have been sent."""
    table = bench.table("Signals at random moments", *SIGNALS, "chains", "equal end", "helpers left", "left in TMPDIR")
    sent = chain = 0
    while sent < kills and bench.has_time:
        sent += _chain(bench, table, names[chain % len(names)], bench.rng.randint(1, _MOST_KILLS))
        chain += 1


def _chain(bench: Bench, table: Table, name: str, kills: int) -> int:
    """Interrupts one command up to `kills` times, then lets it end. Returns the number of signals sent."""
    reference, place, sent = bench.reference(name), bench.place(name), 0
    for _ in range(kills):
        # Half of them SIGKILL, which nothing can answer; three in four after the first file is there.
        kind = "SIGKILL" if bench.rng.random() < 0.5 else bench.rng.choice(list(SIGNALS))
        earliest = reference.quiet_s if bench.rng.random() < 0.75 else 0.0
        moment = bench.rng.uniform(earliest, 0.95 * reference.seconds)
        child = place.start(bench.line(name))
        hit = strike(place, child, time.monotonic() + moment, SIGNALS[kind], aimed=bench.rng.random() < 0.4)
        over = child.end()
        if not hit:
            break
        sent += 1
        table.count(name, kind)
        _judge(bench, place, name, kind, over)
        _look_for_helpers(bench, table, place, name)
    last = place.run(bench.line(name))
    table.count(name, "chains")
    if last.code:
        bench.fault(place, f"{name} can't go on after {sent} signals", last)
    elif bench.compare(place, name):
        table.count(name, "equal end")
    _look_for_helpers(bench, table, place, name)
    table.count(name, "left in TMPDIR", len(list((place.folder / "tmp").iterdir())))
    print(f"{name}: {sent} signals", flush=True)
    bench.done_with(place)
    return sent


def strike(place: Place, child: Child, moment: float, number: signal.Signals, *, aimed: bool = False) -> bool:
    """Sends a signal at a moment of `time.monotonic()`; an aimed one waits a little for a temporary file.

    Returns:
        Whether the process was still at work.
    """
    while child.poll() is None and time.monotonic() < moment:
        time.sleep(0.002)
    while child.poll() is None and aimed and time.monotonic() < moment + 2.0 and not place.temporary_files():
        time.sleep(0.001)
    if child.poll() is not None:
        return False
    child.send(number)
    return True


def _judge(bench: Bench, place: Place, name: str, kind: str, over: Ended) -> None:
    """A signal that can be answered gives its exit code and one sentence, or comes when the work is done."""
    number = SIGNALS[kind]
    if kind == "SIGKILL" or over.code == 0 or (over.seconds < _STARTING_S and over.code in (-number, 128 + number)):
        return
    said = f"stopped by {kind}" in over.err
    if over.code != 128 + number or not said or "Traceback" in over.err:
        bench.fault(place, f"{name} doesn't answer {kind} as it should", over)


def _look_for_helpers(bench: Bench, table: Table, place: Place, name: str) -> None:
    if left := place.helpers():
        table.count(name, "helpers left", len(left))
        bench.fault(place, f"{name} leaves processes {left}")
