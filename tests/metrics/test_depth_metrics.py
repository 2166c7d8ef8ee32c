"""Metrics of depth, by hand and pixel by pixel."""

import math

import numpy as np
import pytest

from croco_bench.metrics.depth import DepthMeter
from croco_bench.metrics.meter import stack
from croco_bench.types import Array

NAMES = [metric.name for metric in DepthMeter.metrics]


def sample(depth: Array, valid: Array | None = None) -> dict[str, Array]:
    return {"depth_m": depth, "valid": np.ones(depth.shape, bool) if valid is None else valid}


def by_loops(prediction: Array, depth: Array, valid: Array, low: float, high: float) -> dict[str, float]:
    """Pixel by pixel with `math` alone."""
    pairs = []
    for row, column in np.ndindex(depth.shape):
        truth = float(depth[row, column])
        if valid[row, column] and low < truth < high:
            pairs.append((min(max(float(prediction[row, column]), low), high), truth))
    n = len(pairs)
    logs = [math.log(p) - math.log(t) for p, t in pairs]
    mean_log = math.fsum(logs) / n
    return {
        **{f"delta{k}": 100 * sum(p < t * 1.25**k and t < p * 1.25**k for p, t in pairs) / n for k in (1, 2, 3)},
        "abs_rel": math.fsum(abs(p - t) / t for p, t in pairs) / n,
        "sq_rel": math.fsum((p - t) * (p - t) / t for p, t in pairs) / n,
        "rmse": math.sqrt(math.fsum((p - t) ** 2 for p, t in pairs) / n),
        "rmse_log": math.sqrt(math.fsum(e * e for e in logs) / n),
        "log10": math.fsum(abs(math.log10(p) - math.log10(t)) for p, t in pairs) / n,
        "silog": 100 * math.sqrt(math.fsum((e - mean_log) ** 2 for e in logs) / n),
        "valid_pixels": n,
    }


@pytest.mark.parametrize(("low", "high"), [(1e-3, 10.0), (0.5, 4.0)])
def test_equals_a_pixel_by_pixel_computation(low: float, high: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        depth = rng.uniform(-0.2, 12, (17, 23)).astype(np.float32)
        prediction = (depth * rng.lognormal(0, 0.4, depth.shape)).astype(np.float32)
        valid = rng.random(depth.shape) < 0.7
        row = DepthMeter(min_m=low, max_m=high).measure(prediction, sample(depth, valid))
        assert row == pytest.approx(by_loops(prediction, depth, valid, low, high), rel=1e-12, abs=1e-12)


def test_by_hand() -> None:
    """Truth 1, 2, 4, 8 m; prediction 1.25 (exactly the threshold: not within), 2, 2, 8 m."""
    row = DepthMeter().measure(np.array([[1.25, 2, 2, 8]]), sample(np.array([[1.0, 2, 4, 8]])))
    assert row["delta1"] == 50
    assert row["delta2"] == 75
    assert row["delta3"] == 75
    assert row["abs_rel"] == pytest.approx((0.25 + 0.5) / 4)
    assert row["sq_rel"] == pytest.approx((0.0625 + 1) / 4)
    assert row["rmse"] == pytest.approx(math.sqrt((0.0625 + 4) / 4))
    assert row["log10"] == pytest.approx((math.log10(1.25) + math.log10(2)) / 4)
    assert row["valid_pixels"] == 4


def test_a_wrong_scale_costs_everything_but_silog() -> None:
    depth = np.linspace(1, 4, 20).reshape(4, 5)
    row = DepthMeter().measure(2 * depth, sample(depth))
    assert row["silog"] == pytest.approx(0, abs=1e-6)
    assert row["rmse_log"] == pytest.approx(math.log(2))
    assert row["delta1"] == row["delta3"] == 0
    assert row["abs_rel"] == pytest.approx(1)


def test_predictions_are_clamped_and_bounds_are_exclusive() -> None:
    depth = np.array([[0.001, 10.0, 9.0, 2.0]])
    row = DepthMeter().measure(np.array([[5.0, 5.0, 50.0, -3.0]]), sample(depth))
    assert row["valid_pixels"] == 2
    assert row["rmse"] == pytest.approx(math.sqrt((1**2 + (2 - 0.001) ** 2) / 2))


def test_images_weigh_the_same_and_empty_ones_leave_the_mean() -> None:
    meter = DepthMeter()
    small, large = np.full((1, 2), 2.0), np.full((30, 40), 2.0)
    rows = stack(
        [
            meter.measure(small * 2, sample(small)),
            meter.measure(large, sample(large)),
            meter.measure(large, sample(large, np.zeros(large.shape, bool))),
        ]
    )
    assert np.isnan([rows[name][2] for name in NAMES]).all()
    assert rows["valid_pixels"].tolist() == [2, 1200, 0]
    reduced = meter.reduce(rows)
    assert reduced["delta1"] == 50
    assert reduced["rmse"] == 1
    assert sorted(reduced) == sorted(NAMES)


def test_float32_input_is_summed_in_float64() -> None:
    depth = np.full((1000, 1000), 2.0, np.float32)
    row = DepthMeter().measure(depth + np.float32(2**-20), sample(depth))
    assert row["rmse"] == pytest.approx(2**-20, rel=1e-12)
