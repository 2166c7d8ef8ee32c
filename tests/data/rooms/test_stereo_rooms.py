"""Rectified pairs of rooms: disparity, occlusion and appearance agree."""

import cv2
import numpy as np
import pytest

from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.render import flow_between
from croco_bench.data.rooms.stereo import StereoPair, make_stereo

SIZE = (48, 64)


@pytest.fixture(scope="module")
def pairs() -> list[StereoPair]:
    return [make_stereo(make_scene(seed), SIZE, np.random.default_rng(seed)) for seed in range(6)]


def test_disparity_is_the_flow_and_that_along_rows_only(pairs: list[StereoPair]) -> None:
    for pair in pairs:
        flow = flow_between(pair.left, pair.right)
        np.testing.assert_allclose(-flow[..., 0], pair.disparity_px, rtol=1e-4, atol=1e-4)
        assert np.abs(flow[..., 1]).max() < 1e-4
        assert (pair.disparity_px > 0).all() and pair.disparity_px.dtype == np.float32


def test_hidden_is_what_another_disparity_covers_or_the_edge_cuts_off(pairs: list[StereoPair]) -> None:
    """Of pixels that come to lie in one column, all but the nearest are hidden; checked away from edges of things."""
    for pair in pairs:
        columns = np.arange(SIZE[1]) - pair.disparity_px
        outside = columns < -0.5
        assert pair.occluded[outside].all()
        depth = pair.right.depth_m
        at = np.rint(columns).astype(int).clip(0, SIZE[1] - 1)
        rows = np.arange(SIZE[0])[:, None]
        around = np.stack([depth[rows, (at + shift).clip(0, SIZE[1] - 1)] for shift in (-1, 0, 1)])
        nearer = around.max(axis=0) < 0.97 * pair.left.depth_m
        same = np.abs(around / pair.left.depth_m - 1).max(axis=0) < 0.01
        assert pair.occluded[nearer & ~outside].all() and not pair.occluded[same & (columns > 0.5)].any()
    assert 0.02 < np.mean([pair.occluded.mean() for pair in pairs]) < 0.4


def test_what_both_views_see_looks_alike(pairs: list[StereoPair]) -> None:
    for pair in pairs:
        left, right = (
            cv2.cvtColor(view.rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) for view in (pair.left, pair.right)
        )
        x, y = np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0]))
        fetched = cv2.remap(right, (x - pair.disparity_px).astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
        assert np.median(np.abs(fetched - left)[~pair.occluded]) < 2


def test_pairs_are_a_function_of_the_seed(pairs: list[StereoPair]) -> None:
    again = make_stereo(make_scene(2), SIZE, np.random.default_rng(2))
    assert np.array_equal(again.left.rgb, pairs[2].left.rgb) and again.baseline_m == pairs[2].baseline_m


def test_what_the_right_view_hides_is_what_is_nearer_there(pairs: list[StereoPair]) -> None:
    """A z-buffer of all pixels' disparities, instead of rays."""
    for pair in pairs:
        rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
        there = np.rint(columns - pair.disparity_px).astype(int)
        inside = columns - pair.disparity_px >= -0.5
        assert pair.occluded[~inside].all()
        nearest = np.zeros(SIZE)
        np.maximum.at(nearest, (rows[inside], there[inside]), pair.disparity_px[inside])
        hidden = np.ones(SIZE, np.bool_)
        hidden[inside] = nearest[rows[inside], there[inside]] > pair.disparity_px[inside] + 0.75
        assert (hidden == pair.occluded).mean() > 0.97
