"""Runs of all tasks of a group with one command."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from croco_bench import registry
from croco_bench.errors import BenchError, UsageError
from croco_bench.records.schema import Result


def run_group(name: str, run_task: Callable[[str], Result | None]) -> Iterator[Result]:
    """Runs a task, or every task of a group, and yields each result; tasks after a failed one are still run.

    Args:
        name: of a task or a group.
        run_task: runs one task; None on processes other than the first.

    Raises:
        BenchError: one or more tasks of the group failed. A wrong command line, and any error in one of several processes
            (the others would wait for it forever), ends the loop at once.
    """
    tasks = registry.members(name)
    failures: dict[str, list[str]] = {}
    for task in tasks:
        try:
            result = run_task(task)
        except BenchError as error:
            if tasks == [name] or isinstance(error, UsageError) or "RANK" in os.environ:
                raise
            failures.setdefault(str(error), []).append(task)
        else:
            if result is not None:
                yield result
    if failures:
        count = sum(len(failed) for failed in failures.values())
        told = "; ".join(f"{', '.join(failed)}: {text}" for text, failed in failures.items())
        raise BenchError(f"{count} of {len(tasks)} tasks failed: {told}")
