"""A room: triangles, their objects, textures, and lights; and a builder that collects them."""

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


@dataclass(frozen=True)
class Scene:
    """A room. Axes: x and y along the floor, z up, in metres.

    Attributes:
        name: name of the room.
        size: extent along the axes.
        triangles: (n, 3, 3).
        owner: object (n,) of each triangle.
        semantic: class (k,) of each object, index of `classes.CLASSES`; object 0 stands for "no object".
        textures: a texture per object.
        lights: positions (m, 3).
        power: strengths (m,) of the lights.
        ambient: strength of the ambient light.
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
        """The ray-casting structure of all triangles."""
        return structure(self.triangles)

    @cached_property
    def unit_normals(self) -> Array:
        """Normals (n, 3) of the triangles."""
        first, second, third = self.triangles.transpose(1, 0, 2)
        normal: Array = np.cross(second - first, third - first)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        return normal.astype(np.float32)

    def owner_of(self, triangle: Array) -> Array:
        """Objects (n,) of triangles (n,); 0 for triangle -1, a ray without a hit."""
        return np.where(triangle < 0, 0, self.owner[triangle])

    def cast(self, origins: Array, directions: Array) -> tuple[Array, Array]:
        """First hits of rays (n, 3): distance in units of the direction's length (inf without a hit), and triangle (or -1)."""
        hits = self.embree.run(
            np.ascontiguousarray(origins, dtype=np.float32),
            np.ascontiguousarray(directions, dtype=np.float32),
            output=True,
        )
        triangle = hits["primID"]
        return np.where(triangle < 0, np.inf, hits["tfar"]), triangle


def structure(triangles: Array) -> EmbreeScene:
    """Embree's ray-casting structure of triangles (n, 3, 3)."""
    scene = EmbreeScene()
    TriangleMesh(scene, triangles.astype(np.float32))
    return scene


class SceneBuilder:
    """Collects the objects of a room; `rng` is the source of all its random choices."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self._triangles: list[Array] = []
        self._owner: list[Array] = []
        self.semantic: list[int] = [0]
        self.kinds: list[tuple[str, ...]] = [("plain",)]
        self._taken: list[tuple[float, float, float]] = []

    def start(self, class_name: str, kinds: tuple[str, ...]) -> int:
        """Starts a new object of class `class_name`, with one of these kinds of texture; returns its number."""
        self.semantic.append(ID[class_name])
        self.kinds.append(kinds)
        return len(self.semantic) - 1

    def add(
        self, number: int, mesh: trimesh.Trimesh, yaw: float = 0.0, offset: tuple[float, float, float] = (0, 0, 0)
    ) -> None:
        """Adds a mesh to an object, rotated about z by `yaw` (radians) and translated by `offset` (metres)."""
        cosine, sine = np.cos(yaw), np.sin(yaw)
        rotation = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
        triangles = np.asarray(mesh.triangles) @ rotation.T + np.array(offset)
        self._triangles.append(triangles)
        self._owner.append(np.full(len(triangles), number))

    def box(
        self,
        number: int,
        extents: tuple[float, ...],
        center: tuple[float, ...],
        yaw: float,
        origin: tuple[float, float],
    ) -> None:
        """Adds a box with its centre in furniture coordinates, which are rotated by `yaw` and moved to `origin` (x, y)."""
        mesh = trimesh.creation.box(extents=extents)
        mesh.apply_translation(center)
        self.add(number, mesh, yaw, (*origin, 0.0))

    def find_free_spot(
        self, size: tuple[float, float, float], radius: float, *, by_wall: bool
    ) -> tuple[tuple[float, float], float] | None:
        """Reserves a free disc on the floor of a room of `size`; returns its centre (x, y) and a yaw.

        None if 20 attempts fail. With `by_wall`, the disc is at a wall and the yaw faces away from it.
        """
        width, length, _ = size
        for _ in range(20):
            x = self.rng.uniform(radius + 0.1, max(width - radius - 0.1, radius + 0.2))
            y = self.rng.uniform(radius + 0.1, max(length - radius - 0.1, radius + 0.2))
            yaw = float(self.rng.uniform(0, 2 * np.pi))
            if by_wall:
                side = int(self.rng.integers(4))
                gap = radius * 0.75
                x, y = ((gap, y), (width - gap, y), (x, gap), (x, length - gap))[side]
                yaw = (0.5 * np.pi, -0.5 * np.pi, np.pi, 0.0)[side]
            if all(np.hypot(x - a, y - b) > radius + r for a, b, r in self._taken):
                self._taken.append((x, y, radius))
                return (x, y), yaw
        return None

    def finish(self, name: str, size: tuple[float, float, float]) -> Scene:
        """Draws textures and lights; returns the scene."""
        rng = self.rng
        count = int(rng.integers(1, 4))
        lights = rng.uniform((0.2, 0.2, 0.75), (0.8, 0.8, 0.95), (count, 3)) * np.array(size)
        return Scene(
            name=name,
            size=size,
            triangles=np.concatenate(self._triangles),
            owner=np.concatenate(self._owner),
            semantic=np.array(self.semantic),
            textures=Textures.sample(self.kinds, rng),
            lights=lights.astype(np.float32),
            power=(rng.uniform(0.5, 1.0, count) * 1.6 / count).astype(np.float32),
            ambient=float(rng.uniform(0.35, 0.55)),
        )
