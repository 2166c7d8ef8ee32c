"""Process pools that end with their parent process."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager

# Advice for callers from Python: each process of a pool imports the script, and without the guard would start a pool, too.
IN_A_SCRIPT = "; in a script of your own, call it below if __name__ == '__main__'"


@contextmanager
def process_pool(workers: int) -> Iterator[Executor]:
    """A pool of spawned processes, as forking is unsafe with torch's threads. An error in the block cancels pending jobs."""
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), end_with_parent) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # leaving the block would wait for all pending jobs
            raise


def end_with_parent() -> None:
    """Initialises a process of a pool: a thread that exits when the parent has ended, even if it was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
