"""Cores and GPUs of this machine, shared out to the runs that it does at the same time. No torch here."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from croco_bench.config.recipe import load_task_recipe
from croco_bench.errors import UsageError
from croco_bench.sweeps.cells import Cell

_CORES_PER_JOB = 4
# Pixels of images for which a second thread gains nothing: two runs of one thread each take half the time of one of two.
_SMALL_IMAGE = 64 * 64


@dataclass(frozen=True)
class Share:
    """What one of the runs at a time may use: so many cores, and the GPUs of `CUDA_VISIBLE_DEVICES` (None: as it is)."""

    cores: int
    gpus: str | None = None


def share_out(jobs: int | None, device: str, processes: int = 1, cores_per_job: int = _CORES_PER_JOB) -> list[Share]:
    """A share for each of the runs at a time.

    With GPUs, run i has GPU i modulo their number, so that several small networks may share one; by default there is a run
    per GPU. On CPUs, cores are divided evenly.

    Args:
        jobs: runs at a time; None: the default.
        device: `auto`, `cpu`, `cuda`, or `cuda:i`, which all runs share.
        processes: of each run, each with a GPU of its own.
        cores_per_job: of a process of a run by default, without GPUs.

    Raises:
        UsageError: the device isn't there.
    """
    cores, gpus = usable_cores(), [] if device == "cpu" else visible_gpus()
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not number.isdecimal()):
        raise UsageError(f"--device {device!r} isn't one of auto, cpu, cuda, cuda:0, cuda:1, …")
    if kind == "cuda" and int(number or 0) >= len(gpus):
        raise UsageError(f"--device {device}: this machine shows {len(gpus)} GPUs", "use --device auto or cpu")
    if number:
        gpus = [gpus[int(number)]]
    groups = [",".join(gpus[first : first + processes]) for first in range(0, len(gpus) - processes + 1, processes)]
    if gpus and not groups:
        raise UsageError(f"--processes {processes}: this machine shows {len(gpus)} GPUs", f"use at most {len(gpus)}")
    count = jobs or len(groups) or max(cores // (cores_per_job * processes), 1)
    each = max(cores // count, 1)
    return [Share(each, groups[job % len(groups)] if groups else "" if kind == "cpu" else None) for job in range(count)]


def cores_per_job(cells: Iterable[Cell]) -> int:
    """Cores that a process of one of these runs can use: one where all images are as small as those of the miniature."""
    recipes = {(cell.task, cell.recipe, cell.changes) for cell in cells}
    sizes = (load_task_recipe(*recipe).train.image_size for recipe in recipes)
    return 1 if all(height * width <= _SMALL_IMAGE for height, width in sizes) else _CORES_PER_JOB


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """Numbers or names of the GPUs that programs see, as `CUDA_VISIBLE_DEVICES` takes them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() and name.strip() != "-1"]
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(index) for index, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]
