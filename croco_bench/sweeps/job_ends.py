"""Which jobs of a cluster are over."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from getpass import getuser
from typing import Any

# How often a cluster is asked about jobs that left no result.
_ASK_S = 60.0


class JobEnds:
    """Tells which jobs are over: those that left a result, and those that died.

    submitit asks Slurm's accounting (sacct) whether a job died, but not every cluster has one. The queue tells it, too: a job
    that it lacks twice in a row, a minute apart, won't come back, also not by being queued again.
    """

    def __init__(self, *, slurm: bool) -> None:
        self._slurm = slurm
        self._asked = time.monotonic()
        self._missed: set[str] = set()

    def over(self, jobs: Sequence[Any]) -> list[Any]:
        """Those of submitit's jobs that are over."""
        ask = time.monotonic() - self._asked > _ASK_S
        if ask:
            self._asked = time.monotonic()
        if not self._slurm:
            return [job for job in jobs if job.done(force_check=ask)]
        dead = self._dead([job.job_id for job in jobs]) if ask else set()
        return [job for job in jobs if job.job_id in dead or job.paths.result_pickle.exists()]

    def _dead(self, ids: Sequence[str]) -> set[str]:
        queued = _queued()
        if queued is None:
            return set()
        missing = set(ids) - queued
        twice, self._missed = missing & self._missed, missing
        return twice


def _queued() -> set[str] | None:
    """One's own jobs in Slurm's queue, array and index of each; None where it gives no answer."""
    try:
        command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={getuser()}"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, KeyError, subprocess.TimeoutExpired):  # KeyError: this user has no name
        return None
    return None if answer.returncode else set(answer.stdout.split())
