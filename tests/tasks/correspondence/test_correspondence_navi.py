"""Squares about objects, and scores by distances of their surface."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench import run
from croco_bench.data.datasets.correspondence.navi import NaviReader
from croco_bench.metrics.correspondence import CorrespondenceMeter
from croco_bench.metrics.match_definitions import OBJECTS
from croco_bench.metrics.meter import stack
from croco_bench.tasks.correspondence import NaviCorrespondence
from croco_bench.tasks.correspondence.base import PointOptions
from croco_bench.tasks.correspondence.navi import square_about


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        ((2, 6), (3, 5), (2, 2, 4)),  # about the middle of the shorter extent
        ((0, 2), (0, 6), (0, 0, 6)),  # pushed back into the image
        ((9, 10), (15, 20), (5, 15, 5)),
        ((0, 10), (0, 20), (0, 5, 10)),  # more than fits
        ((0, 0), (0, 0), (0, 5, 10)),  # nothing there
    ],
)
def test_the_square_holds_the_object(rows: Any, columns: Any, expected: tuple[int, int, int]) -> None:
    mask = np.zeros((10, 20), bool)
    mask[slice(*rows), slice(*columns)] = True
    assert square_about(mask) == expected


def test_true_matches_have_no_error_on_the_surface(tiny_data: Path) -> None:
    """Up to the pixel of the depth map that a match falls on, and points that are hidden have no match."""
    task, reader = NaviCorrespondence(PointOptions(per_side=20), (64, 64)), NaviReader(tiny_data / "navi", "test")
    meter = CorrespondenceMeter({"": 0}, ["truth"], scores=OBJECTS)
    samples: list[Any] = [task.prepare(reader[index]) for index in range(len(reader))]
    shares = [np.isfinite(sample["truth"]).all(axis=1).mean() for sample in samples]
    assert 0 < max(shares) < 0.8
    found = meter.reduce(stack([meter.measure(sample["truth"][None], sample) for sample in samples]))
    assert found["match_error_m"] < 0.004 and found["recall1cm"] > 98 and found["recall10"] == 100


def test_a_run_on_objects(tiny_data: Path, tmp_path: Path) -> None:
    options: Any = {"recipe": "smoke", "data_root": tiny_data, "results": tmp_path, "device": "cpu"}
    result = run("correspondence-navi", "mini-croco", **options)
    assert result is not None and result.dataset.name == "navi" and result.dataset.split == "test"
    assert result.selected is not None and result.selected.metric == "recall2cm"
    assert {"recall2cm", "recall1cm", "match_error_m", "attention/recall2cm"} <= set(result.metrics)
