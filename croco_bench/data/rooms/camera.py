"""Pinhole cameras: OpenCV axes (x right, y down, z forward), camera-to-world poses, pixel centres at integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from croco_bench.data.rooms.scene import Scene
from croco_bench.types import Array, Size

FIELD_OF_VIEW_DEG = 65.0


@dataclass(frozen=True)
class Camera:
    """Intrinsics `K` (3, 3) in pixels for images of `size` (H, W), and pose `cam2world` (4, 4) in metres.

    Coordinates (0, 0) are the centre of the first pixel.
    """

    K: Array
    cam2world: Array
    size: Size

    @property
    def center(self) -> Array:
        """Position in the world (3,)."""
        return self.cam2world[:3, 3]

    def rays(self, offset: tuple[float, float] = (0.0, 0.0)) -> Array:
        """World directions (H*W, 3) of all pixels, shifted by `offset` (x, y); distances along them are z-depths."""
        height, width = self.size
        x, y = np.meshgrid(np.arange(width) + offset[0], np.arange(height) + offset[1])
        pixels = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3)
        return pixels @ (np.linalg.inv(self.K).T @ self.cam2world[:3, :3].T)

    def project(self, points: Array) -> tuple[Array, Array]:
        """World points (n, 3) -> pixel coordinates (x, y) (n, 2), and z-depths (n,)."""
        local = (points - self.center) @ self.cam2world[:3, :3]
        pixels = local @ self.K.T
        depth = local[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            return pixels[:, :2] / pixels[:, 2:], depth


def intrinsics(size: Size, field_of_view_deg: float = FIELD_OF_VIEW_DEG) -> Array:
    """Intrinsics (3, 3) with square pixels, central principal point and a horizontal field of view in degrees."""
    height, width = size
    focal = width / 2 / np.tan(np.radians(field_of_view_deg) / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def look(center: Array, yaw: float, pitch: float, roll: float, size: Size) -> Camera:
    """A camera at `center` (metres): yaw about the vertical, pitch upwards, roll about the optical axis, in radians."""
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, right)
    cosine, sine = np.cos(roll), np.sin(roll)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = cosine * right + sine * down, cosine * down - sine * right, forward
    pose[:3, 3] = center
    return Camera(intrinsics(size), pose, size)


def sample_camera(scene: Scene, size: Size, rng: np.random.Generator) -> Camera:
    """Samples a camera at eye height that looks into the room, with free sight if 50 attempts find one."""
    width, length, _ = scene.size
    camera = None
    for _ in range(50):
        center = np.array([rng.uniform(0.4, width - 0.4), rng.uniform(0.4, length - 0.4), rng.uniform(1.1, 1.8)])
        middle = np.array([width / 2, length / 2]) + rng.normal(0, 0.8, 2)
        yaw = float(np.arctan2(middle[1] - center[1], middle[0] - center[0]) + rng.normal(0, 0.3))
        pitch, roll = np.radians(rng.uniform(-25, 3)), np.radians(rng.normal(0, 3))
        camera = look(center, yaw, float(pitch), float(roll), size)
        if has_free_sight(scene, camera):
            return camera
    assert camera is not None
    return camera


def has_free_sight(scene: Scene, camera: Camera) -> bool:
    """Whether all rays of a coarse grid hit something: none within 0.3 m, less than 10 % within 0.6 m, half beyond 1.3 m."""
    height, width = camera.size
    size = (max(round(24 * height / width), 1), 24)
    coarse = Camera(intrinsics(size), camera.cam2world, size)
    rays = coarse.rays()
    depth, _ = scene.cast(np.broadcast_to(coarse.center, rays.shape), rays)
    return bool(
        np.isfinite(depth).all() and np.quantile(depth, 0.1) > 0.6 and depth.min() > 0.3 and np.median(depth) > 1.3
    )


def nudge(camera: Camera, rng: np.random.Generator, strength: float = 1.0) -> Camera:
    """Samples a second camera nearby: up to about 40 cm and 12 degrees away at strength 1."""
    move = rng.normal(0, 1, 3)
    move *= strength * rng.uniform(0.12, 0.40) / np.linalg.norm(move)
    move[2] *= 0.5
    yaw, pitch, roll = np.radians(strength * rng.normal(0, (6.0, 3.0, 2.0)))
    about_vertical = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    pose = camera.cam2world.copy()
    pose[:3, :3] = about_vertical @ pose[:3, :3] @ about_x @ about_z
    pose[:3, 3] += move
    return Camera(camera.K, pose, camera.size)
