"""Colour jitter, and images as network inputs."""

import numpy as np
import pytest

from croco_bench.data.transforms.color import ColorJitter, to_gray, to_unit


def test_colors_follow_the_generator_and_nothing_else() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    jitter = ColorJitter((0.5, 1.5), (0.5, 1.5), (0.5, 1.5), (-0.2, 0.2))
    before = image.copy()
    one, two = (jitter(image, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(image, before)
    assert (one != jitter(image, np.random.default_rng(6))).any()
    assert one.dtype == np.uint8
    assert one.shape == image.shape
    np.testing.assert_array_equal(ColorJitter()(image, np.random.default_rng(5)), image)


def test_each_color_change_is_the_one_it_is_called() -> None:
    image = np.full((4, 4, 3), (200, 100, 50), np.uint8)
    rng = np.random.default_rng(0)
    assert ColorJitter(brightness=(0.5, 0.5))(image, rng)[0, 0].tolist() == [100, 50, 25]
    assert np.ptp(ColorJitter(saturation=(0, 0))(image, rng)[0, 0]) == 0
    assert np.ptp(ColorJitter(contrast=(0, 0))(image, rng)) == 0
    red_to_green = ColorJitter(hue=(1 / 3, 1 / 3))(np.full((2, 2, 3), (255, 0, 0), np.uint8), rng)
    assert red_to_green[0, 0].tolist() == [0, 255, 0]
    assert to_gray(image)[0, 0].tolist() == pytest.approx([0.299 * 200 + 0.587 * 100 + 0.114 * 50] * 3, abs=1)


def test_networks_get_channels_first_in_the_unit_range() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    image[1, 2] = (255, 51, 0)
    tensor = to_unit(image)
    assert tensor.shape == (3, 2, 3)
    assert tensor[:, 1, 2].tolist() == pytest.approx([1.0, 0.2, 0.0])
