"""Augmentation of rectified pairs: each step moves images, disparity and validity together."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from croco_bench.data.transforms.stereo import StereoAugment
from croco_bench.types import Sample

CROP = StereoAugment((20, 30), stretch_prob=0.0, margin=0, vflip_prob=0.0, jitter_pose_prob=0.0, color_prob=0.0)


def sample_of(height: int = 40, width: int = 60) -> Sample:
    """Images and a disparity that encode the position of every pixel: rows in red, columns in green."""
    y, x = np.mgrid[:height, :width]
    left = np.stack([y, x, np.zeros_like(x)], axis=2).astype(np.uint8)
    valid = (x + y) % 3 > 0
    disparity = np.where(valid, 1 + x / 10, 0).astype(np.float32)
    return {"image1": left, "image2": left + np.array([0, 0, 9], np.uint8), "disparity_px": disparity, "valid": valid}


def draws(augment: StereoAugment, count: int = 40, **size: int) -> list[Sample]:
    return [augment(sample_of(**size), np.random.default_rng(seed)) for seed in range(count)]


def test_crops_are_windows_of_all_maps_and_reach_every_edge() -> None:
    tops, lefts = set[int](), set[int]()
    for found in draws(CROP, 400):
        top, left = found["image1"][0, 0, :2].astype(int)
        spot = np.s_[top : top + 20, left : left + 30]
        assert all(np.array_equal(found[name], sample_of()[name][spot]) for name in found)
        tops, lefts = tops | {top}, lefts | {left}
    assert {0, 20} <= tops and {0, 30} <= lefts


def test_a_stretch_is_along_rows_and_disparity_with_it() -> None:
    """Twice as wide: half as many columns of the old image in a crop, all its rows as before, disparities doubled."""
    augment = replace(CROP, stretch_prob=1.0, stretch_small=(1.0, 1.0))
    for found in draws(augment, 5):
        rows, columns = (found["image1"][..., axis].astype(float) for axis in (0, 1))
        assert np.ptp(rows, axis=1).max() == 0 and np.ptp(rows[:, 0]) == 19
        assert np.ptp(columns[0]) == pytest.approx(14.5, abs=0.6)
        known = found["valid"]
        expected = 2 * (1 + columns / 10)
        assert np.abs(found["disparity_px"] - expected)[known].max() < 0.25
        assert (found["disparity_px"][~known] == 0).all() and 0.5 < known.mean() < 0.8


def test_large_images_have_a_range_of_their_own() -> None:
    augment = replace(CROP, stretch_prob=1.0, stretch_small=(1.0, 1.0), stretch_large=(0.0, 0.0), large_from_px=40)
    (found,) = draws(augment, 1)
    assert np.ptp(found["image1"][0, :, 1]) == 29
    (found,) = draws(replace(augment, large_from_px=41), 1)
    assert np.ptp(found["image1"][0, :, 1]) < 16


@pytest.mark.parametrize(("height", "width"), [(12, 60), (40, 25), (12, 25), (20, 30)])
@pytest.mark.parametrize("stretch_prob", [0.0, 1.0])
def test_images_that_the_crop_does_not_fit_in_are_enlarged(height: int, width: int, stretch_prob: float) -> None:
    for found in draws(StereoAugment((20, 30), stretch_prob=stretch_prob), 5, height=height, width=width):
        assert {value.shape[:2] for value in found.values()} == {(20, 30)}
        ratio = np.median(found["disparity_px"][found["valid"]])
        assert 1 <= ratio < 20


def test_upside_down_is_so_for_all_maps() -> None:
    for found in draws(replace(CROP, vflip_prob=1.0), 5):
        bottom, left = found["image1"][0, 0, :2].astype(int)
        whole = sample_of()
        for name in found:
            spot = whole[name][bottom - 19 : bottom + 1, left : left + 30]
            assert np.array_equal(found[name], spot[::-1])


def test_only_the_right_view_is_shaken_and_by_a_little() -> None:
    """A dot that moves down or up by at most 2 px and what a tenth of a degree adds."""
    image = np.zeros((41, 61, 3), np.uint8)
    cv2.circle(image, (30, 20), 4, (255, 255, 255), -1)
    sample = {**sample_of(41, 61), "image1": image, "image2": image}
    moves = []
    for seed in range(60):
        found = replace(CROP, size=(41, 61), jitter_pose_prob=1.0)(sample, np.random.default_rng(seed))
        assert np.array_equal(found["image1"], image)
        y, x = np.mgrid[:41, :61]
        weight = found["image2"][..., 0].astype(float)
        assert (weight * x).sum() / weight.sum() == pytest.approx(30, abs=0.15)
        moves.append((weight * y).sum() / weight.sum() - 20)
    assert -2.2 < min(moves) < -1.5 and 1.5 < max(moves) < 2.2
    assert len({found["image2"].tobytes() for found in draws(replace(CROP, jitter_pose_prob=0.0), 1)}) == 1


def test_colors_change_in_both_views_and_sometimes_apart() -> None:
    whole = {**sample_of(20, 30), "image1": np.full((20, 30, 3), (90, 120, 60), np.uint8)}
    whole["image2"] = whole["image1"].copy()
    augment = replace(CROP, color_prob=0.5)
    same = changed = 0
    for seed in range(200):
        found = augment(whole, np.random.default_rng(seed))
        same += np.array_equal(found["image1"], found["image2"])
        changed += not np.array_equal(found["image1"], whole["image1"])
        assert np.array_equal(found["disparity_px"], whole["disparity_px"])
    # One kind of change is tried half of the time, and made half of the time; otherwise five are.
    assert 0.5 < changed / 200 < 0.85
    # Of several changes made, each is asymmetric half of the time.
    assert 0.35 < same / 200 < 0.7
    symmetric = [replace(augment, asymmetric_color_prob=0.0)(whole, np.random.default_rng(seed)) for seed in range(50)]
    assert all(np.array_equal(found["image1"], found["image2"]) for found in symmetric)


def test_all_randomness_is_the_generators() -> None:
    one, two = (StereoAugment((20, 30))(sample_of(), np.random.default_rng(7)) for _ in range(2))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert one.keys() == {"image1", "image2", "disparity_px", "valid"}
    assert all(value.flags["C_CONTIGUOUS"] for value in one.values())


def rolled(height: int, width: int, disparity: int = 4) -> Sample:
    """A texture that lies `disparity` further left in the right view; unknown on the left."""
    rng = np.random.default_rng(height)
    wide = rng.integers(0, 256, (height, width + disparity, 3), dtype=np.uint8)
    valid = np.ones((height, width), np.bool_)
    valid[:, :disparity] = False
    truth = np.where(valid, np.float32(disparity), np.float32(0))
    return {"image1": wide[:, :width], "image2": wide[:, disparity:], "disparity_px": truth, "valid": valid}


def test_crops_and_flips_keep_pairs_rectified() -> None:
    change = StereoAugment((16, 24), stretch_prob=0.0, margin=0, jitter_pose_prob=0.0, color_prob=0.0)
    for seed in range(8):
        moved = change(rolled(20, 40), np.random.default_rng(seed))
        assert moved["valid"].shape == (16, 24) and set(np.unique(moved["disparity_px"])) <= {0, 4}
        assert np.array_equal(moved["image1"][:, 4:], moved["image2"][:, :-4])
        assert np.array_equal(moved["disparity_px"] > 0, moved["valid"])


def test_stretches_are_along_rows_and_in_pixels_of_the_new_width() -> None:
    change = StereoAugment(
        (20, 32), stretch_prob=1.0, stretch_small=(1.0, 1.0), vflip_prob=0.0, jitter_pose_prob=0.0, color_prob=0.0
    )
    moved = change(rolled(20, 40), np.random.default_rng(0))
    assert set(np.unique(moved["disparity_px"])) <= {0, 8} and (moved["disparity_px"] == 8).any()
    left, right = moved["image1"].astype(float), moved["image2"].astype(float)
    assert np.abs(left[:, 8:] - right[:, :-8]).mean() < 3 < np.abs(left - right).mean()


@pytest.mark.parametrize("size", [(16, 24), (30, 70)])
def test_samples_fill_the_crop_whatever_their_size(size: tuple[int, int]) -> None:
    for seed in range(6):
        moved = StereoAugment(size)(rolled(20, 40), np.random.default_rng(seed))
        assert moved["image1"].shape == moved["image2"].shape == (*size, 3)
        assert moved["image1"].dtype == moved["image2"].dtype == np.uint8
        assert moved["disparity_px"].shape == moved["valid"].shape == size
        again = StereoAugment(size)(rolled(20, 40), np.random.default_rng(seed))
        assert all(np.array_equal(again[key], moved[key]) for key in moved)


def test_the_right_view_alone_is_shaken_by_little() -> None:
    change = StereoAugment((20, 40), stretch_prob=0.0, margin=0, vflip_prob=0.0, jitter_pose_prob=1.0, color_prob=0.0)
    ramp = np.repeat(np.arange(0, 200, 10, dtype=np.uint8)[:, None, None], 40, axis=1).repeat(3, axis=2)
    sample = {**rolled(20, 40), "image1": ramp, "image2": ramp}
    shifts = []
    for seed in range(20):
        moved = change(sample, np.random.default_rng(seed))
        assert np.array_equal(moved["image1"], ramp)
        shifts.append((moved["image2"][4:-4].astype(float) - ramp[4:-4]).mean() / 10)
    assert max(np.abs(shifts)) < 2.2 and np.ptp(shifts) > 1.5
