"""Signals that reach a whole group of processes: workers leave them to their parent, and one that comes twice counts once.

Ctrl-C, `timeout`, a lost terminal and clusters signal the workers together with the process that they work for. Workers that
died of it would take away the batch that this process waits for before it saves.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

# SIGUSR1 is the usual warning of a cluster before it ends a job (Slurm's --signal).
STOPPING = frozenset(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name)
)
# `timeout` signals its child and then the child's group; torchrun forwards what its group has received already.
_SAME_S = 1.0


class Repeats:
    """Tells the first of several equal signals from those that follow at once."""

    def __init__(self) -> None:
        self._last: tuple[int, float] = (0, 0.0)

    def has(self, number: int) -> bool:
        """Notes a signal; whether the one before was the same, and came within the last second."""
        (before, then), now = self._last, time.monotonic()
        if number == before and now - then < _SAME_S:
            return True
        self._last = number, now
        return False


@contextmanager
def held_back() -> Iterator[None]:
    """Inside the block no signal of `STOPPING` arrives: this process gets it at the end, one that starts inside never."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_to_parent() -> None:
    """In a worker: no signal of `STOPPING` ends it from now on, but a SIGTERM of its parent does."""
    if not hasattr(signal, "pthread_sigmask"):
        return
    # Without `sigwaitinfo` (macOS) the sender is unknown, and any SIGTERM has to end the worker.
    waits = hasattr(signal, "sigwaitinfo")
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING if waits else STOPPING - {signal.SIGTERM})
    if waits:
        threading.Thread(target=_end_by_parent, args=(os.getppid(),), daemon=True).start()
    else:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _end_by_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)  # another exit code would be reported as a failure of the worker
