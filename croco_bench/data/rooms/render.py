"""Rendering of views with exact ground truth; flow, occlusion and co-visibility of two views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from croco_bench.data.rooms.camera import Camera, has_free_sight, nudge, sample_camera
from croco_bench.data.rooms.scene import Scene
from croco_bench.errors import DataError
from croco_bench.types import Array, Size

# Pixels that differ from a neighbour by more than this in linear colour get four rays, on a rotated grid.
_CONTRAST = 0.03
SUBPIXELS = ((-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125))


@dataclass(frozen=True)
class View:
    """A rendered image with its ground truth.

    Attributes:
        camera: the camera.
        rgb: (H, W, 3) uint8.
        depth_m: depth (H, W) float32 along the optical axis.
        normals: unit normals (H, W, 3) float32 in camera axes, towards the camera.
        semantic: classes (H, W) int32, indices of `classes.CLASSES`.
        instance: objects (H, W) int32 of the scene.
    """

    camera: Camera
    rgb: Array
    depth_m: Array
    normals: Array
    semantic: Array
    instance: Array

    def points(self) -> Array:
        """World points (H*W, 3) of all pixels, metres."""
        rays: Array = self.camera.rays() * self.depth_m.reshape(-1, 1).astype(np.float64)
        return self.camera.center + rays


@dataclass(frozen=True)
class RenderedViews:
    """Two views of a static scene. `covisibility`: share of the pixels of view 1 visible in view 2, and the reverse."""

    view1: View
    view2: View
    covisibility: tuple[float, float]


def render(scene: Scene, camera: Camera) -> View:
    """Renders the view of a camera: geometry at pixel centres, colour antialiased by four rays per pixel at edges."""
    height, width = camera.size
    rays = camera.rays()
    depth, triangle = scene.cast(np.broadcast_to(camera.center, rays.shape), rays)
    instance = scene.owner_of(triangle)
    normal = _facing(scene, triangle, rays)
    color = _shade(scene, camera, rays, depth, triangle).reshape(height, width, 3)
    return View(
        camera=camera,
        rgb=display(_antialiased(scene, camera, color, instance.reshape(height, width))),
        depth_m=depth.astype(np.float32).reshape(height, width),
        normals=(normal @ camera.cam2world[:3, :3].astype(np.float32)).reshape(height, width, 3),
        semantic=scene.semantic[instance].astype(np.int32).reshape(height, width),
        instance=instance.astype(np.int32).reshape(height, width),
    )


def radiance(scene: Scene, camera: Camera, offset: tuple[float, float] = (0.0, 0.0)) -> tuple[Array, Array]:
    """Linear colour (H, W, 3) and z-depth (H, W) of one ray per pixel, at `offset` (x, y) pixels from the pixel centre."""
    rays = camera.rays(offset)
    depth, triangle = scene.cast(np.broadcast_to(camera.center, rays.shape), rays)
    return _shade(scene, camera, rays, depth, triangle).reshape(*camera.size, 3), depth.reshape(camera.size)


def _facing(scene: Scene, triangle: Array, rays: Array) -> Array:
    """Unit world normals (n, 3), on the side of the surface that the rays hit."""
    normal = scene.unit_normals[triangle]
    back = np.einsum("ni,ni->n", normal, rays) > 0
    normal[back] *= -1
    return normal


def _shade(scene: Scene, camera: Camera, rays: Array, distance: Array, triangle: Array) -> Array:
    """Linear colours (n, 3) at the hits of the rays; black without a hit."""
    hit = triangle >= 0
    color = np.zeros((len(rays), 3), dtype=np.float32)
    points = (camera.center + rays[hit] * distance[hit, None]).astype(np.float32)
    normal = _facing(scene, triangle[hit], rays[hit])
    albedo = scene.textures.color(points, scene.owner_of(triangle[hit]))
    color[hit] = albedo * _light(scene, points, normal)[:, None]
    return color


def _antialiased(scene: Scene, camera: Camera, color: Array, instance: Array) -> Array:
    """The colours (H, W, 3), with pixels that differ from a neighbour shaded again by four rays."""
    edges = np.zeros(instance.shape, dtype=np.bool_)
    for axis in (0, 1):
        step = (np.abs(np.diff(color, axis=axis)).max(axis=-1) > _CONTRAST) | (np.diff(instance, axis=axis) != 0)
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        edges[tuple(before)] |= step
        edges[tuple(after)] |= step
    pixels = np.flatnonzero(edges.ravel())
    rays = np.concatenate([camera.rays(offset)[pixels] for offset in SUBPIXELS])
    distance, triangle = scene.cast(np.broadcast_to(camera.center, rays.shape), rays)
    colors = _shade(scene, camera, rays, distance, triangle).reshape(len(SUBPIXELS), len(pixels), 3)
    smooth = color.reshape(-1, 3).copy()
    smooth[pixels] = colors.mean(axis=0)
    return smooth.reshape(color.shape)


def display(color: Array) -> Array:
    """Linear light -> uint8 with a gamma of 2.2."""
    return (255 * np.clip(color, 0, 1) ** np.float32(1 / 2.2) + 0.5).astype(np.uint8)


def _light(scene: Scene, points: Array, normal: Array) -> Array:
    """Irradiance (n,): ambient light, and all lamps by Lambert's law without shadows."""
    total = np.full(len(points), scene.ambient, dtype=np.float32)
    for position, power in zip(scene.lights, scene.power, strict=True):
        towards = position - points
        squared = np.einsum("ni,ni->n", towards, towards)
        cosine = np.einsum("ni,ni->n", towards, normal) / np.sqrt(squared)
        total += power * np.clip(cosine, 0, None) / (1 + 0.15 * squared)
    return total


def visible_from(scene: Scene, points: Array, camera: Camera) -> Array:
    """Which world points (n, 3) are inside the image of `camera` and not occluded, by ray casting: (n,) bool."""
    pixels, depth = camera.project(points)
    height, width = camera.size
    inside = (
        (depth > 1e-6) & (pixels >= -0.5).all(axis=1) & (pixels[:, 0] < width - 0.5) & (pixels[:, 1] < height - 0.5)
    )
    visible = np.zeros(len(points), dtype=np.bool_)
    towards = points[inside] - camera.center
    reach, _ = scene.cast(np.broadcast_to(camera.center, towards.shape), towards)
    visible[inside] = reach > 1 - 1e-3
    return visible


def flow_between(view1: View, view2: View) -> Array:
    """Optical flow (H, W, 2) in pixels (u right, v down) from view 1 to view 2 of a static scene, also at occluded pixels."""
    pixels, _ = view2.camera.project(view1.points())
    height, width = view1.camera.size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return (pixels.reshape(height, width, 2) - np.stack([x, y], axis=-1)).astype(np.float32)


def occlusion(scene: Scene, view1: View, view2: View) -> Array:
    """Pixels of view 1 that are occluded in view 2 or outside its image: (H, W) bool."""
    return ~visible_from(scene, view1.points(), view2.camera).reshape(view1.camera.size)


def camera_covisibility(scene: Scene, camera1: Camera, camera2: Camera) -> tuple[float, float]:
    """Share of the pixels of camera 1 visible from camera 2, and the reverse; exact, by ray casting."""
    shares = []
    for camera, other in ((camera1, camera2), (camera2, camera1)):
        rays = camera.rays()
        depth, triangle = scene.cast(np.broadcast_to(camera.center, rays.shape), rays)
        hit = triangle >= 0
        shares.append(float(visible_from(scene, camera.center + rays[hit] * depth[hit, None], other).sum()) / len(rays))
    return shares[0], shares[1]


def make_pair(scene: Scene, size: Size, rng: np.random.Generator) -> RenderedViews:
    """Samples two nearby views with a co-visibility of at least 45 % in both directions.

    Raises:
        DataError: 200 attempts failed, which doesn't happen in rooms of `make_scene`.
    """
    for _ in range(200):
        first = sample_camera(scene, size, rng)
        second = nudge(first, rng)
        if not has_free_sight(scene, second):
            continue
        shares = camera_covisibility(scene, first, second)
        if min(shares) >= 0.45:
            return RenderedViews(render(scene, first), render(scene, second), shares)
    raise DataError(f"no pair of views was found in {scene.name}")
