"""What Taskonomy's domains show, computed for rendered views. All maps are (H, W[, C]) floats from 0 to 1.

Taskonomy's own detectors and scales aren't documented to the last constant: these are the same kinds of cue, with every
constant given here.
"""

from __future__ import annotations

import cv2
import numpy as np

from croco_bench.data.rooms.classes import ID
from croco_bench.data.rooms.render import View
from croco_bench.data.rooms.scene import Scene
from croco_bench.types import Array

# A curvature of this (1/m) is shown half-way between none and the largest: balls and columns have 2.5 to 8.
_HALF_CURVATURE = 5.0
# Taskonomy shows no curvature as 127 of 255; everything that is curved here bulges, and is above.
_FLAT = 127 / 255
# Half the opening angle of a lampshade: its height is 1.2 times its radius.
_CONE = np.arctan(1 / 1.2)


def curvature(scene: Scene, view: View) -> Array:
    """Principal curvatures k, the larger first: 127/255 + 128/255 k / (k + 5 per metre).

    Exact for the solids that were tessellated, whatever the facets. Planes have (0, 0), balls (1/r, 1/r), cylinders
    (1/r, 0), cones (cos(a)/d, 0) at a distance d from their axis.
    """
    first, second = np.zeros(view.depth_m.shape), np.zeros(view.depth_m.shape)
    points = view.points().reshape(*view.depth_m.shape, 3)
    upright = np.abs(view.normals @ view.camera.cam2world[:3, :3].T)[:, :, 2] > 0.99
    for number in np.unique(view.instance):
        there, kind = view.instance == number, scene.semantic[number]
        corners = scene.triangles[scene.owner == number].reshape(-1, 3)
        if kind == ID["ball"]:
            first[there] = second[there] = 2 / np.ptp(corners[:, 2])
        elif kind == ID["column"]:
            first[there & ~upright] = 2 / np.ptp(corners[:, 0])
        elif kind == ID["lamp"]:
            there &= ~upright
            axis = (corners[:, :2].min(axis=0) + corners[:, :2].max(axis=0)) / 2
            away = np.maximum(np.linalg.norm(points[there][:, :2] - axis, axis=1), 1e-3)
            slanted = np.abs(view.normals @ view.camera.cam2world[:3, :3].T)[there][:, 2] > 0.1
            first[there] = np.where(slanted, np.cos(_CONE), 1.0) / away
    both: Array = np.stack([first, second], axis=-1)
    shown: Array = _FLAT + (1 - _FLAT) * both / (both + _HALF_CURVATURE)
    return shown


def occlusion_edges(depth_m: Array) -> Array:
    """Steps of depth: the second difference of inverse depth, which is 0 on any plane, relative to inverse depth.

    The larger of both directions; a crease gives a little, a jump by half gives 1.
    """
    inverse = np.pad(1 / depth_m.astype(np.float64), 1, mode="edge")
    middle = inverse[1:-1, 1:-1]
    across = np.abs(inverse[1:-1, 2:] - 2 * middle + inverse[1:-1, :-2])
    down = np.abs(inverse[2:, 1:-1] - 2 * middle + inverse[:-2, 1:-1])
    inside = np.zeros_like(middle, dtype=np.bool_)
    inside[1:-1, 1:-1] = True
    steps: Array = np.where(inside, np.maximum(across, down) / middle, 0)
    return _unit(2 * steps)


def texture_edges(rgb: Array) -> Array:
    """Canny's gradient without its thresholds: Sobel magnitude of grey blurred by 1 px; a quarter of the range is a hard edge."""
    gray = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float64) / 255, (0, 0), 1.0)
    across, down = (cv2.Sobel(gray, cv2.CV_64F, *order, ksize=3) for order in ((1, 0), (0, 1)))
    return _unit(np.hypot(across, down) / 8)


def keypoints2d(rgb: Array) -> Array:
    """SURF's measure: the determinant of the Hessian of grey at 1.5 px, where positive, times 60."""
    gray = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float64) / 255, (0, 0), 1.5)
    xx, yy, xy = (cv2.Sobel(gray, cv2.CV_64F, *order, ksize=3) for order in ((2, 0), (0, 2), (1, 1)))
    return _unit(60 * (xx * yy - xy**2))


def keypoints3d(normals: Array) -> Array:
    """Where normals turn in two directions at once, as at the corners that NARF finds.

    The square root of the smaller eigenvalue of the structure tensor of the normals, averaged with 1.5 px.
    """
    across, down = (
        cv2.Sobel(normals.astype(np.float64), cv2.CV_64F, *order, ksize=3) / 8 for order in ((1, 0), (0, 1))
    )
    products = ((across, across), (down, down), (across, down))
    xx, yy, xy = (cv2.GaussianBlur((one * two).sum(axis=-1), (0, 0), 1.5) for one, two in products)
    smaller = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    return _unit(np.sqrt(np.maximum(smaller, 0)))


def shown_normals(normals: Array) -> Array:
    """(n + 1) / 2 with x to the right, y up and z towards the camera."""
    turned: Array = (normals.astype(np.float64) * (1, -1, -1) + 1) / 2
    return turned


def reshading(view: View) -> Array:
    """Lambert's law with one light at the camera: the cosine between the normal and the direction to the camera."""
    rays = view.camera.rays() @ view.camera.cam2world[:3, :3]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    cosine = -np.einsum("hwi,hwi->hw", view.normals.astype(np.float64), rays.reshape(view.normals.shape))
    return _unit(cosine)


def _unit(values: Array) -> Array:
    clipped: Array = np.clip(values, 0, 1)
    return clipped
