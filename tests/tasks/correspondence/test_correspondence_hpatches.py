"""Truth by homographies, and scores on flat scenes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench import run
from croco_bench.data.datasets.correspondence.hpatches import LARGE, HPatchesReader
from croco_bench.errors import DataError
from croco_bench.tasks.correspondence import HPatchesCorrespondence
from croco_bench.tasks.correspondence.base import PointOptions
from croco_bench.tasks.correspondence.hpatches import mapped, to_pixels


def prepared(homography: list[list[float]], shapes: tuple[tuple[int, int], tuple[int, int]]) -> dict[str, np.ndarray]:
    """A pair of black images of these shapes, with 4x4 points in squares of 64 pixels."""
    task = HPatchesCorrespondence(PointOptions(per_side=4), (32, 32))
    images = {f"image{i}": np.zeros((*shape, 3), np.uint8) for i, shape in enumerate(shapes, start=1)}
    matrix = np.array(homography, dtype=np.float64)
    return task.prepare({**images, "homography": matrix, "kind": "viewpoint", "scene": "v_x", "id": "v_x/1 v_x/2"})


def test_images_of_any_shape_become_squares_and_points_follow() -> None:
    """An identity of an image and one of twice its size is a scale by two about the outer corner of the first pixel."""
    twice: list[list[float]] = [[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]]
    sample = prepared(twice, ((100, 150), (200, 300)))
    assert sample["image1"].shape == sample["image2"].shape == (3, 32, 32)
    np.testing.assert_allclose(sample["truth"], sample["points"], atol=1e-9)
    shifted = prepared([[1, 0, 15], [0, 1, 0], [0, 0, 1]], ((100, 150), (100, 150)))
    seen = np.isfinite(shifted["truth"]).all(axis=1)
    np.testing.assert_allclose(shifted["truth"][seen] - shifted["points"][seen], [[25.6, 0]] * int(seen.sum()))
    assert (seen == (shifted["points"][:, 0] < 256 - 25.6)).all()


def test_what_lies_beyond_the_horizon_has_no_match() -> None:
    points = np.array([[10.0, 10.0], [250.0, 10.0]])
    tilted = np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 200, 0, 1]])  # the line x = 200 is at infinity
    found = mapped(points, tilted, (256, 256))
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()
    np.testing.assert_allclose(to_pixels((128, 256), (32, 32)) @ (127.5, 63.5, 1), (128, 128, 1))


def test_sequences_of_large_images_are_not_reported(tiny_data: Path, tmp_path: Path) -> None:
    splits = {
        split: set(HPatchesReader(tiny_data / "hpatches", split).groups) for split in ("measure", "select", "test")
    }
    assert splits["measure"] | splits["select"] == set(LARGE) and not splits["measure"] & splits["select"]
    assert not splits["test"] & set(LARGE)
    for name in (*splits["measure"], *splits["test"]):
        (tmp_path / "hpatches").mkdir(exist_ok=True)
        (tmp_path / "hpatches" / name).symlink_to(tiny_data / "hpatches" / name)
    assert len(HPatchesReader(tmp_path / "hpatches", "test")) == 5 * len(splits["test"])
    with pytest.raises(DataError, match=r"holds none of i_contruction, .*; get the whole release"):
        HPatchesReader(tmp_path / "hpatches", "select")


def test_a_run_on_flat_scenes(tiny_data: Path, tmp_path: Path) -> None:
    options: Any = {"recipe": "smoke", "data_root": tiny_data, "results": tmp_path, "device": "cpu"}
    result = run("correspondence-hpatches", "mini-croco", **options)
    assert result is not None and result.dataset.name == "hpatches" and result.dataset.images == 10
    assert result.selected is not None and (result.selected.metric, result.selected.split) == (
        "recall10_moved",
        "select",
    )
    assert {"recall10_viewpoint", "recall10_illumination", "match_error_px_viewpoint"} <= set(result.metrics)
    assert not [key for key in result.metrics if "deg" in key or "auc" in key or key.endswith("_m")]
    still = run("correspondence-hpatches", "classical:zero", **options)
    assert still is not None and still.metrics["recall10_moved"].value == 0
    assert still.metrics["recall10_illumination"].value == 100
