"""Things that fly through a room in front of a camera: they bring motion of their own into optical flow."""

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
# They are smaller than furniture, and so are their textures' periods.
_PERIOD = 0.3
_SIDES = np.concatenate([np.eye(3), -np.eye(3), np.stack(np.meshgrid(*[(-1, 1)] * 3), -1).reshape(-1, 3) / np.sqrt(3)])


@dataclass(frozen=True)
class FlyingObjects:
    """How many things at most, how fast they are of their own (pixels per frame, about), and how they turn (degrees per
    frame, about)."""

    max_count: int
    speed_px: float
    turn_deg: float


@dataclass(frozen=True)
class _FlyingObject:
    """`shape`, a radius in metres, and a motion (one row) about the centre, which is where it is at time 0."""

    shape: str
    radius: float
    motion: Motion

    def center(self, time: float) -> Array:
        rotation, translation = self.motion.poses(time)
        place: Array = rotation[0] @ self.motion.pivot[0] + translation[0]
        return place


def add_flying_objects(shot: Shot, times: tuple[float, float], flying: FlyingObjects, rng: np.random.Generator) -> Shot:
    """The shot with one to `flying.max_count` things more, in sight at time 0, in free space then and at both `times`.

    There are fewer, or none, where there is no room for them.
    """
    accepted: list[_FlyingObject] = []
    for _ in range(int(rng.integers(1, flying.max_count + 1))):
        for _ in range(10):
            new = _draw(shot.camera, flying, rng)
            if all(_is_free(shot.still, accepted, new, time) for time in (0.0, *times)):
                accepted.append(new)
                break
    for flyer in accepted:
        shot = _added(shot, flyer, rng)
    return shot


def _draw(camera: Camera, flying: FlyingObjects, rng: np.random.Generator) -> _FlyingObject:
    """Something in sight of the camera."""
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


def _is_free(scene: Scene, accepted: list[_FlyingObject], flyer: _FlyingObject, time: float) -> bool:
    """Whether a new one would touch no earlier one, nor anything of the room in 14 directions."""
    center = flyer.center(time)
    if any(np.linalg.norm(center - other.center(time)) < flyer.radius + other.radius for other in accepted):
        return False
    distance, _ = scene.cast(np.broadcast_to(center, _SIDES.shape), _SIDES)
    return bool(np.isfinite(distance).all() and distance.min() > 1.1 * flyer.radius)


def _added(shot: Shot, flyer: _FlyingObject, rng: np.random.Generator) -> Shot:
    scene = shot.scene
    turn = Rotation.from_quat(rng.normal(0, 1, 4)).as_matrix()
    triangles = _triangles(flyer.shape) @ turn.T * flyer.radius + flyer.motion.pivot
    texture = Textures.draw([_KINDS], rng)
    return replace(
        shot,
        scene=replace(
            scene,
            triangles=np.concatenate([scene.triangles, triangles]),
            owner=np.append(scene.owner, np.full(len(triangles), len(scene.semantic))),
            semantic=np.append(scene.semantic, ID[_SHAPES[flyer.shape][0]]),
            textures=scene.textures.joined(replace(texture, period=_PERIOD * texture.period)),
        ),
        objects=shot.objects.joined(flyer.motion),
    )


@cache
def _triangles(shape: str) -> Array:
    """(n, 3, 3), in a ball of radius 1."""
    return np.asarray(_SHAPES[shape][1]().triangles)


# Meshes in a ball of radius 1 about the origin, to which they reach.


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
    together: trimesh.Trimesh = trimesh.util.concatenate(meshes)
    return together


_SHAPES: dict[str, tuple[str, Callable[[], trimesh.Trimesh]]] = {
    "ball": ("ball", _ball),
    "cube": ("box", _cube),
    "slab": ("pillow", _slab),
    "barrel": ("column", _barrel),
    "cone": ("lamp", _cone),
    "ring": ("ball", _ring),
    "chair": ("chair", _chair),
}
