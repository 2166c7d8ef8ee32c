"""Results with scores per image, written for comparisons."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench.records.store import ResultPaths, write

IMAGES = 60
Put = Callable[..., None]


@pytest.fixture
def put(tmp_path: Path, result_of: Any) -> Put:
    """Writes one result with per-image values around `mean`: 60 images in 12 scenes, alike for all backbones."""
    difficulty = np.random.default_rng(99).normal(0, 5, IMAGES)

    def write_one(
        model: str, mean: float, seed: int = 0, *, named: bool = True, images: int = IMAGES, **changes: Any
    ) -> None:
        rng = np.random.default_rng([seed, *map(ord, model)])
        values = (mean + difficulty + rng.normal(0, 0.3) + rng.normal(0, 2, IMAGES))[:images]
        usual = {
            "model__sha256": model * 8,
            "dataset__images": images,
            "dataset__images_available": IMAGES,
            "metrics__delta1__value": float(values.mean()),
        }
        result = result_of(model__name=model, seed=seed, **{**usual, **changes})
        rows = {"index": np.arange(float(images)), "delta1": values}
        if named:
            rows["group"] = np.array([f"scene{index // 5}" for index in range(images)])
        write(ResultPaths(tmp_path, result.recipe.name, result.task.name, model, seed), result, rows)

    return write_one


@pytest.fixture
def three(put: Put) -> None:
    """a is clearly better than b and c, which are alike; three seeds each."""
    for seed in range(3):
        for model, mean in (("a", 85.0), ("b", 80.0), ("c", 80.0)):
            put(model, mean, seed)
