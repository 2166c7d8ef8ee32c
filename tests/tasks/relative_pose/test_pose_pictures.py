"""Drawings of poses: things are where they should be."""

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from croco_bench.tasks.relative_pose.pictures import _epipolar_line, _line, epipolar, from_above
from croco_bench.types import Array

GREEN, RED = (40, 150, 70), (210, 50, 40)
# Looks along the world's y, z is up: a camera's x is right, y down, z ahead.
AHEAD = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def camera(x: float, y: float, z: float = 1.5, yaw_deg: float = 0.0) -> Array:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("z", yaw_deg, degrees=True).as_matrix() @ AHEAD
    pose[:3, 3] = x, y, z
    return pose


def center_of(picture: Array, color: tuple[int, int, int]) -> Array:
    """Middle (x, y) of what is drawn in a colour."""
    rows, columns = np.nonzero((picture == color).all(axis=2))
    return np.array([columns.mean(), rows.mean()])


@pytest.mark.parametrize("tilt_deg", [0.0, 35.0])
def test_right_is_right_and_ahead_is_up(tilt_deg: float) -> None:
    """Whatever the world's axes are called: here they may be tilted."""
    tilt = np.eye(4)
    tilt[:3, :3] = Rotation.from_euler("xyz", [tilt_deg, 2 * tilt_deg, 0], degrees=True).as_matrix()
    database = np.stack([tilt @ camera(-0.5, 0), tilt @ camera(0.5, 0)])
    picture, across_m = from_above(database, tilt @ camera(0, 0.2), tilt @ camera(0.4, -0.2), (120, 160))
    assert picture.shape == (120, 160, 3) and across_m == pytest.approx(1.6)
    truth, found = center_of(picture, GREEN), center_of(picture, RED)
    pixels = 160 / across_m
    np.testing.assert_allclose(found - truth, [0.4 * pixels, 0.4 * pixels], atol=1.5)


def test_a_pose_that_was_not_found_is_not_drawn_and_a_far_one_lies_at_the_edge() -> None:
    database = np.stack([camera(0, 0)])
    plain, _ = from_above(database, camera(0.1, 0), np.full((4, 4), np.nan), (100, 100))
    assert not (plain == RED).all(axis=2).any()
    far, _ = from_above(database, camera(0.1, 0), camera(1e6, 0), (100, 100))
    assert (far == RED).all(axis=2).any() and center_of(far, RED)[0] > 95


def test_a_point_lies_on_its_epipolar_line() -> None:
    rng, motion = np.random.default_rng(0), np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec([0.1, -0.2, 0.05]).as_matrix()
    motion[:3, 3] = 0.3, 0.1, -0.2
    K1, K2 = np.array([[50.0, 0, 30], [0, 55, 20], [0, 0, 1]]), np.array([[40.0, 0, 25], [0, 40, 22], [0, 0, 1]])
    for point in rng.uniform([-1, -1, 2], [1, 1, 4], (5, 3)):
        first, second = K1 @ (motion[:3, :3] @ point + motion[:3, 3]), K2 @ point
        line = _epipolar_line(first / first[2], motion, K1, K2)
        assert abs(line @ (second / second[2])) / np.linalg.norm(line[:2]) < 1e-9


@pytest.mark.parametrize(
    ("line", "columns"),
    [((1, 0, -20), {20}), ((-2, 0, 40), {20}), ((0, 1, -7), set(range(1, 39))), ((1, 1, -30), set(range(2, 30)))],
)
def test_lines_are_drawn_across_the_picture(line: tuple[float, float, float], columns: set[int]) -> None:
    picture = np.zeros((30, 40, 3), np.uint8)
    _line(picture, np.array(line, dtype=float), (255, 255, 255), 1)
    rows, found = np.nonzero(picture[:, :, 0] > 200)
    assert columns <= set(found.tolist())
    assert all(
        abs(line[0] * x + line[1] * y + line[2]) <= 1.5 * np.hypot(*line[:2]) for x, y in zip(found, rows, strict=True)
    )


@pytest.mark.parametrize("line", [(0, 0, 1), (0, 0, 0), (1e-9, 0, 1), (1, 0, 1e12), (float("nan"), 1, 1)])
def test_lines_that_are_nowhere_are_not_drawn(line: tuple[float, float, float]) -> None:
    picture = np.zeros((30, 40, 3), np.uint8)
    _line(picture, np.array(line), (255, 255, 255), 1)
    assert not picture.any()


def test_images_are_left_as_they_were_and_no_motion_draws_no_lines() -> None:
    images = np.zeros((30, 40, 3), np.uint8), np.zeros((30, 40, 3), np.uint8)
    K = np.array([[40.0, 0, 20], [0, 40, 15], [0, 0, 1]])
    one, two = epipolar(images, K, K, np.eye(4), np.eye(4))
    assert one.any() and not two.any() and not images[0].any()
    moved = np.eye(4)
    moved[0, 3] = 1
    _, two = epipolar(images, K, K, moved, np.full((4, 4), np.nan))
    lit = np.flatnonzero(cv2.cvtColor(two, cv2.COLOR_RGB2GRAY).max(axis=1) > 40)
    assert {10, 20} <= set(lit.tolist()) and 5 not in lit, "a step to the right moves points along their rows"
