"""Rooms with moving objects and a moving camera, with exact optical flow and occlusion."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from embreex.rtcore_scene import EmbreeScene
from scipy.spatial.transform import Rotation

from croco_bench.data.rooms.camera import Camera
from croco_bench.data.rooms.render import SUBPIXELS, visible_from
from croco_bench.data.rooms.scene import Scene, structure
from croco_bench.types import Array

# A pixel is mixed if the flow of its sub-pixel rays differs by more than this.
_MIXED_PX = 1.0
_NEAREST_M = 0.05


@dataclass(frozen=True)
class Motion:
    """Rigid motions of n bodies. Time is in frames and may be fractional or negative.

    At time t a body is rotated by the rotation vector t `spin` about `pivot` and translated by t `velocity` + t²/2
    `acceleration`, relative to its pose at time 0.

    Attributes:
        pivot: (n, 3), metres.
        velocity: (n, 3), metres per frame.
        acceleration: (n, 3), metres per squared frame.
        spin: (n, 3), radians per frame.
    """

    pivot: Array
    velocity: Array
    acceleration: Array
    spin: Array

    @classmethod
    def none(cls, count: int) -> Motion:
        """`count` bodies at rest."""
        return cls(*np.zeros((4, count, 3)))

    def joined(self, others: Motion) -> Motion:
        """The motions of these bodies, followed by those of others."""
        names = [field.name for field in fields(self)]
        return Motion(**{name: np.concatenate([getattr(self, name), getattr(others, name)]) for name in names})

    def scaled(self, factor: float) -> Motion:
        """The same paths, `factor` times as fast."""
        return replace(
            self, velocity=factor * self.velocity, acceleration=factor**2 * self.acceleration, spin=factor * self.spin
        )

    def poses(self, time: float) -> tuple[Array, Array]:
        """Rotations (n, 3, 3) and translations (n, 3) that map points at time 0 to their positions at `time`."""
        rotation: Array = Rotation.from_rotvec(time * self.spin).as_matrix()
        shift = time * self.velocity + time**2 / 2 * self.acceleration
        return rotation, self.pivot + shift - np.einsum("nij,nj->ni", rotation, self.pivot)


@dataclass(frozen=True)
class MovedScene(Scene):
    """A scene at one time: the triangles of the static scene `still`, followed by those of moving objects.

    Rays are cast at both parts separately, so that the ray-casting structure of the static part is built only once.
    """

    still: Scene

    @cached_property
    def embree(self) -> EmbreeScene:
        """The ray-casting structure of the moving triangles."""
        return structure(self.triangles[len(self.still.triangles) :])

    def cast(self, origins: Array, directions: Array) -> tuple[Array, Array]:
        """See `Scene.cast`."""
        distance, triangle = self.still.cast(origins, directions)
        nearer, other = super().cast(origins, directions)
        first = nearer < distance
        return np.where(first, nearer, distance), np.where(first, other + len(self.still.triangles), triangle)


@dataclass(frozen=True)
class Frame:
    """Scene and camera at one time."""

    time: float
    scene: Scene
    camera: Camera


@dataclass(frozen=True)
class Shot:
    """A room with moving objects and a moving camera.

    Attributes:
        scene: all objects at time 0: those of `still` first.
        still: the static room.
        objects: motions of the other objects; row 0 is object `len(still.semantic)`.
        camera: the camera at time 0.
        camera_motion: the motion of the camera, one row.
    """

    scene: Scene
    still: Scene
    objects: Motion
    camera: Camera
    camera_motion: Motion

    @classmethod
    def static(cls, room: Scene, camera: Camera, camera_motion: Motion) -> Shot:
        """A shot in which only the camera moves."""
        return cls(room, room, Motion.none(0), camera, camera_motion)

    def frame(self, time: float) -> Frame:
        """Scene and camera at a time. Textures move with their objects; lights are fixed."""
        camera = self.camera_at(time)
        if not len(self.objects.pivot):
            return Frame(time, self.still, camera)
        rotation, translation = self.poses(time)
        owner, count = self.scene.owner, len(self.still.triangles)
        moving = owner[count:]
        moved = np.einsum("nij,nkj->nki", rotation[moving], self.scene.triangles[count:]) + translation[moving, None]
        facts = {field.name: getattr(self.scene, field.name) for field in fields(Scene)}
        facts["triangles"] = np.concatenate([self.still.triangles, moved])
        facts["textures"] = self.scene.textures.moved(rotation, translation)
        return Frame(time, MovedScene(**facts, still=self.still), camera)

    def poses(self, time: float) -> tuple[Array, Array]:
        """Rotations (n, 3, 3) and translations (n, 3) of all objects of the scene from time 0 to `time`."""
        return Motion.none(len(self.still.semantic)).joined(self.objects).poses(time)

    def camera_at(self, time: float) -> Camera:
        """The camera at a time."""
        (rotation,), (translation,) = self.camera_motion.poses(time)
        pose = self.camera.cam2world.copy()
        pose[:3, :3] = rotation @ pose[:3, :3]
        pose[:3, 3] = rotation @ pose[:3, 3] + translation
        return replace(self.camera, cam2world=pose)

    def move_points(self, points: Array, owner: Array, start: float, end: float) -> Array:
        """Positions at time `end` of points (n, 3) on objects `owner` (n,), given at time `start`."""
        rotation, translation = self.poses(start)
        at_rest = np.einsum("nji,nj->ni", rotation[owner], points - translation[owner])
        rotation, translation = self.poses(end)
        moved: Array = np.einsum("nij,nj->ni", rotation[owner], at_rest) + translation[owner]
        return moved


@dataclass(frozen=True)
class FlowTruth:
    """Optical flow and occlusion from one frame to another.

    Attributes:
        flow_px: (H, W, 2) float32, u right and v down, at pixel centres; 0 where not `known`.
        known: (H, W) bool, False where a pixel shows nothing, or its point ends behind the camera.
        occluded: (H, W) bool, True where the point is occluded in the other frame or outside its image.
    """

    flow_px: Array
    known: Array
    occluded: Array


def flow_truth(shot: Shot, first: Frame, second: Frame) -> FlowTruth:
    """The exact flow from one frame of a shot to another, with occlusion by one ray per pixel in the second frame."""
    flow, known, points = _flow(shot, first, second, (0.0, 0.0))
    occluded = ~known
    occluded[known] = ~visible_from(second.scene, points[known], second.camera)
    size = first.camera.size
    return FlowTruth(flow.astype(np.float32).reshape(*size, 2), known.reshape(size), occluded.reshape(size))


def mixed_pixels(shot: Shot, first: Frame, second: Frame) -> Array:
    """Pixels of the first frame with several motions, more than 1 px apart, or with unknown flow: (H, W) bool."""
    flow, known, _ = _flow(shot, first, second, (0.0, 0.0))
    mixed: Array = ~known
    for offset in SUBPIXELS:
        other, other_known, _ = _flow(shot, first, second, offset)
        mixed |= ~other_known | (np.linalg.norm(other - flow, axis=1) > _MIXED_PX)
    return mixed.reshape(first.camera.size)


def _flow(shot: Shot, first: Frame, second: Frame, offset: tuple[float, float]) -> tuple[Array, Array, Array]:
    """Flow (n, 2) at `offset` (x, y) from the pixel centres, whether it is known (n,), and the moved points (n, 3)."""
    rays = first.camera.rays(offset)
    distance, triangle = first.scene.cast(np.broadcast_to(first.camera.center, rays.shape), rays)
    hit = triangle >= 0
    points = first.camera.center + rays * np.where(hit, distance, 1)[:, None]
    points = shot.move_points(points, first.scene.owner_of(triangle), first.time, second.time)
    pixels, depth = second.camera.project(points)
    height, width = first.camera.size
    x, y = np.meshgrid(np.arange(width) + offset[0], np.arange(height) + offset[1])
    known = hit & (depth > _NEAREST_M)
    flow = np.where(known[:, None], pixels - np.stack([x, y], axis=-1).reshape(-1, 2), 0)
    return flow, known, points
