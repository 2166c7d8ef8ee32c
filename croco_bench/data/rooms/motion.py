"""Rooms in which objects and the camera move, and the exact optical flow and occlusion that this makes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from embreex.rtcore_scene import EmbreeScene
from scipy.spatial.transform import Rotation

from croco_bench.data.rooms.camera import Camera
from croco_bench.data.rooms.render import SUBPIXELS, seen_from
from croco_bench.data.rooms.scene import Scene, structure
from croco_bench.types import Array

# Where rays of one pixel end further apart than this (pixels), no single vector is the pixel's flow.
_MIXED_PX = 1.0
_NEAREST_M = 0.05


@dataclass(frozen=True)
class Motion:
    """Rigid motions of several bodies, a row (n, 3) each. Time counts frames and may be any number.

    At time t a body is turned by the rotation vector t `spin` (radians) about `pivot` and shifted by
    t `velocity` + t^2/2 `acceleration` (metres). At time 0 it is where it was made. Rows of zeros stand still.
    """

    pivot: Array
    velocity: Array
    acceleration: Array
    spin: Array

    @classmethod
    def none(cls, count: int) -> Motion:
        """Of bodies that stand still."""
        return cls(*np.zeros((4, count, 3)))

    def joined(self, others: Motion) -> Motion:
        """The motions of these bodies, followed by those of others."""
        pairs = zip(self._parts(), others._parts(), strict=True)
        return Motion(*(np.concatenate(pair) for pair in pairs))

    def _parts(self) -> tuple[Array, Array, Array, Array]:
        return self.pivot, self.velocity, self.acceleration, self.spin

    def scaled(self, factor: float) -> Motion:
        """The same paths at another speed: what these bodies do at `factor` t, those do at t."""
        return replace(
            self, velocity=factor * self.velocity, acceleration=factor**2 * self.acceleration, spin=factor * self.spin
        )

    def poses(self, time: float) -> tuple[Array, Array]:
        """Rotations (n, 3, 3) and translations (n, 3) that take points of time 0 to where they are at `time`."""
        rotation: Array = Rotation.from_rotvec(time * self.spin).as_matrix()
        shift = time * self.velocity + time**2 / 2 * self.acceleration
        return rotation, self.pivot + shift - np.einsum("nij,nj->ni", rotation, self.pivot)


@dataclass(frozen=True)
class MovedScene(Scene):
    """A scene whose first triangles are those of `still`, and only the others have moved.

    Rays are cast at both parts, so that the large one's structure need not be built again for every frame.
    """

    still: Scene

    @cached_property
    def embree(self) -> EmbreeScene:
        """The ray-casting structure of what has moved."""
        return structure(self.triangles[len(self.still.triangles) :])

    def cast(self, origins: Array, directions: Array) -> tuple[Array, Array]:
        """First hits of rays, as any scene's."""
        distance, triangle = self.still.cast(origins, directions)
        nearer, other = super().cast(origins, directions)
        first = nearer < distance
        return np.where(first, nearer, distance), np.where(first, other + len(self.still.triangles), triangle)


@dataclass(frozen=True)
class Frame:
    """A scene as it is at one time, and the camera that looks at it."""

    time: float
    scene: Scene
    camera: Camera


@dataclass(frozen=True)
class Shot:
    """A room in which things and the camera move. `scene` and `camera` are those of time 0.

    The first objects and triangles of `scene` are those of `still`, the room. `objects` has a row for each of the others
    (its first is object `len(still.semantic)`), `camera_motion` has one row, the camera's.
    """

    scene: Scene
    still: Scene
    objects: Motion
    camera: Camera
    camera_motion: Motion

    @classmethod
    def of(cls, room: Scene, camera: Camera, camera_motion: Motion) -> Shot:
        """One in which only the camera moves."""
        return cls(room, room, Motion.none(0), camera, camera_motion)

    def frame(self, time: float) -> Frame:
        """What there is to be seen at a time. Textures move along with their objects, lights stay."""
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
        """Rotations (n, 3, 3) and translations (n, 3) of all objects of the scene since time 0."""
        return Motion.none(len(self.still.semantic)).joined(self.objects).poses(time)

    def camera_at(self, time: float) -> Camera:
        """The camera at a time."""
        (rotation,), (translation,) = self.camera_motion.poses(time)
        pose = self.camera.cam2world.copy()
        pose[:3, :3] = rotation @ pose[:3, :3]
        pose[:3, 3] = rotation @ pose[:3, 3] + translation
        return replace(self.camera, cam2world=pose)

    def carried(self, points: Array, owner: Array, start: float, end: float) -> Array:
        """Where points (n, 3) on the objects `owner` (n,), given at time `start`, are at time `end`."""
        rotation, translation = self.poses(start)
        at_rest = np.einsum("nji,nj->ni", rotation[owner], points - translation[owner])
        rotation, translation = self.poses(end)
        there: Array = np.einsum("nij,nj->ni", rotation[owner], at_rest) + translation[owner]
        return there


@dataclass(frozen=True)
class FlowTruth:
    """What becomes of the pixels (H, W) of one frame in another one.

    `flow_px` (H, W, 2) float32: u right, v down, of what the pixel's centre shows; 0 where not `known`, that is where
    there is nothing or it comes to lie behind the camera. `occluded`: the other frame doesn't show it, as something is in
    front or it has left the image.
    """

    flow_px: Array
    known: Array
    occluded: Array


def flow_truth(shot: Shot, first: Frame, second: Frame) -> FlowTruth:
    """The flow from one frame of a shot to another, exact; occlusion by a ray per pixel in the second frame."""
    flow, known, points = _flow(shot, first, second, (0.0, 0.0))
    occluded = ~known
    occluded[known] = ~seen_from(second.scene, points[known], second.camera)
    size = first.camera.size
    return FlowTruth(flow.astype(np.float32).reshape(*size, 2), known.reshape(size), occluded.reshape(size))


def mixed_pixels(shot: Shot, first: Frame, second: Frame) -> Array:
    """(H, W) bool: pixels of the first frame that show what moves apart by more than a pixel, or whose flow is unknown."""
    flow, known, _ = _flow(shot, first, second, (0.0, 0.0))
    mixed: Array = ~known
    for offset in SUBPIXELS:
        other, too, _ = _flow(shot, first, second, offset)
        mixed |= ~too | (np.linalg.norm(other - flow, axis=1) > _MIXED_PX)
    return mixed.reshape(first.camera.size)


def _flow(shot: Shot, first: Frame, second: Frame, offset: tuple[float, float]) -> tuple[Array, Array, Array]:
    """Flow (n, 2) of the places `offset` pixels from the pixels' centres, whether it is known, and the points' new places."""
    rays = first.camera.rays(offset)
    distance, triangle = first.scene.cast(np.broadcast_to(first.camera.center, rays.shape), rays)
    hit = triangle >= 0
    points = first.camera.center + rays * np.where(hit, distance, 1)[:, None]
    points = shot.carried(points, first.scene.owner_of(triangle), first.time, second.time)
    there, depth = second.camera.project(points)
    height, width = first.camera.size
    x, y = np.meshgrid(np.arange(width) + offset[0], np.arange(height) + offset[1])
    known = hit & (depth > _NEAREST_M)
    flow = np.where(known[:, None], there - np.stack([x, y], axis=-1).reshape(-1, 2), 0)
    return flow, known, points
