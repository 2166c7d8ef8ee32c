"""Procedural generator of furnished rooms."""

from __future__ import annotations

import numpy as np
import trimesh

from croco_bench.data.rooms.scene import Scene, SceneBuilder
from croco_bench.seeding import derive

# Kinds of texture (`textures.KINDS`) of walls, floors, plain surfaces and furniture.
_WALL = ("plain", "stripes", "bricks", "blobs", "gradient", "checks")
_FLOOR = ("checks", "stripes", "blobs", "bricks")
_PLAIN = ("plain", "gradient")
_ANY = ("plain", "stripes", "checks", "blobs", "bricks", "gradient")


def room_seed(seed: int, *parts: str | int) -> int:
    """A 32-bit seed for `make_scene`, derived for one purpose."""
    return derive(seed, *parts) % 2**32


def make_scene(seed: int) -> Scene:
    """The room of a seed, in [0, 2^32)."""
    rng = np.random.default_rng(seed)
    size = (float(rng.uniform(3.6, 6.5)), float(rng.uniform(3.6, 6.5)), float(rng.uniform(2.4, 3.1)))
    builder = SceneBuilder(rng)
    _shell(builder, size)
    pieces = list(_FURNITURE)
    for _ in range(int(rng.integers(6, 12))):
        _FURNITURE[pieces[int(rng.integers(len(pieces)))]](builder, size)
    for layer in range(int(rng.integers(2, 6))):
        _on_wall(builder, size, layer)
    return builder.finish(f"room_{seed:06d}", size)


def _shell(builder: SceneBuilder, size: tuple[float, float, float]) -> None:
    """Floor, ceiling and four walls: separate objects, thin boxes with inner faces that enclose the room."""
    width, length, height = size
    thickness = 0.1
    sides = (
        ("floor", _FLOOR, (width, length, thickness), (width / 2, length / 2, -thickness / 2)),
        ("ceiling", _PLAIN, (width, length, thickness), (width / 2, length / 2, height + thickness / 2)),
        ("wall", _WALL, (thickness, length, height), (-thickness / 2, length / 2, height / 2)),
        ("wall", _WALL, (thickness, length, height), (width + thickness / 2, length / 2, height / 2)),
        ("wall", _WALL, (width, thickness, height), (width / 2, -thickness / 2, height / 2)),
        ("wall", _WALL, (width, thickness, height), (width / 2, length + thickness / 2, height / 2)),
    )
    for class_name, kinds, extents, center in sides:
        # Slightly larger than the room, so that no ray passes through a corner.
        enlarged = tuple(side + 0.02 * (side > 1) for side in extents)
        builder.box(builder.start(class_name, kinds), enlarged, center, 0.0, (0.0, 0.0))


def _table(builder: SceneBuilder, size: tuple[float, float, float]) -> None:
    rng = builder.rng
    width, depth, height = rng.uniform(0.8, 1.5), rng.uniform(0.6, 0.9), rng.uniform(0.55, 0.8)
    spot = builder.find_free_spot(size, float(np.hypot(width, depth)) / 2, by_wall=False)
    if spot is None:
        return
    origin, yaw = spot
    number = builder.start("table", _ANY)
    builder.box(number, (width, depth, 0.06), (0, 0, height), yaw, origin)
    for x in (-1, 1):
        for y in (-1, 1):
            leg = (x * (width / 2 - 0.06), y * (depth / 2 - 0.06), height / 2 - 0.015)
            builder.box(number, (0.07, 0.07, height - 0.03), leg, yaw, origin)
    if rng.random() < 0.7:
        _small_object(builder, origin, height + 0.03)


def _small_object(builder: SceneBuilder, origin: tuple[float, float], height: float) -> None:
    """A box, a ball or a lamp on a surface at this height."""
    rng = builder.rng
    choice, extent = int(rng.integers(3)), float(rng.uniform(0.12, 0.22))
    x, y = origin[0] + rng.uniform(-0.15, 0.15), origin[1] + rng.uniform(-0.15, 0.15)
    if choice == 0:
        builder.box(
            builder.start("box", _ANY), (2 * extent, 1.4 * extent, extent), (0, 0, height + extent / 2), 0.4, (x, y)
        )
    elif choice == 1:
        ball = trimesh.creation.icosphere(subdivisions=3, radius=extent)
        builder.add(builder.start("ball", _ANY), ball, 0.0, (x, y, height + extent))
    else:
        number = builder.start("lamp", _PLAIN)
        foot = trimesh.creation.cylinder(radius=0.03, height=2 * extent, sections=16)
        shade = trimesh.creation.cone(radius=extent, height=1.2 * extent, sections=32)
        builder.add(number, foot, 0.0, (x, y, height + extent))
        builder.add(number, shade, 0.0, (x, y, height + 2 * extent))


def _cabinet(builder: SceneBuilder, size: tuple[float, float, float]) -> None:
    rng = builder.rng
    width, depth, height = rng.uniform(0.6, 1.4), rng.uniform(0.4, 0.6), rng.uniform(0.7, 2.0)
    spot = builder.find_free_spot(size, max(width, depth) / 2 + 0.05, by_wall=True)
    if spot is None:
        return
    origin, yaw = spot
    builder.box(builder.start("cabinet", _ANY), (width, depth, height), (0, 0, height / 2), yaw, origin)
    if height < 1.2 and rng.random() < 0.6:
        _small_object(builder, origin, height)


def _bed(builder: SceneBuilder, size: tuple[float, float, float]) -> None:
    spot = builder.find_free_spot(size, 0.95, by_wall=True)
    if spot is None:
        return
    origin, yaw = spot
    height = float(builder.rng.uniform(0.35, 0.55))
    builder.box(builder.start("bed", _ANY), (1.2, 1.8, height), (0, -0.2, height / 2), yaw, origin)
    builder.box(builder.start("pillow", _PLAIN), (0.8, 0.4, 0.14), (0, 0.45, height + 0.07), yaw, origin)


def _sofa(builder: SceneBuilder, size: tuple[float, float, float]) -> None:
    spot = builder.find_free_spot(size, 0.85, by_wall=True)
    if spot is None:
        return
    origin, yaw = spot
    number = builder.start("sofa", _ANY)
    builder.box(number, (1.5, 0.7, 0.42), (0, 0, 0.21), yaw, origin)
    builder.box(number, (1.5, 0.2, 0.85), (0, 0.35, 0.425), yaw, origin)
    for side in (-0.7, 0.7):
        builder.box(number, (0.18, 0.7, 0.6), (side, 0, 0.3), yaw, origin)


def _chair(builder: SceneBuilder, size: tuple[float, float, float]) -> None:
    spot = builder.find_free_spot(size, 0.35, by_wall=False)
    if spot is None:
        return
    origin, yaw = spot
    number = builder.start("chair", _ANY)
    builder.box(number, (0.45, 0.45, 0.05), (0, 0, 0.45), yaw, origin)
    builder.box(number, (0.45, 0.05, 0.5), (0, 0.2, 0.7), yaw, origin)
    for x in (-0.19, 0.19):
        for y in (-0.19, 0.19):
            builder.box(number, (0.05, 0.05, 0.45), (x, y, 0.225), yaw, origin)


def _column(builder: SceneBuilder, size: tuple[float, float, float]) -> None:
    radius = float(builder.rng.uniform(0.12, 0.3))
    spot = builder.find_free_spot(size, radius, by_wall=False)
    if spot is None:
        return
    height = size[2] if builder.rng.random() < 0.4 else float(builder.rng.uniform(0.4, 1.2))
    mesh = trimesh.creation.cylinder(radius=radius, height=height, sections=48)
    builder.add(builder.start("column", _ANY), mesh, spot[1], (*spot[0], height / 2))


def _ball(builder: SceneBuilder, size: tuple[float, float, float]) -> None:
    radius = float(builder.rng.uniform(0.15, 0.4))
    spot = builder.find_free_spot(size, radius, by_wall=False)
    if spot is not None:
        mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
        builder.add(builder.start("ball", _ANY), mesh, 0.0, (*spot[0], radius))


def _boxes(builder: SceneBuilder, size: tuple[float, float, float]) -> None:
    side = float(builder.rng.uniform(0.3, 0.6))
    spot = builder.find_free_spot(size, side * 0.75, by_wall=False)
    if spot is None:
        return
    origin, yaw = spot
    builder.box(builder.start("box", _ANY), (side, side, side * 0.8), (0, 0, side * 0.4), yaw, origin)
    if builder.rng.random() < 0.5:
        builder.box(builder.start("box", _ANY), (side * 0.7,) * 3, (0, 0, side * 1.15), yaw + 0.5, origin)


def _on_wall(builder: SceneBuilder, size: tuple[float, float, float], layer: int) -> None:
    """A picture, a window or a door: a thin box on a wall, thicker for higher `layer`, so that no two share a surface."""
    rng = builder.rng
    width, length, height = size
    class_name = ("picture", "picture", "window", "door")[int(rng.integers(4))]
    across, tall = (0.9, 2.0) if class_name == "door" else (rng.uniform(0.5, 1.3), rng.uniform(0.4, 0.9))
    middle = tall / 2 if class_name == "door" else float(rng.uniform(1.2, min(1.7, height - tall / 2 - 0.1)))
    side = int(rng.integers(4))
    along = float(rng.uniform(0.7, (length if side < 2 else width) - 0.7))
    origin = ((0, along), (width, along), (along, 0), (along, length))[side]
    kinds = _PLAIN if class_name == "window" else _ANY
    builder.box(
        builder.start(class_name, kinds),
        (across, 0.06 + 0.012 * layer, tall),
        (0, 0, middle),
        0.5 * np.pi if side < 2 else 0.0,
        origin,
    )


_FURNITURE = {
    "table": _table,
    "cabinet": _cabinet,
    "bed": _bed,
    "sofa": _sofa,
    "chair": _chair,
    "column": _column,
    "ball": _ball,
    "boxes": _boxes,
}
