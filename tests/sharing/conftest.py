"""A folder of results with the rows behind them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench.records.store import ResultPaths, write


@pytest.fixture
def results(tmp_path: Path, result_of: Any) -> Path:
    """Two seeds of one backbone on depth, one of which has a picture and fine-tuned weights."""
    folder = tmp_path / "results"
    values = np.linspace(70.0, 90.0, 12)
    for seed in (0, 1):
        metric = {"value": float((values + seed).mean()), "ci95": None, "unit": "%", "higher_is_better": True}
        result = result_of(seed=seed, metrics={"delta1": metric, "eigen/delta1": metric})
        slot = ResultPaths(folder, "paper", "nyuv2-depth", "croco-v1", seed)
        rows = {"index": np.arange(12), "delta1": values + seed, "eigen/delta1": values + seed}
        write(slot, result, {**rows, "group": np.repeat(["a", "b"], 6)})
    slot.folder.mkdir()
    slot.sheet.write_bytes(b"picture")
    (slot.folder / "weights.safetensors").write_bytes(b"weights")
    (slot.folder / "last.pt").write_bytes(b"state")
    return folder
