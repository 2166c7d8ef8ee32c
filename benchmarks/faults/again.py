"""The same command again in other circumstances: every file equal."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.bench import Bench
from benchmarks.faults.commands import COMMANDS


@dataclass(frozen=True)
class Circumstance:
    """What differs from the undisturbed run.

    Attributes:
        environment: variables; `{folder}` is the place's folder.
        prepare: what a process does before the command.
        workers: the number of worker processes, if it is another one.
    """

    environment: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[], object] | None = None
    workers: int | None = None


CIRCUMSTANCES = {
    "again": Circumstance(),
    "hash seed 1": Circumstance({"PYTHONHASHSEED": "1"}),
    "hash seed 2": Circumstance({"PYTHONHASHSEED": "2"}),
    "other number of workers": Circumstance(workers=3),
    "TMPDIR with é and a space": Circumstance({"TMPDIR": "{folder}/tmp é x"}),
    "LANG=C": Circumstance({"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "time zone": Circumstance({"TZ": "Asia/Kathmandu"}),
    "umask 077": Circumstance(prepare=lambda: os.umask(0o077)),
    "no colors, 40 columns": Circumstance({"TERM": "dumb", "COLUMNS": "40", "NO_COLOR": "1"}),
}


def repeat(bench: Bench, names: Sequence[str]) -> None:
    """Every command in every circumstance, as long as there is time."""
    table = bench.table("The same again", "circumstances", "equal end")
    for circumstance in CIRCUMSTANCES:
        for name in names:
            if bench.has_time:
                table.count(name, "circumstances")
                table.count(name, "equal end", int(_is_equal(bench, name, circumstance)))
        print(f"the same again: {circumstance}", flush=True)


def _is_equal(bench: Bench, name: str, circumstance: str) -> bool:
    what = CIRCUMSTANCES[circumstance]
    place = bench.place(f"{name} {circumstance}", what.environment)
    if temporary := place.environment.get("TMPDIR"):
        Path(temporary).mkdir()
    more = workers_of(name, what.workers) if what.workers else ()
    done = place.run(bench.line(name, *more), what.prepare)
    if done.code:
        bench.fault(place, f"{name} fails: {circumstance}", done)
    same = not done.code and bench.compare(place, name)
    bench.done_with(place)
    return same


def workers_of(name: str, workers: int) -> tuple[str, ...]:
    """Arguments that give a command another number of worker processes; none for commands without any."""
    words = COMMANDS[name].words
    if "--workers" in words:
        return ("--workers", str(workers))
    return ("--set", f"train.workers={workers}") if words[0] in ("run", "pretrain") else ()
