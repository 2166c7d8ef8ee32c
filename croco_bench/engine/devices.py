"""Devices, precision and processes, through accelerate."""

from __future__ import annotations

import ctypes
import errno
import math
import os
import random
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from croco_bench.config.tables import Inputs, Loop, Precision
from croco_bench.errors import BenchError, DataError, RecordError, UsageError

_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")
_MIXED: dict[Precision, str] = {"fp32": "no", "tf32": "no", "bf16": "bf16", "fp16": "fp16"}
# The first GPUs with TF32, by their compute capability.
_AMPERE = (8, 0)


def start(device: str, precision: Precision, seed: int) -> Accelerator:
    """An Accelerator on `auto`, `cpu`, `cuda` or `cuda:i`; under torchrun or accelerate launch, one per process.

    Raises:
        UsageError: the device doesn't exist, or can't do the precision.
    """
    cpu = _choose(device)
    if precision in ("fp16", "tf32") and cpu:
        raise UsageError(f"{precision} needs a GPU", "on the CPU use --set train.precision=fp32 or bf16")
    if precision == "tf32" and torch.cuda.get_device_capability() < _AMPERE:
        raise UsageError(f"{torch.cuda.get_device_name()} has no TF32", "use --set train.precision=fp32 or fp16")
    # A second run in the same process may want another precision.
    AcceleratorState._reset_state(reset_partial_state="RANK" not in os.environ)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    _begin_peak()
    # Gradients lie in the buffers that processes exchange: a copy less.
    parallel = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    return Accelerator(cpu=cpu, mixed_precision=_MIXED[precision], kwargs_handlers=[parallel])


def _begin_peak() -> None:
    """Lets peaks of memory count from now on: a process may do many runs. Where the system can't, they count from its start."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Linux: see proc(5)


@contextmanager
def float32_products(precision: Precision) -> Iterator[None]:
    """In the block a GPU's matrix products and convolutions of float32 are TF32 with tf32, and exact otherwise.

    torch's own defaults are exact matrix products (since 1.12) and convolutions in TF32 (since 1.7).
    """
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def arithmetic(accelerator: Accelerator) -> str:
    """The precision at work, by which kept features are told apart: no (float32), tf32, bf16 or fp16."""
    mixed: str = accelerator.mixed_precision
    return "tf32" if mixed == "no" and torch.backends.cuda.matmul.allow_tf32 else mixed


def keep_freed_memory(device: torch.device) -> None:
    """On a CPU with glibc: returns unused memory to the system once, then keeps freed memory. Call it after loading weights.

    By default glibc returns the memory of activations after every step, and the system zeroes its pages again for the next:
    a fifth of the time of a ViT-B step in float32.
    """
    if sys.platform == "linux" and device.type == "cpu":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.malloc_trim(0)
            trim_threshold, mmap_threshold = -1, -3  # glibc's names for them, <malloc.h>
            libc.mallopt(trim_threshold, 2**31 - 1)
            libc.mallopt(mmap_threshold, 2**30)


def _choose(device: str) -> bool:
    """Selects the GPU, if one is asked for; returns whether to use the CPU."""
    kind, _, number = device.partition(":")
    gpus = torch.cuda.device_count()
    if kind not in ("auto", "cpu", "cuda") or (number and not number.isdigit()):
        raise UsageError(f"--device {device!r} isn't one of auto, cpu, cuda, cuda:0, cuda:1, …")
    if kind == "cuda" and (not gpus or int(number or 0) >= gpus):
        raise UsageError(f"--device {device}: this machine shows {gpus} GPUs to torch", "use --device auto or cpu")
    if kind == "cuda" and number:
        torch.cuda.set_device(int(number))
    return kind == "cpu" or (kind == "auto" and not gpus)


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of the GPU, or of this process on the CPU, since `start`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with suppress(OSError, LookupError):  # Linux; ru_maxrss also knows the process that started this one
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


@contextmanager
def explain_errors(train: Inputs) -> Iterator[None]:
    """Turns out-of-memory, full-disk and unreadable-file errors into `BenchError`s with advice."""
    try:
        yield
    except BenchError:
        raise
    except (RuntimeError, MemoryError) as error:
        text = str(error).lower()
        if isinstance(error, MemoryError) or any(words in text for words in _MEMORY):
            raise _out_of_memory(train) from error
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise RecordError(
                f"can't write {error.filename or 'the log'}: {error.strerror}",
                "free space, then run the same command again",
            ) from error
        raise DataError(
            f"{error.filename or 'a file'}: {error.strerror or error}", "check that it exists and can be read"
        ) from error


def _out_of_memory(train: Inputs) -> BenchError:
    if not isinstance(train, Loop):
        return BenchError("out of memory", "use --set train.precision=bf16 or a smaller train.image_size")
    return BenchError(
        f"out of memory with batches of {math.ceil(train.batch_size / train.accumulate)} images",
        f"the same result needs less with --set train.accumulate={2 * train.accumulate}, or use --set train.precision=bf16",
    )
