"""Intervals from resampled images: their width, and too few images for one."""

from typing import ClassVar

import numpy as np
import pytest

from croco_bench.metrics import Metric, better_of
from croco_bench.metrics.definitions import CLASSES, TOP1
from croco_bench.metrics.meter import FEWEST_IMAGES, Meter, bootstrap


class Mean(Meter):
    """The mean of one value per image."""

    metrics: ClassVar = (TOP1,)

    def measure(self, prediction, sample):  # type: ignore[no-untyped-def]
        raise NotImplementedError


@pytest.mark.parametrize("count", [1, 2, FEWEST_IMAGES - 1])
def test_few_images_have_no_interval(count: int) -> None:
    assert bootstrap(Mean(), {"top1": np.linspace(0, 100, count)}) == {"top1": None}


def test_ten_images_have_one_of_about_the_normal_width() -> None:
    values = np.random.default_rng(0).normal(50, 10, FEWEST_IMAGES)
    low, high = bootstrap(Mean(), {"top1": values}, draws=4000)["top1"] or (0, 0)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / FEWEST_IMAGES**0.5, rel=0.05)


def test_a_count_has_no_direction() -> None:
    assert [better_of(value) for value in (True, False, None)] == ["higher", "lower", "neither"]
    assert (CLASSES.arrow, TOP1.arrow) == ("", "↑") and isinstance(CLASSES, Metric)
