"""Disparity's metrics, the augmentation of rectified pairs, and pairs of rendered rooms."""

from typing import Any

import numpy as np
import pytest

from croco_bench.data.datasets.matching.middlebury import open_evaluation
from croco_bench.data.miniatures.crestereo import CREStereoMini
from croco_bench.data.miniatures.middlebury import MiddleburyMini
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.render import flow_between
from croco_bench.data.rooms.stereo import StereoPair, make_stereo
from croco_bench.data.transforms.stereo import StereoAugment
from croco_bench.errors import UsageError
from croco_bench.metrics.disparity import DisparityMeter
from croco_bench.metrics.meter import stack
from croco_bench.types import Array, Sample

SIZE = (40, 56)


@pytest.fixture(scope="module")
def rooms() -> list[StereoPair]:
    return [make_stereo(make_scene(seed), SIZE, np.random.default_rng(seed)) for seed in (3, 4)]


def test_rooms_are_rectified_and_their_disparity_is_where_points_go(rooms: list[StereoPair]) -> None:
    for pair in rooms:
        flow = flow_between(pair.left, pair.right)
        assert np.abs(flow[:, :, 1]).max() < 1e-4
        np.testing.assert_allclose(-flow[:, :, 0], pair.disparity_px, atol=1e-3)
        assert pair.disparity_px.dtype == np.float32 and pair.disparity_px.min() > 0


def test_what_the_right_view_hides_is_what_is_nearer_there(rooms: list[StereoPair]) -> None:
    """A z-buffer of all pixels' disparities, instead of rays."""
    for pair in rooms:
        rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
        there = np.rint(columns - pair.disparity_px).astype(int)
        inside = columns - pair.disparity_px >= -0.5
        assert pair.occluded[~inside].all()
        nearest = np.zeros(SIZE)
        np.maximum.at(nearest, (rows[inside], there[inside]), pair.disparity_px[inside])
        hidden = np.ones(SIZE, np.bool_)
        hidden[inside] = nearest[rows[inside], there[inside]] > pair.disparity_px[inside] + 0.75
        assert (hidden == pair.occluded).mean() > 0.97


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MiddleburyMini(scenes=2), "scenes must be 3 .* to 15, not 2"),
        (lambda: MiddleburyMini(test_scenes=16), "test_scenes must be 1 to 15, not 16"),
        (lambda: MiddleburyMini(height=1), "at least 2 pixels"),
        (lambda: CREStereoMini(width=1), "at least 2 pixels"),
    ],
)
def test_miniatures_that_cannot_be_are_refused(make: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()


def test_the_miniature_reads_back_with_its_masks(tiny_data: Any) -> None:
    reader = open_evaluation(tiny_data / "middlebury", "train")
    for index in range(len(reader)):
        sample = reader[index]
        assert sample["valid"].all() and (sample["disparity_px"] > 0).all()
        assert 0 < sample["occluded"].mean() < 0.4
    assert "disparity_px" not in open_evaluation(tiny_data / "middlebury", "test")[0]


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
