"""Trajectories of a hand-held camera through a room."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import CubicSpline

from croco_bench.data.rooms.camera import Camera, has_free_sight, look, sample_camera
from croco_bench.data.rooms.scene import Scene
from croco_bench.errors import DataError
from croco_bench.types import Array, Size

_FRAMES_PER_KNOT = 10
# At reach 1: half the side of the box around the anchor, and the range of the distance between two knots.
_AROUND_M, _STEP_M = 0.625, (0.375, 0.875)
# At reach 1: maximum yaw from the anchor's heading, maximum pitch from the mean, standard deviation of the roll.
_PAN_DEG, _PITCH_DEG, _ROLL_DEG = 22.5, 12.5, 5.0
# The mean pitch, downwards.
_DOWN_DEG = 12.0
_ATTEMPTS = 300


@dataclass(frozen=True)
class CameraAnchor:
    """Common centre of the trajectories of a scene: a `position` (3,) in metres and a `heading` (yaw) in radians."""

    position: Array
    heading: float

    @classmethod
    def sample(cls, scene: Scene, rng: np.random.Generator) -> CameraAnchor:
        """Samples an anchor with free sight."""
        camera = sample_camera(scene, (24, 32), rng)
        return cls(camera.center, float(np.arctan2(camera.cam2world[1, 2], camera.cam2world[0, 2])))


def sample_trajectory(
    scene: Scene,
    frames: int,
    K: Array,
    size: Size,
    rng: np.random.Generator,
    anchor: CameraAnchor | None = None,
    *,
    reach: float = 1.0,
) -> list[Camera]:
    """Samples a smooth trajectory with free sight: about 5 cm and 2 degrees per frame at reach 1.

    Args:
        scene: the room.
        frames: number of cameras.
        K: intrinsics (3, 3) of all cameras.
        size: image size (H, W) of all cameras.
        rng: source of randomness.
        anchor: centre of the trajectory; default: sampled.
        reach: scale of the distances and angles from the anchor.

    Raises:
        DataError: 300 attempts failed, which doesn't happen in rooms of `make_scene`.
    """
    anchor = anchor or CameraAnchor.sample(scene, rng)
    for attempt in range(_ATTEMPTS):
        # Ever shorter trajectories, for crowded rooms.
        path = _sample_path(scene, anchor, frames, reach, 1 - attempt / _ATTEMPTS, rng)
        cameras = [
            replace(
                look(center=pose[:3], yaw=float(pose[3]), pitch=float(pose[4]), roll=float(pose[5]), size=size), K=K
            )
            for pose in path
        ]
        if all(has_free_sight(scene, camera) for camera in cameras):
            return cameras
    raise DataError(f"no way for a camera was found through {scene.name}")


def _sample_path(
    scene: Scene, anchor: CameraAnchor, frames: int, reach: float, shrink: float, rng: np.random.Generator
) -> Array:
    """Poses (frames, 6): x, y, z in metres, yaw, pitch, roll in radians. A spline through the knots of a random walk."""
    knots, scale = max(-(-frames // _FRAMES_PER_KNOT), 2) + 1, reach * shrink
    walls = np.array([[0.5, 0.5, 1.1], [scene.size[0] - 0.5, scene.size[1] - 0.5, 1.8]])
    lower, upper = np.clip(anchor.position + scale * _AROUND_M * np.array([[-1], [1]]), *walls)
    position, pan = rng.uniform(lower, upper), float(rng.uniform(-_PAN_DEG, _PAN_DEG))
    poses = []
    for _ in range(knots):
        pitch = np.radians(rng.uniform(-reach * _PITCH_DEG, reach * _PITCH_DEG) - _DOWN_DEG)
        roll = np.radians(rng.normal(0, reach * _ROLL_DEG))
        poses.append([*position, anchor.heading + scale * np.radians(pan), pitch, roll])
        step = rng.normal(0, 1, 3) * (1, 1, 0.3)
        position = np.clip(position + scale * rng.uniform(*_STEP_M) * step / np.linalg.norm(step), lower, upper)
        pan += float(np.clip(rng.uniform(-_PAN_DEG, _PAN_DEG) - pan, -_PAN_DEG, _PAN_DEG))
    times = np.arange(knots) * _FRAMES_PER_KNOT
    path: Array = CubicSpline(times, np.array(poses))(np.arange(frames))
    return path
