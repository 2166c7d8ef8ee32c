"""A room with furniture: triangles, what each belongs to, its texture, and lights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import trimesh
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from croco_bench.data.rooms.classes import ID
from croco_bench.data.rooms.textures import Textures
from croco_bench.types import Array

_WALL = ("plain", "stripes", "bricks", "blobs", "gradient", "checks")
_FLOOR = ("checks", "stripes", "blobs", "bricks")
_PLAIN = ("plain", "gradient")
_ANY = ("plain", "stripes", "checks", "blobs", "bricks", "gradient")


@dataclass(frozen=True)
class Scene:
    """Axes: x and y along the floor, z up, metres. Row i of `triangles` (n, 3, 3) belongs to object `owner[i]`.

    `semantic[k]` is the class (index into `classes.THINGS`) of object k; object 0 is nothing. `lights` are positions (m, 3)
    and `power` their strengths; `ambient` is light from everywhere.
    """

    name: str
    size: tuple[float, float, float]
    triangles: Array
    owner: Array
    semantic: Array
    textures: Textures
    lights: Array
    power: Array
    ambient: float

    @cached_property
    def embree(self) -> EmbreeScene:
        """The ray-casting structure; made in each process, never pickled."""
        return structure(self.triangles)

    @cached_property
    def unit_normals(self) -> Array:
        """Normals (n, 3) of the triangles."""
        first, second, third = self.triangles.transpose(1, 0, 2)
        normal: Array = np.cross(second - first, third - first)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        return normal.astype(np.float32)

    def owner_of(self, triangle: Array) -> Array:
        """Objects (n,) that triangles belong to; 0 where there is no triangle (-1)."""
        return np.where(triangle < 0, 0, self.owner[triangle])

    def cast(self, origins: Array, directions: Array) -> tuple[Array, Array]:
        """First hits of rays (n, 3): distance in units of the direction's length (inf: none), and triangle (-1: none)."""
        hits = self.embree.run(
            np.ascontiguousarray(origins, dtype=np.float32),
            np.ascontiguousarray(directions, dtype=np.float32),
            output=True,
        )
        triangle = hits["primID"]
        return np.where(triangle < 0, np.inf, hits["tfar"]), triangle


def structure(triangles: Array) -> EmbreeScene:
    """What Embree casts rays at, made of triangles (n, 3, 3)."""
    scene = EmbreeScene()
    TriangleMesh(scene, triangles.astype(np.float32))
    return scene


class SceneBuilder:
    """Collects objects."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self._triangles: list[Array] = []
        self._owner: list[Array] = []
        self.semantic: list[int] = [0]
        self.kinds: list[tuple[str, ...]] = [("plain",)]
        self._taken: list[tuple[float, float, float]] = []

    def start(self, thing: str, kinds: tuple[str, ...]) -> int:
        """A new object; returns its number."""
        self.semantic.append(ID[thing])
        self.kinds.append(kinds)
        return len(self.semantic) - 1

    def add(
        self, number: int, mesh: trimesh.Trimesh, turn: float = 0.0, at: tuple[float, float, float] = (0, 0, 0)
    ) -> None:
        """Puts a mesh into an object, turned about z and moved."""
        cosine, sine = np.cos(turn), np.sin(turn)
        rotation = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
        triangles = np.asarray(mesh.triangles) @ rotation.T + np.array(at)
        self._triangles.append(triangles)
        self._owner.append(np.full(len(triangles), number))

    def box(
        self, number: int, extents: tuple[float, ...], at: tuple[float, ...], turn: float, origin: tuple[float, float]
    ) -> None:
        """A box: its centre `at` in furniture coordinates, which are turned and moved to `origin` on the floor."""
        mesh = trimesh.creation.box(extents=extents)
        mesh.apply_translation(at)
        self.add(number, mesh, turn, (*origin, 0.0))

    def place(
        self, size: tuple[float, float, float], radius: float, *, by_wall: bool
    ) -> tuple[tuple[float, float], float] | None:
        """A free spot on the floor for a round footprint and a turn; None when the room is full."""
        width, length, _ = size
        for _ in range(20):
            x = self.rng.uniform(radius + 0.1, max(width - radius - 0.1, radius + 0.2))
            y = self.rng.uniform(radius + 0.1, max(length - radius - 0.1, radius + 0.2))
            turn = float(self.rng.uniform(0, 2 * np.pi))
            if by_wall:
                side = int(self.rng.integers(4))
                gap = radius * 0.75
                x, y = ((gap, y), (width - gap, y), (x, gap), (x, length - gap))[side]
                turn = (0.5 * np.pi, -0.5 * np.pi, np.pi, 0.0)[side]
            if all(np.hypot(x - a, y - b) > radius + r for a, b, r in self._taken):
                self._taken.append((x, y, radius))
                return (x, y), turn
        return None

    def finish(self, name: str, size: tuple[float, float, float]) -> Scene:
        """The scene, with textures and lights."""
        rng = self.rng
        count = int(rng.integers(1, 4))
        spots = rng.uniform((0.2, 0.2, 0.75), (0.8, 0.8, 0.95), (count, 3)) * np.array(size)
        return Scene(
            name=name,
            size=size,
            triangles=np.concatenate(self._triangles),
            owner=np.concatenate(self._owner),
            semantic=np.array(self.semantic),
            textures=Textures.draw(self.kinds, rng),
            lights=spots.astype(np.float32),
            power=(rng.uniform(0.5, 1.0, count) * 1.6 / count).astype(np.float32),
            ambient=float(rng.uniform(0.35, 0.55)),
        )


def make_scene(seed: int) -> Scene:
    """The room of a seed: always the same."""
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
    """Floor, ceiling and four walls, each an object of its own, as thin boxes whose inner faces close the room."""
    width, length, height = size
    thin = 0.1
    sides = (
        ("floor", _FLOOR, (width, length, thin), (width / 2, length / 2, -thin / 2)),
        ("ceiling", _PLAIN, (width, length, thin), (width / 2, length / 2, height + thin / 2)),
        ("wall", _WALL, (thin, length, height), (-thin / 2, length / 2, height / 2)),
        ("wall", _WALL, (thin, length, height), (width + thin / 2, length / 2, height / 2)),
        ("wall", _WALL, (width, thin, height), (width / 2, -thin / 2, height / 2)),
        ("wall", _WALL, (width, thin, height), (width / 2, length + thin / 2, height / 2)),
    )
    for thing, kinds, extents, center in sides:
        # Slightly larger than the room, so that no ray slips through a corner.
        builder.box(
            builder.start(thing, kinds), tuple(side + 0.02 * (side > 1) for side in extents), center, 0.0, (0.0, 0.0)
        )


def _table(builder: SceneBuilder, size: tuple[float, float, float]) -> None:
    rng = builder.rng
    width, depth, height = rng.uniform(0.8, 1.5), rng.uniform(0.6, 0.9), rng.uniform(0.55, 0.8)
    spot = builder.place(size, float(np.hypot(width, depth)) / 2, by_wall=False)
    if spot is None:
        return
    origin, turn = spot
    number = builder.start("table", _ANY)
    builder.box(number, (width, depth, 0.06), (0, 0, height), turn, origin)
    for x in (-1, 1):
        for y in (-1, 1):
            leg = (x * (width / 2 - 0.06), y * (depth / 2 - 0.06), height / 2 - 0.015)
            builder.box(number, (0.07, 0.07, height - 0.03), leg, turn, origin)
    if rng.random() < 0.7:
        _thing_on(builder, origin, height + 0.03)


def _thing_on(builder: SceneBuilder, origin: tuple[float, float], height: float) -> None:
    """A box, a ball or a lamp that stands at this height."""
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
    spot = builder.place(size, max(width, depth) / 2 + 0.05, by_wall=True)
    if spot is None:
        return
    origin, turn = spot
    builder.box(builder.start("cabinet", _ANY), (width, depth, height), (0, 0, height / 2), turn, origin)
    if height < 1.2 and rng.random() < 0.6:
        _thing_on(builder, origin, height)


def _bed(builder: SceneBuilder, size: tuple[float, float, float]) -> None:
    spot = builder.place(size, 0.95, by_wall=True)
    if spot is None:
        return
    origin, turn = spot
    height = float(builder.rng.uniform(0.35, 0.55))
    builder.box(builder.start("bed", _ANY), (1.2, 1.8, height), (0, -0.2, height / 2), turn, origin)
    builder.box(builder.start("pillow", _PLAIN), (0.8, 0.4, 0.14), (0, 0.45, height + 0.07), turn, origin)


def _sofa(builder: SceneBuilder, size: tuple[float, float, float]) -> None:
    spot = builder.place(size, 0.85, by_wall=True)
    if spot is None:
        return
    origin, turn = spot
    number = builder.start("sofa", _ANY)
    builder.box(number, (1.5, 0.7, 0.42), (0, 0, 0.21), turn, origin)
    builder.box(number, (1.5, 0.2, 0.85), (0, 0.35, 0.425), turn, origin)
    for side in (-0.7, 0.7):
        builder.box(number, (0.18, 0.7, 0.6), (side, 0, 0.3), turn, origin)


def _chair(builder: SceneBuilder, size: tuple[float, float, float]) -> None:
    spot = builder.place(size, 0.35, by_wall=False)
    if spot is None:
        return
    origin, turn = spot
    number = builder.start("chair", _ANY)
    builder.box(number, (0.45, 0.45, 0.05), (0, 0, 0.45), turn, origin)
    builder.box(number, (0.45, 0.05, 0.5), (0, 0.2, 0.7), turn, origin)
    for x in (-0.19, 0.19):
        for y in (-0.19, 0.19):
            builder.box(number, (0.05, 0.05, 0.45), (x, y, 0.225), turn, origin)


def _column(builder: SceneBuilder, size: tuple[float, float, float]) -> None:
    radius = float(builder.rng.uniform(0.12, 0.3))
    spot = builder.place(size, radius, by_wall=False)
    if spot is None:
        return
    height = size[2] if builder.rng.random() < 0.4 else float(builder.rng.uniform(0.4, 1.2))
    mesh = trimesh.creation.cylinder(radius=radius, height=height, sections=48)
    builder.add(builder.start("column", _ANY), mesh, spot[1], (*spot[0], height / 2))


def _ball(builder: SceneBuilder, size: tuple[float, float, float]) -> None:
    radius = float(builder.rng.uniform(0.15, 0.4))
    spot = builder.place(size, radius, by_wall=False)
    if spot is not None:
        mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
        builder.add(builder.start("ball", _ANY), mesh, 0.0, (*spot[0], radius))


def _boxes(builder: SceneBuilder, size: tuple[float, float, float]) -> None:
    side = float(builder.rng.uniform(0.3, 0.6))
    spot = builder.place(size, side * 0.75, by_wall=False)
    if spot is None:
        return
    origin, turn = spot
    builder.box(builder.start("box", _ANY), (side, side, side * 0.8), (0, 0, side * 0.4), turn, origin)
    if builder.rng.random() < 0.5:
        builder.box(builder.start("box", _ANY), (side * 0.7,) * 3, (0, 0, side * 1.15), turn + 0.5, origin)


def _on_wall(builder: SceneBuilder, size: tuple[float, float, float], layer: int) -> None:
    """A picture, a window or a door: a thin box on a wall, thicker than earlier ones, so that no two share a surface."""
    rng = builder.rng
    width, length, height = size
    thing = ("picture", "picture", "window", "door")[int(rng.integers(4))]
    across, tall = (0.9, 2.0) if thing == "door" else (rng.uniform(0.5, 1.3), rng.uniform(0.4, 0.9))
    middle = tall / 2 if thing == "door" else float(rng.uniform(1.2, min(1.7, height - tall / 2 - 0.1)))
    side = int(rng.integers(4))
    along = float(rng.uniform(0.7, (length if side < 2 else width) - 0.7))
    at = ((0, along), (width, along), (along, 0), (along, length))[side]
    kinds = _PLAIN if thing == "window" else _ANY
    builder.box(
        builder.start(thing, kinds),
        (across, 0.06 + 0.012 * layer, tall),
        (0, 0, middle),
        0.5 * np.pi if side < 2 else 0.0,
        at,
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
