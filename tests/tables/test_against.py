"""Measured minus published: which pairs are compared, the difference, its interval."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench import tables
from croco_bench.records.store import ResultPaths, read_all, write
from croco_bench.tables.against import against_published, same_weights
from croco_bench.tables.comparison.difference import interval_of_mean
from croco_bench.tables.comparison.scores import load_column
from croco_bench.tables.layout import Grid
from croco_bench.tables.published import PublishedRow, sources

DELTA1 = "nyuv2-depth/delta1"


def put(root: Path, make: Any, model: str = "CroCo", seed: int = 0, **changes: Any) -> np.ndarray[Any, Any]:
    """A result of 654 images with values drawn about 84; returns them."""
    values = np.random.default_rng(seed).normal(84.0, 5.0, 654)
    result = make(model__name=model, seed=seed, metrics__delta1__value=float(values.mean()), **changes)
    write(ResultPaths(root, "paper", "nyuv2-depth", model, seed), result, {"index": np.arange(654.0), "delta1": values})
    return values


def grids(root: Path) -> list[Grid]:
    return against_published(read_all([root])[0], sources())


def test_a_reproduction_is_compared_with_the_rows_of_its_weights(tmp_path: Path, result_of: Any) -> None:
    """`CroCo.pth` is croco-v1's file, whatever the model is called."""
    values = np.concatenate([put(tmp_path, result_of, "mine", seed) for seed in (0, 1)])
    put(tmp_path, result_of, "other", model__source="other.pth", model__sha256="cd" * 32)
    (grid,) = grids(tmp_path)
    assert grid.title == "recipe paper: measured minus published"
    assert [row.name for row in grid.published] == ["mine − CroCo (ViT-B), Habitat"]
    cell = grid.published[0].cells[DELTA1]
    assert cell.value == pytest.approx(values.mean() - 85.6)
    mine = [file for file in read_all([tmp_path])[0] if file.paths.model == "mine"]
    low, high = interval_of_mean(load_column({"mine": mine}, "delta1")["mine"]).ci95
    assert cell.interval == pytest.approx((low - 85.6, high - 85.6))
    assert "other: no comparable number of these weights was published" in grid.notes


def test_the_difference_is_shown_with_its_sign_and_interval(tmp_path: Path, result_of: Any) -> None:
    put(tmp_path, result_of)
    text = tables.make_against([tmp_path], format="markdown")
    (line,) = [line for line in text.splitlines() if line.startswith("| *CroCo −")]
    assert line.startswith("| *CroCo − CroCo (ViT-B), Habitat [1]* | -1.") and "[-" in line
    record = json.loads(tables.make_against([tmp_path], format="json"))["cells"][0]
    assert record["kind"] == "difference" and record["interval"][0] < record["value"] < record["interval"][1]


def test_without_per_image_values_there_is_no_interval_and_it_is_said(tmp_path: Path, result_of: Any) -> None:
    put(tmp_path, result_of)
    ResultPaths(tmp_path, "paper", "nyuv2-depth", "CroCo", 0).rows.unlink()
    (grid,) = grids(tmp_path)
    assert grid.published[0].cells[DELTA1].interval is None
    assert any("no interval, since there are no per-image values" in note for note in grid.notes)


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset__miniature": True},
        {"dataset__images": 10},
        {"settings": {"train": {"frozen": True}, "head": {"name": "dpt"}}},
        {"model__family": "classical"},
    ],
)
def test_what_is_not_comparable_is_not_compared(tmp_path: Path, result_of: Any, changes: dict[str, Any]) -> None:
    put(tmp_path, result_of, **changes)
    assert not any(row for grid in grids(tmp_path) for row in grid.published)
    assert "classical" in changes.values() or any(grid.notes for grid in grids(tmp_path))


def test_changed_settings_are_compared_with_nothing(tmp_path: Path, result_of: Any) -> None:
    put(tmp_path, result_of)
    put(tmp_path, result_of, "changed", recipe__fingerprint="0a1b2c3d4e5f")
    (grid,) = grids(tmp_path)
    assert [row.name for row in grid.published] == ["CroCo − CroCo (ViT-B), Habitat"]
    assert "changed, settings 0a1b2c: compared with nothing" in grid.notes


def test_a_mean_rank_is_never_compared_but_the_errors_behind_it_are(tmp_path: Path, result_of: Any) -> None:
    values = np.full(3, 0.05)
    for domain in ("curvature", "depth", "edges", "keypoints2d", "keypoints3d", "normals", "occlusion", "reshading"):
        task = f"taskonomy-{domain}"
        l1 = {"l1": {"value": float(values.mean()), "ci95": None, "unit": "", "higher_is_better": False}}
        write(
            ResultPaths(tmp_path, "paper", task, "CroCo", 0),
            result_of(task__name=task, model__name="CroCo", metrics=l1),
            {"index": np.arange(3.0), "l1": values},
        )
    (grid,) = grids(tmp_path)
    cells = grid.published[0].cells
    assert len(cells) == 8 and "taskonomy/mean_rank" not in cells
    assert cells["taskonomy-depth/l1"].value == pytest.approx(0.05 - 0.03134)


@pytest.mark.parametrize(
    ("name", "source", "same"),
    [
        ("x", "CroCo.pth", True),
        ("x", "croco-v1", True),
        ("croco-v1", "mine.pth", True),
        ("x", "random:weights/CroCo.pth", False),
        ("croco-v1", "random:croco", False),
        ("x", "https://download.europe.naverlabs.com/ComputerVision/CroCo/CroCo.pth", True),
        ("x", "CroCo2.pth", False),
    ],
)
def test_weights_are_recognised_by_name_and_file(result_of: Any, name: str, source: str, same: bool) -> None:
    model = result_of(model__name=name, model__source=source).model
    row = PublishedRow(model="m", nominal="n", checkpoint="croco-v1", values={DELTA1: 1.0})
    assert same_weights(model, row) == same
    assert not same_weights(model, row.model_copy(update={"checkpoint": ""}))
