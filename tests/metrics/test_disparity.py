"""Metrics of disparity, by hand."""

from typing import Any

import numpy as np
import pytest

from croco_bench.metrics.disparity import DisparityMeter
from croco_bench.metrics.meter import stack
from croco_bench.types import Array, Sample


def score(*pairs: tuple[Array, Sample]) -> dict[str, float]:
    meter = DisparityMeter()
    return meter.reduce(stack([meter.measure(*pair) for pair in pairs]))


def known(truth: list[float], valid: list[bool], **further: Any) -> Sample:
    return {"disparity_px": np.array([truth], np.float32), "valid": np.array([valid]), **further}


def test_errors_by_hand() -> None:
    first = (
        np.array([[10, 14, 100, 7]], np.float32),
        known([10, 10, 100.75, 0], [True, True, True, False], occluded=np.array([[False, True, False, True]])),
    )
    second = (np.array([[1.5]], np.float32), known([0.0], [True]))
    found = score(first, second)
    of_first, of_second = 4.75 / 3, 1.5
    assert found["avgerr"] == pytest.approx((of_first + of_second) / 2)
    assert found["rmse"] == pytest.approx((np.sqrt((16 + 0.5625) / 3) + 1.5) / 2)
    assert found["bad2"] == pytest.approx((100 / 3 + 0) / 2) and found["bad1"] == pytest.approx((100 / 3 + 100) / 2)
    assert found["bad0.5"] == pytest.approx((200 / 3 + 100) / 2)
    assert found["d1"] == pytest.approx(100 / 3 / 2)
    # Of the second no pixel is known to be seen twice: it counts in no mean of these.
    assert found["avgerr_noc"] == pytest.approx(0.375) and found["bad0.5_noc"] == pytest.approx(50)
    assert found["avgerr_pooled"] == pytest.approx((4.75 + 1.5) / 4)
    assert found["bad1_pooled"] == pytest.approx(50)


def test_an_image_without_truth_poisons_nothing() -> None:
    nothing = (np.array([[1]], np.float32), known([0.0], [False]))
    one = (np.array([[1]], np.float32), known([3.0], [True]))
    found = score(nothing, one)
    assert found["avgerr"] == found["avgerr_pooled"] == 2
    assert np.isnan(score(nothing)["avgerr"]) and np.isnan(score(nothing)["avgerr_pooled"])


def test_of_four_truths_the_nearest_counts() -> None:
    four = np.array([[[1, 2, 3, 9]], [[1, 1, 1, 1]]], np.float32)
    valid = np.array([[[True, True, True, False]], [[False] * 4]])
    sample = {**known([2], [True]), "disparity4_px": four, "valid4": valid}
    sample |= {"disparity_px": np.array([[2], [1]]), "valid": np.array([[True], [False]], np.float32)}
    assert score((np.array([[8], [5]], np.float32), sample))["avgerr"] == 5
