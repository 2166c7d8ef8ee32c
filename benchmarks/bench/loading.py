"""Items per second of the loader: files decoded and augmented by worker processes, as a training reads them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from accelerate import Accelerator

from croco_bench.contracts import Reader
from croco_bench.engine.dataloading import Plan, training_batches


def loader_rate(
    reader: Reader,
    augment: Callable[..., Any],
    accelerator: Accelerator,
    *,
    batch: int,
    workers: int,
    share: float,
) -> float:
    """Items per second by wall time, for about `share` seconds, after the batches that are made while workers start."""
    plan = Plan(10**8, 1, len(reader) // batch, batch, 1)
    batches = training_batches(reader, augment, plan, accelerator, seed=0, start=0, workers=workers)
    for _ in range(2 * max(workers, 1)):  # what is made ahead
        next(batches)
    count, began = 0, time.perf_counter()
    while not count or time.perf_counter() - began < share:
        next(batches)
        count += 1
    taken = time.perf_counter() - began
    del batches
    return count * batch / taken
