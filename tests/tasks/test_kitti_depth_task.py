"""Monocular depth on KITTI: the benchmark's crop, Garg's crop, recipes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from croco_bench import run
from croco_bench.config.recipe import names_of
from croco_bench.contracts import TaskData
from croco_bench.tables.published_grids import class_of_run
from croco_bench.tasks.kitti_depth import KITTIDepth, KITTIDepthOptions
from croco_bench.types import Sample


def sample_of(height: int, width: int) -> Sample:
    """Depth tells row and column, up to 80 m."""
    rows, columns = np.mgrid[:height, :width]
    depth = (1 + rows / 10 + columns / 100).astype(np.float32)
    return {"image": np.zeros((height, width, 3), np.uint8), "depth_m": depth, "valid": depth > 0, "id": "x"}


def task_of(**options: Any) -> KITTIDepth:
    return KITTIDepth(KITTIDepthOptions(**options), (32, 32))


@pytest.mark.parametrize(("height", "width"), [(375, 1242), (370, 1226), (376, 1241)])
def test_gargs_crop_of_the_benchmarks_crop(height: int, width: int) -> None:
    """Rows 143 to 349 and columns 43 to 1172 of 352x1216, as BTS's evaluation has it."""
    raw = sample_of(height, width)
    full = task_of().evaluations(TaskData([]))[0]  # type: ignore[arg-type]
    ready = full.prepare(raw)
    top, left = height - 352, (width - 1216) // 2
    np.testing.assert_array_equal(ready["depth_m"], raw["depth_m"][top:, left : left + 1216])
    rows, columns = np.nonzero(ready["valid"])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (143, 348, 43, 1171)
    assert ready["valid"].sum() == 206 * 1129 and full.prefix == "" and "80 m" in full.citation


def test_small_images_are_whole_and_targets_end_at_80_m() -> None:
    task = task_of()
    maps = task.maps(sample_of(40, 120))
    assert maps["valid"].shape == (40, 120)
    meter = task.selection([]).meter  # type: ignore[arg-type]
    depth = np.array([[10.0, 79.0, 81.0]])
    row = meter.measure(np.full((1, 3), 500.0), {"depth_m": depth, "valid": depth > 0})
    assert row["valid_pixels"] == 2 and row["rmse"] == pytest.approx(np.sqrt((70**2 + 1) / 2))


def test_bins_reach_the_cap() -> None:
    output = torch.zeros(1, 256, 2, 2)
    output[:, -1] = 1e6
    assert task_of().decode(output).max() == pytest.approx(80, rel=1e-3)


def test_a_linear_run(tiny_data: Path, tmp_path: Path) -> None:
    assert {"linear", "linear-mini", "linear4", "linear4-mini", "mini", "paper", "smoke"} == set(
        names_of("kitti-depth")
    )
    options: Any = {"data_root": tiny_data, "device": "cpu", "results": tmp_path}
    options["changes"] = ["train.steps=2", "train.select_every=1", "optim.warmup=0", "train.image_size=32"]
    options["changes"] += ["train.batch_size=4", "train.workers=0"]
    result = run("kitti-depth", "mini-mae", recipe="linear-mini", **options)
    assert result is not None and class_of_run(result) == "frozen-linear"
    assert {"delta1", "rmse", "center/delta1"} <= set(result.metrics) and result.dataset.images == 6
