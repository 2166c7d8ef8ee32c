"""Fixtures that several tests share."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from croco_bench.data.miniatures.make import MINIATURES, make_mini
from croco_bench.records.schema import Result


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the tiny miniatures; tests that change files copy them. Parallel test processes share one."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tiny-data"
    with FileLock(f"{root}.lock"):
        if not Path(f"{root}.whole").is_file():
            make_mini(root, datasets=MINIATURES, tiny=True, workers=2)
            Path(f"{root}.whole").touch()
    return root


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the caller's shell says of data and caches changes no test."""
    monkeypatch.delenv("CROCO_BENCH_DATA", raising=False)
    monkeypatch.setenv("CROCO_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def make_result(**changes: Any) -> Result:
    """A valid result; `changes` are dotted paths with `__`, such as `model__name="x"`."""
    content: dict[str, Any] = {
        "schema_version": 1,
        "status": "complete",
        "task": {"name": "nyuv2-depth", "version": 1},
        "recipe": {"name": "paper", "fingerprint": "0123456789ab"},
        "model": {
            "name": "croco-v1",
            "family": "croco",
            "source": "CroCo.pth",
            "sha256": "ab" * 32,
            "parameters": 105711745,
            "binocular": False,
        },
        "dataset": {
            "name": "nyuv2",
            "split": "test",
            "images": 654,
            "images_available": 654,
            "fingerprint": "cafe",
            "miniature": False,
        },
        "protocol": {"citation": "somebody", "deviations": ["one <thing> & another"]},
        "settings": {"optim": {"lr": 1e-4}, "limit": None},
        "seed": 0,
        "metrics": {"delta1": {"value": 85.123456789012, "ci95": [84.0, 86.0], "unit": "%", "higher_is_better": True}},
        "selected": {"step": 100, "metric": "delta1", "split": "select"},
        "timing": {"train_s": 1.0, "eval_s": 1.0, "images_per_s": 10.0, "peak_memory_mb": 100.0},
        "environment": {
            "croco_bench": "0.1.0",
            "git": None,
            "dirty": None,
            "python": "3.11",
            "torch": "2.9",
            "timm": "1.0",
            "device": "cpu",
            "precision": "fp32",
            "processes": 1,
        },
        "started": datetime(2026, 1, 1, tzinfo=UTC),
        "finished": datetime(2026, 1, 1, 1, tzinfo=UTC),
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = content
        for parent in parents:
            place = place[parent]
        place[last] = value
    return Result.model_validate(content)


@pytest.fixture
def result_of() -> Any:
    """`make_result`, for tests that can't import their neighbours."""
    return make_result
