"""Single pieces of furniture with named points, in rooms about them.

An object stands at the origin of the world, on the floor, whatever the room: two rooms with one object are two surroundings
of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import trimesh

from croco_bench.data.rooms.camera import Camera, look
from croco_bench.data.rooms.classes import ID
from croco_bench.data.rooms.render import View, visible_from
from croco_bench.data.rooms.scene import Scene, SceneBuilder
from croco_bench.data.rooms.textures import Textures
from croco_bench.types import Array, Size

_SURFACES = ("stripes", "checks", "blobs", "bricks")
_WALLS = ("plain", "stripes", "bricks", "blobs", "gradient", "checks")
# Scale of the period of an object's texture, as it is smaller than a room.
_PERIOD = 0.4
# Boxes of an object as (extents, center), and points on it (K, 3) in metres.
_Parts = list[tuple[tuple[float, ...], tuple[float, ...]]]


@dataclass(frozen=True)
class ObjectScene:
    """An object in a room.

    Attributes:
        scene: the room with the object.
        number: of the object, in `View.instance`.
        points: named points (K, 3) on it, in metres; those of two objects of one shape correspond.
        middle: (3,), its center in metres.
    """

    scene: Scene
    number: int
    points: Array
    middle: Array

    def mask(self, view: View) -> Array:
        """The pixels (H, W) that show the object."""
        return np.asarray(view.instance == self.number)

    def seen(self, camera: Camera) -> Array:
        """Pixels (x, y) (K, 2) of the named points, NaN for those that the camera doesn't see."""
        pixels, _ = camera.project(self.points)
        return np.where(visible_from(self.scene, self.points, camera)[:, None], pixels, np.nan)


def make_object_scene(shape: str, object_seed: int, room_seed: int, size_m: float = 1.0) -> ObjectScene:
    """The object of one seed in the room of another.

    Args:
        shape: a key of `SHAPES`.
        object_seed: of proportions and texture.
        room_seed: of everything else.
        size_m: scale of the object; furniture has 1.
    """
    rng = np.random.default_rng(object_seed)
    parts, points = SHAPES[shape](rng)
    boxes = [trimesh.creation.box(extents=extents) for extents, _ in parts]
    for box, (_, center) in zip(boxes, parts, strict=True):
        box.apply_translation(center)
    triangles = size_m * np.concatenate([np.asarray(box.triangles) for box in boxes])
    texture = Textures.sample([_SURFACES], rng)
    scene = _surroundings(np.random.default_rng(room_seed), size_m)
    number = len(scene.semantic)
    whole = replace(
        scene,
        triangles=np.concatenate([scene.triangles, triangles]),
        owner=np.append(scene.owner, np.full(len(triangles), number)),
        semantic=np.append(scene.semantic, ID[shape]),
        textures=scene.textures.joined(replace(texture, period=_PERIOD * size_m * texture.period)),
    )
    low, high = triangles.reshape(-1, 3).min(axis=0), triangles.reshape(-1, 3).max(axis=0)
    return ObjectScene(whole, number, size_m * points, (low + high) / 2)


def around(
    scene: ObjectScene, size: Size, distance_m: float, azimuth: float, elevation: float, rng: np.random.Generator
) -> Camera:
    """A camera at this distance from the middle of an object, from this azimuth and elevation in radians.

    It looks beside the middle, by up to 14 degrees across and 8 down. Were objects always in the middle of their images, no
    motion would find their points.
    """
    across, down = np.radians(rng.uniform((-14.0, -8.0), (14.0, 8.0)))
    direction = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    return look(scene.middle + distance_m * direction, azimuth + np.pi + across, down - elevation, 0.0, size)


def _surroundings(rng: np.random.Generator, size_m: float) -> Scene:
    """A turned room about the origin, with boxes and columns at some distance from it."""
    builder = SceneBuilder(rng)
    width, length, height = (float(side) for side in rng.uniform((5.0, 5.0, 2.4), (7.0, 7.0, 3.0)))
    yaw, thickness = float(rng.uniform(0, 2 * np.pi)), 0.1
    sides = (
        ("floor", (width, length, thickness), (0, 0, -thickness / 2)),
        ("ceiling", (width, length, thickness), (0, 0, height + thickness / 2)),
        ("wall", (thickness, length, height), (-width / 2, 0, height / 2)),
        ("wall", (thickness, length, height), (width / 2, 0, height / 2)),
        ("wall", (width, thickness, height), (0, -length / 2, height / 2)),
        ("wall", (width, thickness, height), (0, length / 2, height / 2)),
    )
    for name, extents, center in sides:
        # Slightly larger than the room, so that no ray passes through a corner.
        enlarged = tuple(side + 0.12 * (side > 1) for side in extents)
        builder.box(builder.start(name, _WALLS), enlarged, center, yaw, (0.0, 0.0))
    for _ in range(int(rng.integers(3, 7))):
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(2.0, 2.4)
        side, tall = rng.uniform(0.2, 0.5), rng.uniform(0.2, 1.6)
        origin = (float(distance * np.cos(angle)), float(distance * np.sin(angle)))
        builder.box(builder.start("box", _SURFACES), (side, side, tall), (0, 0, tall / 2), angle, origin)
    scene = builder.finish("object", (width, length, height))
    lights = scene.lights - np.array([width / 2, length / 2, 0], dtype=np.float32)
    return replace(
        scene, lights=lights, textures=replace(scene.textures, period=max(size_m, 0.5) * scene.textures.period)
    )


def _corners(width: float, depth: float, height: float) -> Array:
    """Four corners of a rectangle at a height, (4, 3)."""
    signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    return np.column_stack([signs * (width / 2, depth / 2), np.full(4, height)])


def _legs(width: float, depth: float, height: float, side: float) -> _Parts:
    """Four legs below the corners of a rectangle."""
    inner = _corners(width - side, depth - side, height / 2)
    return [((side, side, height), tuple(center)) for center in inner.tolist()]


def _chair(rng: np.random.Generator) -> tuple[_Parts, Array]:
    """A seat, its back and four legs; points: corners of the seat, upper corners of the back, feet."""
    width, depth, seat, back = (float(x) for x in rng.uniform((0.38, 0.38, 0.38, 0.35), (0.6, 0.55, 0.55, 0.75)))
    side, thick = float(rng.uniform(0.04, 0.09)), 0.06
    parts: _Parts = [
        ((width, depth, thick), (0, 0, seat)),
        ((width, thick, back), (0, depth / 2 - thick / 2, seat + thick / 2 + back / 2)),
        *_legs(width, depth, seat - thick / 2, side),
    ]
    upper = _corners(width, depth, seat + thick / 2 + back)[2:]
    return parts, np.concatenate([_corners(width, depth, seat + thick / 2), upper, _corners(width, depth, 0.0)])


def _table(rng: np.random.Generator) -> tuple[_Parts, Array]:
    """A top and four legs; points: upper corners of the top, its middle, feet."""
    width, depth, height = (float(x) for x in rng.uniform((0.7, 0.5, 0.45), (1.3, 0.9, 0.85)))
    side, thick = float(rng.uniform(0.06, 0.12)), 0.06
    parts: _Parts = [((width, depth, thick), (0, 0, height)), *_legs(width, depth, height - thick / 2, side)]
    top = height + thick / 2
    return parts, np.concatenate([_corners(width, depth, top), [(0, 0, top)], _corners(width, depth, 0.0)])


def _sofa(rng: np.random.Generator) -> tuple[_Parts, Array]:
    """A seat, a back and two arms; points: corners of the seat's front, of the back, of the arms."""
    width, depth, seat, back, arm = (
        float(x) for x in rng.uniform((1.0, 0.6, 0.3, 0.3, 0.12), (1.6, 0.8, 0.45, 0.5, 0.25))
    )
    side = 0.18
    parts: _Parts = [
        ((width, depth, seat), (0, 0, seat / 2)),
        ((width, side, back), (0, depth / 2 - side / 2, seat + back / 2)),
        ((side, depth - side, arm), (-width / 2 + side / 2, -side / 2, seat + arm / 2)),
        ((side, depth - side, arm), (width / 2 - side / 2, -side / 2, seat + arm / 2)),
    ]
    lower, upper = _corners(width, depth, 0.0), _corners(width, depth, seat + back)[2:]
    return parts, np.concatenate([lower, upper, _corners(width, depth, seat + arm)[:2]])


def _bed(rng: np.random.Generator) -> tuple[_Parts, Array]:
    """A mattress, a headboard and four legs; points: upper corners of the mattress, of the headboard, feet."""
    width, depth, top, board = (float(x) for x in rng.uniform((0.8, 1.3, 0.35, 0.3), (1.2, 1.7, 0.55, 0.6)))
    thick, side = float(rng.uniform(0.15, 0.25)), 0.08
    parts: _Parts = [
        ((width, depth, thick), (0, 0, top - thick / 2)),
        ((width, side, board), (0, depth / 2 + side / 2, top + board / 2)),
        *_legs(width, depth, top - thick, side),
    ]
    upper = _corners(width, depth + 2 * side, top + board)[2:]
    return parts, np.concatenate([_corners(width, depth, top), upper, _corners(width, depth, 0.0)])


def _cabinet(rng: np.random.Generator) -> tuple[_Parts, Array]:
    """A body on four legs with a shallower one upon it; points: upper corners of both, lower corners of the first."""
    width, depth, body, upper = (float(x) for x in rng.uniform((0.5, 0.4, 0.4, 0.3), (0.9, 0.6, 0.7, 0.7)))
    legs, shallow = float(rng.uniform(0.06, 0.2)), depth * float(rng.uniform(0.4, 0.7))
    back = (depth - shallow) / 2
    parts: _Parts = [
        ((width, depth, body), (0, 0, legs + body / 2)),
        ((width, shallow, upper), (0, back, legs + body + upper / 2)),
        *_legs(width, depth, legs, 0.06),
    ]
    highest = _corners(width, shallow, legs + body + upper) + np.array([0, back, 0])
    lower = _corners(width, depth, legs)
    return parts, np.concatenate([highest, _corners(width, depth, legs + body)[:2], lower])


def _lamp(rng: np.random.Generator) -> tuple[_Parts, Array]:
    """A foot, a pole and a shade; points: upper and lower corners of the shade, corners of the foot."""
    foot, height, shade, tall = (float(x) for x in rng.uniform((0.25, 0.6, 0.3, 0.2), (0.45, 1.1, 0.55, 0.4)))
    thick, pole = 0.05, float(rng.uniform(0.04, 0.08))
    parts: _Parts = [
        ((foot, foot, thick), (0, 0, thick / 2)),
        ((pole, pole, height), (0, 0, thick + height / 2)),
        ((shade, shade, tall), (0, 0, thick + height + tall / 2)),
    ]
    top = thick + height
    levels = [_corners(shade, shade, top + tall), _corners(shade, shade, top), _corners(foot, foot, thick)]
    return parts, np.concatenate(levels)


def _box(rng: np.random.Generator) -> tuple[_Parts, Array]:
    """An open box: a bottom and four sides, of which the front is lower; points: upper corners, lower corners."""
    width, depth, height = (float(x) for x in rng.uniform((0.4, 0.4, 0.3), (0.9, 0.8, 0.6)))
    thick, front = 0.05, height * float(rng.uniform(0.4, 0.7))
    parts: _Parts = [
        ((width, depth, thick), (0, 0, thick / 2)),
        ((width, thick, front), (0, -depth / 2 + thick / 2, front / 2)),
        ((width, thick, height), (0, depth / 2 - thick / 2, height / 2)),
        ((thick, depth, height), (-width / 2 + thick / 2, 0, height / 2)),
        ((thick, depth, height), (width / 2 - thick / 2, 0, height / 2)),
    ]
    return parts, np.concatenate([_corners(width, depth, height), _corners(width, depth, 0.0)])


SHAPES: dict[str, Callable[[np.random.Generator], tuple[_Parts, Array]]] = {
    "chair": _chair,
    "sofa": _sofa,
    "table": _table,
    "bed": _bed,
    "cabinet": _cabinet,
    "lamp": _lamp,
    "box": _box,
}
