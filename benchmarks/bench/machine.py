"""A device's best rates of matrix products and copies, and the time and memory of work on it."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from croco_bench.config.tables import Precision
from croco_bench.engine.devices import float32_products, keep_freed_memory, peak_memory_mb

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Side of the square product, and bytes of the copy, that show the best rates; on a CPU they would take too long.
_SIDE, _BYTES = {"cuda": 8192, "cpu": 2048}, {"cuda": 2**30, "cpu": 2**27}

# Calls before the first one that is timed: on a GPU libraries choose kernels, and torch may compile some.
_WARM_UP = {"cuda": 3, "cpu": 1}


@dataclass(frozen=True)
class Rates:
    """The best that was measured.

    Attributes:
        flops: operations per second of a square matrix product, by precision.
        copy_bytes: bytes per second read and written by a copy within the device's memory.
        upload_bytes: bytes per second from pinned host memory to the device; None on a CPU.
    """

    flops: dict[str, float]
    copy_bytes: float
    upload_bytes: float | None


def describe(device: torch.device) -> dict[str, Any]:
    """The device's name, versions, and the day."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    threads = torch.get_num_threads()
    return {
        "device": name,
        "threads": threads,
        "clock": _CLOCK_NAMES[_clock_kind(device)],
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0]}, {len(models)} logical processors" if models else platform.processor() or "CPU"


_CLOCK_NAMES = {"events": "CUDA events", "process": "processor time", "wall": "wall time"}


def _clock_kind(device: torch.device) -> str:
    if device.type == "cuda":
        return "events"
    # Processor time of one thread hardly changes when other processes compute.
    return "process" if torch.get_num_threads() == 1 else "wall"


def wait(device: torch.device) -> None:
    """Until all queued work is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _elapsed(work: Callable[[], object], times: int, device: torch.device) -> float:
    """Seconds of `times` calls in a row."""
    if device.type == "cuda":
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        began.record()
        for _ in range(times):
            work()
        ended.record()
        ended.synchronize()
        return float(began.elapsed_time(ended)) / 1e3
    clock = time.process_time if _clock_kind(device) == "process" else time.perf_counter
    start = clock()
    for _ in range(times):
        work()
    return clock() - start


def seconds_of(work: Callable[[], object], device: torch.device, share: float, *, rounds: int = 3) -> float:
    """Seconds of one call: the best of `rounds`, which take about `share` seconds together, after calls to warm up."""
    for _ in range(_WARM_UP[device.type]):
        work()
    wait(device)
    first = max(_elapsed(work, 1, device), 1e-6)
    times = max(1, min(1000, int(share / rounds / first)))
    return min(_elapsed(work, times, device) / times for _ in range(rounds if share > first else 1))


def matmul_rate(precision: Precision, device: torch.device, share: float, side: int | None = None) -> float:
    """Operations per second of a square product."""
    side = side or _SIDE[device.type]
    a, b = (torch.randn(side, side, device=device).to(DTYPES[precision]) for _ in range(2))
    with float32_products(precision):
        return 2 * side**3 / seconds_of(lambda: a @ b, device, share)


def _copy_rate(source: torch.Tensor, target: torch.Tensor, device: torch.device, share: float) -> float:
    return source.nbytes / seconds_of(lambda: target.copy_(source, non_blocking=True), device, share)


def measure_rates(device: torch.device, share: float, *, tiny: bool = False) -> Rates:
    """All rates, each in about `share` seconds; `tiny` sizes try the command, their rates mean nothing."""
    precisions: tuple[Precision, ...] = ("fp32", "tf32", "bf16", "fp16") if device.type == "cuda" else ("fp32", "bf16")
    flops: dict[str, float] = {name: matmul_rate(name, device, share, 64 if tiny else None) for name in precisions}
    count = 2**16 if tiny else _BYTES[device.type]
    inside = [torch.zeros(count, dtype=torch.uint8, device=device) for _ in range(2)]
    copied = 2 * _copy_rate(inside[0], inside[1], device, share)
    upload = None
    if device.type == "cuda":
        host = torch.zeros(count, dtype=torch.uint8, pin_memory=True)
        upload = _copy_rate(host, inside[0], device, share)
    return Rates(flops, copied, upload)


def forget_peak(device: torch.device) -> None:
    """Starts a new measurement of peak memory; on a CPU that isn't possible outside Linux, where the peak stays."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return
    keep_freed_memory(device)  # what earlier work freed goes back to the system
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mb(device: torch.device) -> float:
    """Peak memory since `forget_peak`, in MB."""
    if device.type == "cuda" or sys.platform != "linux":
        return peak_memory_mb(device)
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM"))
