"""Resizing, cropping and flipping of an image together with its maps."""

import numpy as np
import pytest

from croco_bench.data.transforms import geometry
from croco_bench.types import Sample


def coded(height: int, width: int) -> Sample:
    """Every map says where each pixel came from."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, rows + columns], axis=2).astype(np.uint8)
    depth = (1000 * rows + columns).astype(np.float32)
    return {"image": image, "depth_m": depth, "valid": (rows + columns) % 3 > 0, "id": "x"}


def agree(sample: Sample) -> None:
    rows, columns = np.divmod(sample["depth_m"].astype(int), 1000)
    np.testing.assert_array_equal(sample["image"][:, :, 0], rows)
    np.testing.assert_array_equal(sample["image"][:, :, 1], columns)
    np.testing.assert_array_equal(sample["valid"], (rows + columns) % 3 > 0)
    assert sample["id"] == "x"


@pytest.mark.parametrize(
    ("old", "size", "new"),
    [
        ((480, 640), (256, 256), (256, 341)),
        ((640, 480), (256, 256), (341, 256)),
        ((120, 160), (64, 64), (64, 85)),
        ((120, 160), (64, 128), (96, 128)),
        ((48, 64), (96, 96), (96, 128)),
        ((64, 64), (64, 64), (64, 64)),
    ],
)
def test_the_smallest_maps_that_cover_the_size(
    old: tuple[int, int], size: tuple[int, int], new: tuple[int, int]
) -> None:
    moved = geometry.smallest_side(coded(*old), size)
    assert moved["image"].shape == (*new, 3)
    assert moved["depth_m"].shape == moved["valid"].shape == new
    assert moved["valid"].dtype == np.bool_
    assert moved["depth_m"].dtype == np.float32


def test_depths_are_picked_and_colors_are_mixed() -> None:
    sample = coded(40, 60)
    moved = geometry.resize(sample, (27, 31))
    assert np.isin(moved["depth_m"], sample["depth_m"]).all()
    step = np.where(np.arange(40) < 20, 0, 200).astype(np.uint8)
    image = np.repeat(np.repeat(step[:, None, None], 60, axis=1), 3, axis=2)
    assert len(np.unique(geometry.resize({"image": image}, (27, 31))["image"])) > 2


def test_bilinear_uses_pixel_centers() -> None:
    ramp = np.repeat(np.arange(0, 80, 2, dtype=np.uint8)[:, None, None], 3, axis=2).repeat(8, axis=1)
    moved = geometry.resize({"image": ramp}, (20, 8))["image"][:, 0, 0].astype(float)
    np.testing.assert_allclose(moved, 4 * np.arange(20) + 1, atol=0.5)


def test_crops_and_flips_move_everything_together() -> None:
    sample = coded(40, 60)
    rng = np.random.default_rng(0)
    agree(geometry.crop(sample, 3, 5, (20, 30)))
    agree(geometry.flip(sample))
    assert geometry.flip(sample)["image"][0, 0, 1] == 59
    np.testing.assert_array_equal(geometry.flip(geometry.flip(sample))["depth_m"], sample["depth_m"])
    middle = geometry.center_crop(sample, (20, 31))
    agree(middle)
    assert middle["image"][0, 0].tolist()[:2] == [10, 14]
    for _ in range(20):
        agree(geometry.random_crop(geometry.flip(sample), (13, 7), rng))


def test_random_crops_reach_every_place_equally() -> None:
    sample = coded(12, 10)
    rng = np.random.default_rng(1)
    corners = [tuple(geometry.random_crop(sample, (9, 9), rng)["image"][0, 0, :2]) for _ in range(1600)]
    counts = {corner: corners.count(corner) for corner in set(corners)}
    assert set(counts) == {(row, column) for row in range(4) for column in range(2)}
    assert all(140 < count < 260 for count in counts.values())
    agree(geometry.random_crop(sample, (12, 10), rng))
