"""Metrics of optical flow, by hand: pooled pixels, bins, missing masks and four truths per pixel."""

import numpy as np
import pytest

from croco_bench.metrics.definitions import CLEAN_EPE, EPE, FLOW
from croco_bench.metrics.flow import FlowMeter
from croco_bench.metrics.meter import bootstrap, stack
from croco_bench.types import Array, Sample


def field(*vectors: tuple[float, float]) -> Array:
    """A flow one pixel high."""
    return np.array([vectors], dtype=np.float32)


def sample_of(flow: Array, **masks: list[bool]) -> Sample:
    valid = masks.pop("valid", [True] * flow.shape[1])
    return {"flow_px": flow, "valid": np.array([valid]), **{name: np.array([mask]) for name, mask in masks.items()}}


def score(*pairs: tuple[Array, Sample]) -> dict[str, float]:
    """Metrics that have a value."""
    meter = FlowMeter()
    found = meter.reduce(stack([meter.measure(prediction, sample) for prediction, sample in pairs]))
    assert set(found) == {metric.name for metric in FLOW}
    return {name: value for name, value in found.items() if not np.isnan(value)}


def test_every_metric_by_hand() -> None:
    """Errors 5, 0, 2, 13 and 100 (unknown) at speeds 0, 5, 10, 130, 1."""
    truth = field((0, 0), (3, 4), (10, 0), (50, 120), (1, 0))
    guess = field((3, 4), (3, 4), (10, -2), (45, 108), (101, 0))
    sample = sample_of(
        truth,
        valid=[True, True, True, True, False],
        occluded=[False, True, True, False, True],
        invalid=[True, False, True, False, False],
    )
    assert score((guess, sample)) == pytest.approx(
        {
            "epe": 5.0,
            **{"epe_matched": 9.0, "epe_unmatched": 1.0, "epe_masked": 6.5},
            **{"epe_matched_masked": 13.0, "epe_unmatched_masked": 0.0},
            **{"s0-10": 2.5, "s10-40": 2.0, "s40+": 13.0},
            **{"bad1": 75.0, "bad3": 50.0, "bad5": 25.0, "fl_all": 50.0},
        }
    )


def test_fl_all_forgives_five_percent_of_the_speed_and_three_pixels() -> None:
    truth = field((100, 0), (100, 0), (100, 0), (10, 0), (10, 0))
    guess = field((104.9, 0), (105.1, 0), (103, 0), (13, 0), (13.1, 0))
    assert score((guess, sample_of(truth)))["fl_all"] == pytest.approx(40)


def test_thresholds_and_bins_are_strict_on_the_right_side() -> None:
    truth = field((10, 0), (40, 0), (9.5, 0))
    guess = field((11, 0), (43, 0), (14.5, 0))
    found = score((guess, sample_of(truth)))
    assert (found["bad1"], found["bad3"], found["bad5"]) == pytest.approx((200 / 3, 100 / 3, 0))
    assert (found["s0-10"], found["s10-40"], found["s40+"]) == pytest.approx((5, 1, 3))


def test_pixels_are_pooled_over_the_set_and_means_of_images_are_kept() -> None:
    """Three pixels with error 1 and one with error 9: a mean of 3 over pixels, of 5 over images."""
    one = (field((1, 0), (1, 0), (1, 0)), sample_of(field((0, 0), (0, 0), (0, 0))))
    two = (field((9, 0), (77, 0)), sample_of(field((0, 0), (0, 0)), valid=[True, False]))
    assert score(one, two)["epe"] == 3
    rows = stack([FlowMeter().measure(*pair) for pair in (one, two)])
    assert rows["epe"].tolist() == [1, 9]
    assert rows["counts"][:, 0].tolist() == [3, 1]


def test_what_an_image_lacks_poisons_nothing() -> None:
    """An image without a known pixel, one without masks, and bins that no pixel of the set is in."""
    blind = (field((5, 5)), sample_of(field((np.nan, np.nan)), valid=[False], occluded=[True], invalid=[False]))
    plain = (field((1, 0)), sample_of(field((0, 0))))
    masked = (field((3, 0)), sample_of(field((0, 0)), occluded=[False], invalid=[False]))
    found = score(blind, plain, masked)
    assert found == pytest.approx(
        {
            **{"epe": 2.0, "epe_matched": 3.0, "epe_masked": 3.0, "epe_matched_masked": 3.0, "s0-10": 2.0},
            **{"bad1": 50.0, "bad3": 0.0, "bad5": 0.0, "fl_all": 0.0},
        }
    )
    assert score(blind) == {}


def test_intervals_are_of_what_was_scored() -> None:
    meter, draw = FlowMeter(), np.random.default_rng(0)
    rows = stack([meter.measure(field((size, 0)), sample_of(field((0, 0)))) for size in draw.uniform(0, 2, 40)])
    intervals = bootstrap(meter, rows, draws=200)
    interval = intervals["epe"]
    assert interval is not None and interval[0] < meter.reduce(rows)["epe"] < interval[1]
    assert intervals["s40+"] is None


def test_spring_takes_the_nearest_of_four_truths() -> None:
    """Pixel 0: truths 1, 2, 3 and one unknown; pixel 1: 12, 20, 20, 12 (speed 16); pixel 2: nothing known."""
    four = np.zeros((1, 3, 4, 2), dtype=np.float32)
    four[0, :, :, 0] = [[1, 2, 3, 99], [12, 20, 20, 12], [7, 7, 7, 7]]
    valid4 = np.array([[[True, True, True, False], [True] * 4, [False] * 4]])
    plain = sample_of(field((2, 0), (16, 0), (0, 0)), valid=[True, True, False], occluded=[True, False, False])
    found = score((field((2.5, 0), (15, 0), (0, 0)), {**plain, "flow4_px": four, "valid4": valid4}))
    assert found["epe"] == pytest.approx((0.5 + 3) / 2)
    assert (found["epe_unmatched"], found["epe_matched"]) == pytest.approx((0.5, 3))
    assert found["s10-40"] == pytest.approx(3)
    assert "s0-10" not in found and found["bad1"] == 50


def test_sums_of_large_images_keep_their_precision() -> None:
    """A million float32 errors of 0.1: a float32 sum would be off by more than 1e-4."""
    guess = np.full((1000, 1000, 2), [np.float32(0.1), 0], dtype=np.float32)
    sample = {"flow_px": np.zeros_like(guess), "valid": np.ones((1000, 1000), dtype=np.bool_)}
    assert score((guess, sample))["epe"] == pytest.approx(float(np.float32(0.1)), rel=1e-12)


def test_headlines_are_the_endpoint_error_under_another_name() -> None:
    assert (CLEAN_EPE.unit, CLEAN_EPE.better, CLEAN_EPE.formula) == (EPE.unit, EPE.better, EPE.formula)
    assert CLEAN_EPE.name == f"clean/{EPE.name}" and EPE.average == "pixel"
