"""Keypoints in padded squares, and scores by the object's box."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench import run
from croco_bench.tasks.correspondence import SPairCorrespondence
from croco_bench.tasks.correspondence.base import MatchOptions
from croco_bench.tasks.correspondence.spair import fitted, in_square


@pytest.mark.parametrize("shape", [(60, 120), (120, 60), (90, 90), (7, 300)])
def test_keypoints_follow_their_image_into_the_square(shape: tuple[int, int]) -> None:
    """A bright spot is found where its keypoint is, half a pixel of the network's image off at most."""
    size, side = (64, 64), 256
    image = np.zeros((*shape, 3), np.uint8)
    at = np.array([shape[1] * 0.7, shape[0] * 0.4]).astype(int)
    spot = max(max(shape) // 32, 1)
    image[max(at[1] - spot, 0) : at[1] + spot + 1, max(at[0] - spot, 0) : at[0] + spot + 1] = 255
    square = fitted(image, size).astype(float)[..., 0]
    rows, columns = np.mgrid[:64, :64] + 0.5
    found = np.array([(square * columns).sum(), (square * rows).sum()]) / square.sum() * side / 64
    (expected,) = in_square(at[None].astype(float), shape, size)[:1]
    assert np.abs(found - expected).max() <= side / 64 * (0.5 if min(shape) > 10 else 1.0)


def test_a_sample_has_thirty_places_for_keypoints_and_a_scaled_box() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    sample: dict[str, Any] = {"image1": image, "image2": image, "difficulty": 1, "scene": "cat", "id": "1"}
    keypoints = np.array([[0.0, 0.0], [199.0, 99.0]])
    sample |= {"keypoints1": keypoints, "keypoints2": keypoints, "box2": np.array([10.0, 20.0, 110.0, 70.0])}
    ready = SPairCorrespondence(MatchOptions(), (32, 32)).prepare(sample)
    assert ready["points"].shape == (30, 2) and np.isfinite(ready["points"]).all(axis=1).sum() == 2
    np.testing.assert_allclose(ready["truth"][:2], [[0.64, 64.64], [255.36, 191.36]])
    assert ready["box_px"] == pytest.approx(128)


def test_a_run_on_keypoints(tiny_data: Path, tmp_path: Path) -> None:
    options: Any = {"recipe": "smoke", "data_root": tiny_data, "results": tmp_path, "device": "cpu"}
    result = run("correspondence-spair71k", "mini-mae", **options)
    assert result is not None and result.dataset.name == "spair71k" and result.dataset.images == 28
    assert result.selected is not None and (result.selected.metric, result.selected.split) == ("pck10_box", "select")
    assert {"pck10_box", "pck05_box", "pck10_box_points", "encoder/pck10_box_points"} <= set(result.metrics)
    assert not [key for key in result.metrics if "recall" in key]
