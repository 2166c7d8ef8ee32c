"""Process pools that end with their parent process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import parent_process, resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess

from croco_bench.signals import held_back, leave_to_parent

# Advice for callers from Python: each process of a pool imports the script, and without the guard would start a pool, too.
IN_A_SCRIPT = "; in a script of your own, call it below if __name__ == '__main__'"


class _Process(SpawnProcess):
    """A process that no signal to its group ends while it starts."""

    def start(self) -> None:
        """See `multiprocessing.Process.start`."""
        resource_tracker.ensure_running()  # its first start lets signals through
        with held_back():
            super().start()


class _Spawn(SpawnContext):
    Process = _Process


@contextmanager
def process_pool(workers: int) -> Iterator[Executor]:
    """A pool of spawned processes, as forking is unsafe with torch's threads. An error in the block cancels pending jobs."""
    with ProcessPoolExecutor(workers, _Spawn(), end_with_parent) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # leaving the block would wait for all pending jobs
            raise


def end_with_parent() -> None:
    """Initialises a process of a pool: it exits when the parent has ended, even if it was killed, or terminates it."""
    parent = parent_process()
    assert parent is not None
    leave_to_parent()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
