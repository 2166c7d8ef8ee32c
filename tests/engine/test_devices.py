"""Devices: what a run says of the memory that it took."""

import subprocess
import sys

_PEAKS = """
import numpy as np, torch
from croco_bench.engine import devices
cpu = torch.device("cpu")
devices.start("cpu", "fp32", 0)
large = np.ones(50_000_000)  # 400 MB
first = devices.peak_memory_mb(cpu)
del large
devices.start("cpu", "fp32", 0)
assert devices.peak_memory_mb(cpu) < first - 300
"""


def test_each_run_of_a_process_has_a_peak_of_its_own() -> None:
    """In a fresh process: a training before it would have kept freed memory."""
    subprocess.run([sys.executable, "-c", _PEAKS], check=True)
