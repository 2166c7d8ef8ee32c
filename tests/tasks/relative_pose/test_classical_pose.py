"""Poses from matches: exact ones on points, near ones on rendered rooms, none where there is nothing to match."""

from functools import cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from croco_bench.data.rooms.camera import Camera, intrinsics, nudge, sample_camera
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.render import render
from croco_bench.metrics.pose_errors import direction_error_deg, rotation_error_deg
from croco_bench.tasks.relative_pose.classical import Estimator, by_opencv, by_poselib, match, relative_poses, sift
from croco_bench.types import Array

SIZE = (240, 320)
ESTIMATORS = pytest.mark.parametrize("estimate", [by_poselib, by_opencv])


def motion(seed: int = 0) -> Array:
    """Points of camera 2 into camera 1: 30 cm and 12 degrees."""
    rng = np.random.default_rng(seed)
    pose, step = np.eye(4), rng.normal(size=3)
    pose[:3, :3] = Rotation.from_rotvec(np.radians(12) * _unit(rng.normal(size=3))).as_matrix()
    pose[:3, 3] = 0.3 * _unit(step)
    return pose


def _unit(vector: Array) -> Array:
    return vector / float(np.linalg.norm(vector))


def projected(relative: Array, K1: Array, K2: Array, count: int = 60) -> tuple[Array, Array]:
    """Random points in front of both cameras, in the pixels of each."""
    rng = np.random.default_rng(1)
    second = rng.uniform([-1.5, -1, 2], [1.5, 1, 5], (count, 3))
    first = second @ relative[:3, :3].T + relative[:3, 3]
    pixels = [points @ K.T for points, K in ((first, K1), (second, K2))]
    return pixels[0][:, :2] / pixels[0][:, 2:], pixels[1][:, :2] / pixels[1][:, 2:]


@cache
def rooms() -> tuple[Array, Array, Camera, Camera, Array]:
    """Two views of a room, their cameras, and a view of another room."""
    scene, rng = make_scene(5), np.random.default_rng(5)
    first = sample_camera(scene, SIZE, rng)
    second = nudge(first, rng)
    one, two = (render(scene, camera).rgb for camera in (first, second))
    return one, two, first, second, render(make_scene(6), first).rgb


@ESTIMATORS
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_points_give_the_motion_of_camera_2_into_camera_1(estimate: Estimator, noise: float) -> None:
    """Both cameras differ in their intrinsics, and a fifth of the matches is wrong."""
    truth, K1, K2 = motion(), intrinsics(SIZE), intrinsics(SIZE, 50.0)
    K1[0, 0], K2[0, 2] = 1.1 * K1[0, 0], K2[0, 2] + 9
    points1, points2 = projected(truth, K1, K2)
    rng = np.random.default_rng(7)
    points1 += rng.normal(0, noise, points1.shape)
    points1[:12] = rng.uniform((0, 0), SIZE[::-1], (12, 2))
    found = estimate(points1, points2, K1, K2)
    assert found is not None and found.shape == (3, 4)
    limit = 0.001 if noise == 0 else 1.0
    assert rotation_error_deg(found[:, :3], truth[:3, :3]) < limit
    assert direction_error_deg(found[:, 3], truth[:3, 3]) < 8 * limit
    assert np.linalg.norm(found[:, 3]) == pytest.approx(1)
    np.testing.assert_array_equal(found, estimate(points1, points2, K1, K2))


@pytest.mark.slow
@ESTIMATORS
def test_two_views_of_a_room_give_their_relative_pose(estimate: Estimator) -> None:
    one, two, first, second, elsewhere = rooms()
    truth = np.linalg.inv(first.cam2world) @ second.cam2world
    K = np.stack([first.K] * 3)
    found = relative_poses([one, elsewhere, np.full_like(one, 90)], two, K, second.K, estimate)
    assert found.shape == (3, 4, 4)
    assert rotation_error_deg(found[0, :3, :3], truth[:3, :3]) < 2.5
    assert direction_error_deg(found[0, :3, 3], truth[:3, 3]) < 25
    np.testing.assert_array_equal(found[0, 3], (0, 0, 0, 1))
    assert np.isnan(found[2]).all(), "a grey wall has no keypoints"
    again = relative_poses([one], two, K[:1], second.K, estimate)
    np.testing.assert_array_equal(again, found[:1])
    # The other way round is the inverse.
    back = relative_poses([two], one, K[:1], first.K, estimate)[0]
    assert rotation_error_deg(back[:3, :3], truth[:3, :3].T) < 2.5


@ESTIMATORS
def test_too_few_or_random_matches_are_a_failure(estimate: Estimator) -> None:
    one, two, first, second, _ = rooms()
    gray = np.full_like(one, 128)
    for reference, query in ((gray, two), (one, gray), (gray, gray), (one[:5, :5], two)):
        assert np.isnan(relative_poses([reference], query, first.K[None], second.K, estimate)).all()
    rng = np.random.default_rng(0)
    points = rng.uniform((0, 0), SIZE[::-1], (2, 9, 2))
    assert estimate(points[0], points[1], first.K, second.K) is None


def test_matches_are_mutual_and_point_to_the_same_place() -> None:
    one, two, first, second, _ = rooms()
    points1, points2 = match(sift(one), sift(two))
    assert len(points1) == len(points2) > 20
    assert len(np.unique(np.hstack([points1, points2]), axis=0)) == len(points1)
    world = render(make_scene(5), first).points().reshape(*SIZE, 3)
    rows, columns = np.rint(points1).astype(int).T[::-1]
    expected, _ = second.project(world[rows, columns])
    assert np.mean(np.linalg.norm(expected - points2, axis=1) < 3) > 0.7
