"""Objects that fly through a room in front of the camera, so that optical flow isn't only that of a static scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from croco_bench.data.rooms.camera import Camera
from croco_bench.data.rooms.classes import ID
from croco_bench.data.rooms.motion import Motion, Shot
from croco_bench.data.rooms.scene import Scene
from croco_bench.data.rooms.textures import Textures
from croco_bench.types import Array

_KINDS = ("stripes", "checks", "blobs", "bricks")
# Scale of the period of textures, as these objects are smaller than furniture.
_PERIOD = 0.3
# 14 directions: towards the faces and corners of a cube.
_DIRECTIONS = np.concatenate(
    [np.eye(3), -np.eye(3), np.stack(np.meshgrid(*[(-1, 1)] * 3), -1).reshape(-1, 3) / np.sqrt(3)]
)


@dataclass(frozen=True)
class FlyingObjects:
    """Number and motion of flying objects.

    Attributes:
        max_count: maximum number of objects.
        speed_px: standard deviation of each component of the image velocity, in pixels per frame.
        turn_deg: root mean square of the rotation, in degrees per frame.
    """

    max_count: int
    speed_px: float
    turn_deg: float


@dataclass(frozen=True)
class _FlyingObject:
    """A key of `_SHAPES`, a radius in metres, and a motion (one row) about the centre at time 0."""

    shape: str
    radius: float
    motion: Motion

    def center(self, time: float) -> Array:
        """The centre (3,) at a time."""
        rotation, translation = self.motion.poses(time)
        center: Array = rotation[0] @ self.motion.pivot[0] + translation[0]
        return center


def add_flying_objects(shot: Shot, times: tuple[float, float], flying: FlyingObjects, rng: np.random.Generator) -> Shot:
    """Adds one to `flying.max_count` objects, visible at time 0, and in free space at time 0 and at both `times`.

    An object is dropped if ten attempts find no free space.
    """
    accepted: list[_FlyingObject] = []
    for _ in range(int(rng.integers(1, flying.max_count + 1))):
        for _ in range(10):
            new = _sample(shot.camera, flying, rng)
            if all(_is_free(shot.still, accepted, new, time) for time in (0.0, *times)):
                accepted.append(new)
                break
    for flying_object in accepted:
        shot = _added(shot, flying_object, rng)
    return shot


def _sample(camera: Camera, flying: FlyingObjects, rng: np.random.Generator) -> _FlyingObject:
    """Samples an object in front of the camera."""
    height, width = camera.size
    focal = camera.K[0, 0]
    depth = float(rng.uniform(1.1, 2.6))
    pixel = np.array([rng.uniform(0.12, 0.88) * width, rng.uniform(0.15, 0.85) * height, 1.0])
    center = camera.center + camera.cam2world[:3, :3] @ (np.linalg.inv(camera.K) @ pixel * depth)
    speed = np.append(rng.normal(0, flying.speed_px, 2), rng.normal(0, 0.4 * flying.speed_px))
    velocity = camera.cam2world[:3, :3] @ speed * depth / focal
    motion = Motion(
        pivot=center[None],
        velocity=velocity[None],
        acceleration=np.linalg.norm(velocity) * rng.normal(0, 0.06, (1, 3)),
        spin=np.radians(rng.normal(0, flying.turn_deg / np.sqrt(3), (1, 3))),
    )
    radius = float(rng.uniform(0.09, 0.22)) * depth * min(height, width) / focal
    return _FlyingObject(tuple(_SHAPES)[int(rng.integers(len(_SHAPES)))], radius, motion)


def _is_free(scene: Scene, accepted: list[_FlyingObject], flying_object: _FlyingObject, time: float) -> bool:
    """Whether an object touches no accepted object, and nothing in the room along 14 directions."""
    center = flying_object.center(time)
    if any(np.linalg.norm(center - other.center(time)) < flying_object.radius + other.radius for other in accepted):
        return False
    distance, _ = scene.cast(np.broadcast_to(center, _DIRECTIONS.shape), _DIRECTIONS)
    return bool(np.isfinite(distance).all() and distance.min() > 1.1 * flying_object.radius)


def _added(shot: Shot, flying_object: _FlyingObject, rng: np.random.Generator) -> Shot:
    """The shot with one more object, randomly oriented and textured."""
    scene = shot.scene
    orientation = Rotation.from_quat(rng.normal(0, 1, 4)).as_matrix()
    triangles = _triangles(flying_object.shape) @ orientation.T * flying_object.radius + flying_object.motion.pivot
    texture = Textures.sample([_KINDS], rng)
    return replace(
        shot,
        scene=replace(
            scene,
            triangles=np.concatenate([scene.triangles, triangles]),
            owner=np.append(scene.owner, np.full(len(triangles), len(scene.semantic))),
            semantic=np.append(scene.semantic, ID[_SHAPES[flying_object.shape][0]]),
            textures=scene.textures.joined(replace(texture, period=_PERIOD * texture.period)),
        ),
        objects=shot.objects.joined(flying_object.motion),
    )


@cache
def _triangles(shape: str) -> Array:
    """Triangles (n, 3, 3) of a shape with a bounding sphere of radius 1."""
    return np.asarray(_SHAPES[shape][1]().triangles)


# Meshes with a bounding sphere of radius 1 about the origin.


def _ball() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=3)


def _cube() -> trimesh.Trimesh:
    return trimesh.creation.box(extents=np.full(3, 2 / np.sqrt(3)))


def _slab() -> trimesh.Trimesh:
    return trimesh.creation.box(extents=(1.5, 1.2, 0.45))


def _barrel() -> trimesh.Trimesh:
    return trimesh.creation.cylinder(radius=0.55, height=1.6, sections=32)


def _cone() -> trimesh.Trimesh:
    mesh = trimesh.creation.cone(radius=0.8, height=1.5, sections=32)
    mesh.apply_translation((0, 0, -0.55))
    return mesh


def _ring() -> trimesh.Trimesh:
    return trimesh.creation.torus(major_radius=0.7, minor_radius=0.28, major_sections=32, minor_sections=16)


def _chair() -> trimesh.Trimesh:
    """A seat, a back and four legs."""
    legs = [((0.14, 0.14, 0.7), (x, y, -0.4)) for x in (-0.36, 0.36) for y in (-0.36, 0.36)]
    parts = [((0.9, 0.9, 0.14), (0.0, 0.0, 0.0)), ((0.9, 0.14, 0.9), (0.0, 0.4, 0.4)), *legs]
    meshes = []
    for extents, center in parts:
        mesh = trimesh.creation.box(extents=extents)
        mesh.apply_translation(center)
        meshes.append(mesh)
    chair: trimesh.Trimesh = trimesh.util.concatenate(meshes)
    return chair


# Shape -> its class in `classes.CLASSES`, and its mesh.
_SHAPES: dict[str, tuple[str, Callable[[], trimesh.Trimesh]]] = {
    "ball": ("ball", _ball),
    "cube": ("box", _cube),
    "slab": ("pillow", _slab),
    "barrel": ("column", _barrel),
    "cone": ("lamp", _cone),
    "ring": ("ball", _ring),
    "chair": ("chair", _chair),
}
