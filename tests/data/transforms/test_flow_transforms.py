"""Augmentation of image pairs with flow: flow still leads from one image to the other, known or not."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from croco_bench.data.transforms.flow import JITTER, FlowAugment, mirror, resize
from croco_bench.types import Array, Sample

SIZE = (40, 56)
PLAIN = FlowAugment(SIZE, jitter=None)


def pair_of(height: int = 80, width: int = 100, *, known: float = 1.0) -> Sample:
    """A smooth texture that is shifted, scaled and turned a little; the flow is known at a share of the pixels."""
    draw = np.random.default_rng(height * width)
    image2 = cv2.GaussianBlur(draw.uniform(-900, 1155, (height, width, 3)), (0, 0), 4).clip(0, 255).astype(np.uint8)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    flow = np.stack([3 + 0.05 * rows - 0.02 * columns, -2 + 0.03 * columns + 0.02 * rows], axis=2)
    return {
        "image1": warped(image2, flow).astype(np.uint8),
        "image2": image2,
        "flow_px": flow,
        "valid": draw.random((height, width)) < known,
        "id": "one",
    }


def warped(image2: Array, flow: Array) -> Array:
    """What view 1 sees where view 2's content moved to."""
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    found: Array = cv2.remap(image2, columns + flow[:, :, 0], rows + flow[:, :, 1], cv2.INTER_LINEAR)
    return found


def disagreement(sample: Sample) -> float:
    """Median difference of view 1 and view 2 at the end of the known vectors that end inside."""
    rows, columns = np.mgrid[: sample["valid"].shape[0], : sample["valid"].shape[1]]
    ends = np.stack([columns, rows], axis=2) + sample["flow_px"]
    height, width = sample["valid"].shape
    inside = sample["valid"] & (ends >= 0).all(axis=2) & (ends <= [width - 1, height - 1]).all(axis=2)
    assert inside.sum() > 50
    difference = np.abs(warped(sample["image2"], sample["flow_px"]).astype(float) - sample["image1"])[inside]
    return float(np.median(difference))


@pytest.mark.parametrize("known", [1.0, 0.5])
@pytest.mark.parametrize("seed", range(12))
def test_the_flow_still_leads_to_the_same_content(known: float, seed: int) -> None:
    """With scale, stretch and both flips; a flow that weren't changed along would be several pixels off."""
    sample = pair_of(known=known)
    augment = replace(PLAIN, vflip_prob=0.5, scale_prob=1.0, stretch_prob=1.0)
    moved = augment(sample, np.random.default_rng(seed))
    assert {name: moved[name].shape[:2] for name in moved} == dict.fromkeys(
        ("image1", "image2", "flow_px", "valid"), SIZE
    )
    assert (moved["flow_px"].dtype, moved["valid"].dtype, moved["image1"].dtype) == (np.float32, np.bool_, np.uint8)
    assert disagreement(moved) < 2.5
    wrong = {**moved, "flow_px": -moved["flow_px"]}
    assert disagreement(wrong) > 10


def test_mirrored_flow_by_hand() -> None:
    flow = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    sample = {"flow_px": flow, "valid": np.array([[True, False, True], [True, True, True]])}
    left = mirror(sample, axis=1)
    assert left["flow_px"][0].tolist() == [[-4, 5], [-2, 3], [0, 1]] and left["valid"][0].tolist() == [
        True,
        False,
        True,
    ]
    down = mirror(sample, axis=0)
    assert down["flow_px"][0].tolist() == [[6, -7], [8, -9], [10, -11]] and down["valid"][1].tolist() == [
        True,
        False,
        True,
    ]


def sparse(points: dict[tuple[int, int], tuple[float, float]], size: tuple[int, int]) -> Sample:
    sample = {
        **{name: np.zeros((*size, 3), np.uint8) for name in ("image1", "image2")},
        **{"flow_px": np.zeros((*size, 2), np.float32), "valid": np.zeros(size, np.bool_)},
    }
    for pixel, vector in points.items():
        sample["flow_px"][pixel], sample["valid"][pixel] = vector, True
    return sample


def found(sample: Sample) -> dict[tuple[int, int], list[float]]:
    return {(int(y), int(x)): sample["flow_px"][y, x].tolist() for y, x in np.argwhere(sample["valid"])}


def test_scattered_points_lie_where_their_pixels_come_to_lie() -> None:
    """Centres 0.5, 2.5 and 3.5 of 4, three times as large: 1.5, 7.5, 10.5, in pixels 1, 7, 10. Row and column 0 stay."""
    points = {(0, 0): (1.0, 2.0), (0, 3): (5.0, 6.0), (2, 0): (3.0, 4.0), (3, 3): (7.0, 8.0)}
    larger = resize(sparse(points, (4, 4)), (12, 8))
    assert found(larger) == {(1, 1): [2, 6], (1, 7): [10, 18], (7, 1): [6, 12], (10, 7): [14, 24]}


def test_of_points_that_meet_the_nearest_to_the_center_stays() -> None:
    """5 columns become 2: centres 0.2, 0.6, 1.0, 1.4, 1.8; of the first two 0.6 is nearer to 0.5, of the rest 1.4 to 1.5."""
    points = {(0, column): (float(column + 1), 0.0) for column in range(5)}
    smaller = resize(sparse(points, (2, 5)), (2, 2))
    assert found(smaller) == {(0, 0): pytest.approx([2 * 0.4, 0]), (0, 1): pytest.approx([4 * 0.4, 0])}


def test_holes_stay_unknown_and_nothing_leaks_out_of_them() -> None:
    sample = pair_of(30, 40)
    sample["valid"][:, 10:20] = False
    sample["flow_px"][:, 10:20] = 1e6
    moved = resize(sample, (50, 60))
    assert not moved["valid"][:, 16:29].any() and moved["valid"][:, :14].any()
    assert np.abs(moved["flow_px"]).max() < 100


@pytest.mark.parametrize("scale_prob", [0.0, 1.0])
@pytest.mark.parametrize("size", [(20, 30), (60, 30), (20, 200), (41, 57), (300, 300)])
def test_crops_have_their_size_whatever_the_image(size: tuple[int, int], scale_prob: float) -> None:
    for seed in range(8):
        moved = replace(PLAIN, scale_prob=scale_prob)(pair_of(*size), np.random.default_rng(seed))
        assert all(value.shape[:2] == SIZE for value in moved.values())


def numbered(height: int, width: int) -> Sample:
    """The flow tells row and column."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    blank = np.zeros((height, width, 3), np.uint8)
    truth = {"flow_px": np.stack([columns, rows], axis=2), "valid": np.ones((height, width), np.bool_)}
    return {"image1": blank, "image2": blank, **truth}


def test_every_place_of_the_crop_comes_up_the_last_included() -> None:
    still = replace(PLAIN, size=(6, 5), scale_prob=0.0, hflip_prob=0.0, vflip_prob=0.0)
    corners = {
        tuple(still(numbered(8, 8), np.random.default_rng(seed))["flow_px"][0, 0].astype(int)) for seed in range(200)
    }
    assert corners == {(x, y) for x in range(4) for y in range(3)}


def test_scales_are_those_of_the_recipe() -> None:
    """Sizes of a square image of 1000 pixels: range of the scale, ratio of the sides, and how often it is kept."""
    scales, ratios = [], []
    for seed in range(300):
        height, width = replace(PLAIN, scale_prob=1.0).sample_size((1000, 1000), np.random.default_rng(seed))
        scales.append(np.log2(height * width / 1e6) / 2)
        ratios.append(np.log2(width / height))
    assert -0.4 <= min(scales) < -0.2 and 0.5 < max(scales) <= 0.7
    assert np.mean(np.abs(ratios) < 1e-3) == pytest.approx(0.2, abs=0.06) and 0.3 < max(np.abs(ratios)) <= 0.4
    kept = [PLAIN.sample_size((1000, 1000), np.random.default_rng(seed)) == (1000, 1000) for seed in range(300)]
    assert np.mean(kept) == pytest.approx(0.2, abs=0.06)
    # Both axes by at least what makes the image cover the crop and eight pixels more.
    assert all(size >= (48, 64) for size in (PLAIN.sample_size((48, 64), np.random.default_rng(s)) for s in range(20)))
    assert replace(PLAIN, scale_prob=1.0, scale=(-5, -5)).sample_size((96, 80), np.random.default_rng(0)) == (77, 64)


def test_flips_come_as_often_as_told() -> None:
    signs = []
    for seed in range(400):
        moved = replace(PLAIN, scale_prob=0.0)(numbered(60, 70), np.random.default_rng(seed))["flow_px"]
        signs.append((moved[0, :, 0].sum() < 0, moved[:, 0, 1].sum() < 0))
    assert np.mean(signs, axis=0).tolist() == [pytest.approx(0.5, abs=0.08), pytest.approx(0.1, abs=0.05)]


def test_colors_are_mostly_the_same_in_both_images() -> None:
    sample = pair_of(8, 8)
    sample["image2"] = sample["image1"]
    augment = replace(FlowAugment((8, 8)), scale_prob=0.0, hflip_prob=0.0, vflip_prob=0.0)
    assert augment.jitter == JITTER
    equal, means = [], []
    for seed in range(200):
        moved = augment(sample, np.random.default_rng(seed))
        equal.append(np.array_equal(moved["image1"], moved["image2"]))
        means.append(moved["image1"].mean() / sample["image1"].mean())
    assert np.mean(equal) == pytest.approx(0.8, abs=0.08)
    assert 0.5 < min(means) < 0.75 and 1.25 < max(means) < 1.6


def test_augmentation_is_a_function_of_the_generator_and_leaves_the_sample_alone() -> None:
    sample = pair_of(known=0.8)
    before = {name: value.copy() for name, value in sample.items() if name != "id"}
    one, two, other = (FlowAugment(SIZE)(sample, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not np.array_equal(one["image1"], other["image1"])
    for name, value in before.items():
        np.testing.assert_array_equal(sample[name], value)
