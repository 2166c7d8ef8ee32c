"""Rows from sums on a device equal those of the meters, which these tests take on the CPU."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from croco_bench.metrics.classification import ClassificationMeter
from croco_bench.metrics.dense import DenseMeter
from croco_bench.metrics.depth import DepthMeter
from croco_bench.metrics.disparity import DisparityMeter
from croco_bench.metrics.flow import FlowMeter
from croco_bench.metrics.meter import Meter
from croco_bench.metrics.on_device import device_meter
from croco_bench.metrics.segmentation import SegmentationMeter
from croco_bench.types import Array

SIZE = (23, 31)


def depth(rng: np.random.Generator, share: float) -> tuple[Meter, Array, dict[str, Array]]:
    target = rng.uniform(-1, 12, SIZE).astype(np.float32)
    target[0, :3] = [1e-3, 10.0, np.nan]
    prediction = rng.uniform(-1, 14, SIZE).astype(np.float32)
    return DepthMeter(), prediction, {"depth_m": target, "valid": rng.random(SIZE) < share}


def dense(rng: np.random.Generator, share: float) -> tuple[Meter, Array, dict[str, Array]]:
    target = rng.random((*SIZE, 3)).astype(np.float32)
    target[0, 0] = np.nan
    valid = rng.random(SIZE) < share
    valid[0, 0] = False
    return DenseMeter(), rng.random((*SIZE, 3)).astype(np.float32), {"target": target, "valid": valid}


def segmentation(rng: np.random.Generator, share: float) -> tuple[Meter, Array, dict[str, Array]]:
    label = rng.integers(0, 9, SIZE).astype(np.uint8)  # class 8 isn't known
    label[rng.random(SIZE) >= share] = 255
    return SegmentationMeter("abcdefgh"), rng.integers(0, 8, SIZE).astype(np.uint8), {"label": label}


def disparity(rng: np.random.Generator, share: float, *, four: bool = False) -> tuple[Meter, Array, dict[str, Array]]:
    truth = rng.uniform(0, 100, SIZE).astype(np.float32)
    prediction = truth + rng.normal(0, 3, SIZE).astype(np.float32)
    sample = {"disparity_px": truth, "valid": rng.random(SIZE) < share, "occluded": rng.random(SIZE) < 0.3}
    sample["disparity_px"][0, 0], sample["valid"][0, 0] = np.inf, False
    if four:
        around = rng.uniform(-4, 4, (*SIZE, 4)).astype(np.float32)
        sample |= {"disparity4_px": truth[..., None] + around, "valid4": rng.random((*SIZE, 4)) < share / 2}
    return DisparityMeter(), prediction, sample


def flow(rng: np.random.Generator, share: float, *, four: bool = False) -> tuple[Meter, Array, dict[str, Array]]:
    truth = rng.normal(0, 30, (*SIZE, 2)).astype(np.float32)
    truth[0, 0] = np.nan
    sample = {"flow_px": truth, "valid": rng.random(SIZE) < share}
    sample |= {name: rng.random(SIZE) < 0.3 for name in ("occluded", "invalid")}
    sample["valid"][0, 0] = False
    if four:
        around = rng.uniform(-4, 4, (*SIZE, 4, 2)).astype(np.float32)
        sample |= {"flow4_px": truth[:, :, None] + around, "valid4": rng.random((*SIZE, 4)) < (1 + share) / 2}
        sample["valid4"][0, 0] = False
    return FlowMeter(), np.nan_to_num(truth) + rng.normal(0, 3, (*SIZE, 2)).astype(np.float32), sample


def row_on_device(meter: Meter, prediction: Array, sample: dict[str, Array]) -> dict[str, Any]:
    there = device_meter(meter)
    assert there is not None
    numbers = there.numbers(
        torch.from_numpy(prediction), {key: torch.from_numpy(value) for key, value in sample.items()}
    )
    assert numbers.dtype == torch.float64 and numbers.ndim == 1
    return there.row(numbers.numpy())


CASES: dict[str, Callable[[np.random.Generator, float], tuple[Meter, Array, dict[str, Array]]]] = {
    "depth": depth,
    "dense": dense,
    "segmentation": segmentation,
    "disparity": disparity,
    "disparity of four": lambda rng, share: disparity(rng, share, four=True),
    "flow": flow,
    "flow of four": lambda rng, share: flow(rng, share, four=True),
}


@pytest.mark.parametrize("share", [0.0, 0.02, 0.7, 1.0])
@pytest.mark.parametrize("case", CASES)
def test_rows_are_those_of_the_meter(case: str, share: float) -> None:
    for seed in range(3):
        meter, prediction, sample = CASES[case](np.random.default_rng(seed), share)
        wanted, found = meter.measure(prediction, sample), row_on_device(meter, prediction, sample)
        assert list(found) == list(wanted)
        for name, value in wanted.items():
            assert np.shape(found[name]) == np.shape(value), name
            np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-13, equal_nan=True, err_msg=name)


@pytest.mark.parametrize("case", ["disparity", "flow"])
def test_what_a_dataset_does_not_have_is_left_out_of_both(case: str) -> None:
    meter, prediction, sample = CASES[case](np.random.default_rng(0), 0.7)
    kept = {key: value for key, value in sample.items() if key not in ("occluded", "invalid")}
    wanted, found = meter.measure(prediction, kept), row_on_device(meter, prediction, kept)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-13, equal_nan=True, err_msg=name)


def test_a_meter_of_another_kind_measures_itself() -> None:
    class Stricter(DepthMeter):
        """May measure otherwise."""

    assert device_meter(Stricter()) is None
    assert device_meter(ClassificationMeter()) is None
