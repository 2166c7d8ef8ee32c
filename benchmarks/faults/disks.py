"""Disks that are too small: the command says so in one sentence, and ends as it should once there is space."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.faults.bench import Bench, Table
from benchmarks.faults.processes import Place

_PAGE = 4096


def fill(bench: Bench, names: Sequence[str], sizes: int) -> None:
    """Runs every command on so many disks of random sizes below that of its end."""
    table = bench.table("Full disks", "sizes", "one sentence", "fitted", "else", "equal end")
    for _ in range(sizes):
        for name in names:
            if bench.has_time:
                _try(bench, table, name, bench.rng.random())
    print(f"full disks by {'tmpfs' if can_mount() else 'a limit on the size of files'}", flush=True)


def _try(bench: Bench, table: Table, name: str, share: float) -> None:
    reference = bench.reference(name)
    place = bench.place(f"{name} disk")
    small = round((0.02 + 1.2 * share) * reference.size / _PAGE + 4) * _PAGE
    table.count(name, "sizes")
    with _disk(place, small) as (limit, enlarge):
        first = place.run(bench.line(name), limit)
        if first.code == 0:
            table.count(name, "fitted")
        elif first.is_sentence:
            table.count(name, "one sentence")
        else:
            table.count(name, "else")
            bench.fault(place, f"{name} on a disk of {small} bytes doesn't end in one sentence", first)
        enlarge()
        last = place.run(bench.line(name))
        if last.code:
            bench.fault(place, f"{name} doesn't go on after a full disk of {small} bytes", last)
        elif bench.compare(place, name):
            table.count(name, "equal end")
    print(f"{name}: disk of {small} bytes", flush=True)
    bench.done_with(place)


@contextmanager
def _disk(place: Place, size: int) -> Iterator[tuple[Callable[[], object] | None, Callable[[], None]]]:
    """A place on a small disk: what limits a process, if the disk itself doesn't, and what makes the disk large."""
    if not can_mount():
        yield (lambda: _limit_files(size // 4)), lambda: None
        return
    # One file system for results and cache; temporary files of the system are elsewhere.
    end = str(place.end)
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", end)
    try:
        for name in ("work", "cache"):
            (place.end / name).mkdir()
        yield None, lambda: _mount("-o", "remount,size=1g", end)
    finally:
        subprocess.run(["umount", "--lazy", end], check=True)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def can_mount() -> bool:
    """Whether this process may mount a tmpfs: root outside of most containers."""
    if os.geteuid() != 0:
        return False
    status = Path("/proc/self/status").read_text(encoding="ascii")
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1]
    return bool(int(effective, 16) & 1 << 21)  # CAP_SYS_ADMIN


def _limit_files(size: int) -> None:
    """In a new process: no file can grow beyond `size` bytes; the write fails, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
