"""Co-visibility of depth maps, compared with exact ray casting."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from croco_bench.data.mining.covisibility import Matching, Surface, frame_covisibility, surface_covisibility, surface_of
from croco_bench.data.posed.sequences import seven_scenes_intrinsics
from croco_bench.data.posed.video import PosedFrame
from croco_bench.data.rooms import render
from croco_bench.data.rooms.camera import Camera, has_free_sight, nudge, sample_camera
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.scene import Scene
from croco_bench.seeding import make_rng

SIZE = (120, 160)

MATCHING = Matching()


def depth_of(scene: Scene, camera: Camera) -> Any:
    rays = camera.rays()
    depth, _ = scene.cast(np.broadcast_to(camera.center, rays.shape), rays)
    return depth.astype(np.float32).reshape(camera.size)


def surface(scene: Scene, camera: Camera, matching: Matching = MATCHING) -> Surface:
    return surface_of(depth_of(scene, camera), camera.K, camera.cam2world, matching)


def some_pairs(count: int) -> Iterator[tuple[Scene, Camera, Camera]]:
    for seed in range(count):
        scene, rng = make_scene(100 + seed), make_rng(seed, "covisibility")
        first = sample_camera(scene, SIZE, rng)
        for strength in (1.0, 3.0):
            second = nudge(first, rng, strength)
            if has_free_sight(scene, second):
                yield scene, first, second


def test_covisibility_is_near_the_exact_one() -> None:
    errors: list[float] = []
    truths: list[float] = []
    for scene, first, second in some_pairs(6):
        truth = render.camera_covisibility(scene, first, second)
        found = surface_covisibility(surface(scene, first), surface(scene, second), MATCHING)
        truths += truth
        errors += [mine - exact for mine, exact in zip(found, truth, strict=True)]
    assert min(truths) < 0.4 and max(truths) > 0.8 and len(truths) >= 16
    assert np.abs(errors).mean() < 0.005 and np.abs(errors).max() < 0.02
    # Every fourth row and column is enough to choose pairs by.
    coarse = Matching(rows=30)
    for scene, first, second in some_pairs(2):
        truth = render.camera_covisibility(scene, first, second)
        found = surface_covisibility(surface(scene, first, coarse), surface(scene, second, coarse), coarse)
        assert np.abs(np.subtract(found, truth)).max() < 0.06


def test_covisibility_has_a_direction_and_knows_what_is_unknown(tmp_path: Path) -> None:
    """A wall 2 m and 1 m ahead: all of the near view is in the far one, a quarter of the far view in the near one."""
    K, frames = seven_scenes_intrinsics((96, 128)), []
    for number, distance in enumerate((2.0, 1.0)):
        pose = np.eye(4)
        pose[2, 3] = -distance
        depth = np.full((96, 128), round(1000 * distance), dtype=np.uint16)
        if number == 1:
            depth[:48] = 0
        cv2.imwrite(str(tmp_path / f"{number}.png"), depth)
        frames.append(PosedFrame(tmp_path, tmp_path / f"{number}.png", K, pose, (96, 128)))
    # Half of the near view is unknown: the other half speaks for it.
    assert frame_covisibility(frames[0], frames[1]) == pytest.approx((0.25, 1), abs=0.01)
    assert frame_covisibility(frames[0], frames[0]) == (1, 1)
    assert frame_covisibility(frames[1], frames[1]) == (1, 1)
    near = surface_of(frames[1].depth_m(), K, frames[1].cam2world, MATCHING)
    assert near.valid == 0.5 and np.isnan(near.sample_points(100)[:, 0]).mean() == pytest.approx(0.5, abs=0.02)
    behind = PosedFrame(tmp_path, frames[0].depth, K, np.diag([-1.0, 1, -1, 1]), (96, 128))
    assert frame_covisibility(frames[0], behind) == (0, 0)


def test_holes_in_depth_hardly_move_the_share() -> None:
    """Random holes leave a sample of the view; where it is too small, no share is given."""
    rng = np.random.default_rng(0)
    for scene, *cameras in some_pairs(2):
        whole = surface_covisibility(surface(scene, cameras[0]), surface(scene, cameras[1]), MATCHING)
        one, other = (
            surface_of(with_holes(depth_of(scene, camera), 0.4, rng), camera.K, camera.cam2world, MATCHING)
            for camera in cameras
        )
        assert surface_covisibility(one, other, MATCHING) == pytest.approx(whole, abs=0.03)
        assert np.isnan(surface_covisibility(one, other, replace(MATCHING, known=0.7))).all()


def with_holes(depth: Any, share: float, rng: np.random.Generator) -> Any:
    return np.where(rng.random(depth.shape) < share, np.float32(np.nan), depth)


def test_middle_squares_are_compared_as_if_cut_out() -> None:
    for scene, first, second in some_pairs(2):
        squares = []
        for camera in (first, second):
            K = camera.K.copy()
            K[0, 2] -= 20
            cut = depth_of(scene, camera)[:, 20:140]
            squares.append(surface_of(cut, K, camera.cam2world, MATCHING))
        matching = Matching(square=True)
        found = surface_covisibility(surface(scene, first, matching), surface(scene, second, matching), matching)
        assert found == surface_covisibility(squares[0], squares[1], MATCHING)
        assert found != surface_covisibility(surface(scene, first), surface(scene, second), MATCHING)


def test_what_stands_in_front_hides() -> None:
    """A panel 0.3 m in front of half of a wall at 2 m hides it; 5 cm are taken for noise."""
    K, wall = seven_scenes_intrinsics((96, 128)), np.full((96, 128), 2.0, dtype=np.float32)
    for gap, expected in ((0.3, 0.5), (0.2, 0.5), (0.05, 1.0)):
        panel = wall.copy()
        panel[:, :64] -= gap
        surfaces = [surface_of(depth, K, np.eye(4), MATCHING) for depth in (wall, panel)]
        assert surface_covisibility(surfaces[0], surfaces[1], MATCHING) == (expected, expected)
