"""Mid-level cues: the domains of Taskonomy, computed for rendered views. All maps are (H, W[, C]) floats from 0 to 1.

The constants of Taskonomy's own detectors and scales aren't fully documented. These are the same kinds of cue with the
constants given here.
"""

from __future__ import annotations

import cv2
import numpy as np

from croco_bench.data.rooms.classes import ID
from croco_bench.data.rooms.render import View
from croco_bench.data.rooms.scene import Scene
from croco_bench.types import Array

# Curvature (1/m) at the middle between flat and the maximum; balls and columns have 2.5 to 8.
_HALF_CURVATURE = 5.0
# Taskonomy's value of zero curvature. All curved surfaces here are convex, with larger values.
_FLAT = 127 / 255
# Half the opening angle of a lampshade, a cone 1.2 times as high as its radius.
_CONE = np.arctan(1 / 1.2)


def curvature(scene: Scene, view: View) -> Array:
    """Principal curvatures (H, W, 2), the larger first, as 127/255 + 128/255 k / (k + 5/m).

    Exact for the solids before tessellation: (0, 0) on planes, (1/r, 1/r) on balls, (1/r, 0) on cylinders, (cos(a)/d, 0) on
    cones at a distance d from their axis.
    """
    first, second = np.zeros(view.depth_m.shape), np.zeros(view.depth_m.shape)
    points = view.points().reshape(*view.depth_m.shape, 3)
    vertical = np.abs(view.normals @ view.camera.cam2world[:3, :3].T)[:, :, 2]
    side = vertical <= 0.99  # not the top or bottom of a column or lamp
    for number in np.unique(view.instance):
        mask, kind = view.instance == number, scene.semantic[number]
        corners = scene.triangles[scene.owner == number].reshape(-1, 3)
        if kind == ID["ball"]:
            first[mask] = second[mask] = 2 / np.ptp(corners[:, 2])
        elif kind == ID["column"]:
            first[mask & side] = 2 / np.ptp(corners[:, 0])
        elif kind == ID["lamp"]:
            mask &= side
            axis = (corners[:, :2].min(axis=0) + corners[:, :2].max(axis=0)) / 2
            from_axis = np.maximum(np.linalg.norm(points[mask][:, :2] - axis, axis=1), 1e-3)
            first[mask] = np.where(vertical[mask] > 0.1, np.cos(_CONE), 1.0) / from_axis
    both: Array = np.stack([first, second], axis=-1)
    scaled: Array = _FLAT + (1 - _FLAT) * both / (both + _HALF_CURVATURE)
    return scaled


def occlusion_edges(depth_m: Array) -> Array:
    """Depth discontinuities (H, W): twice the second difference of inverse depth, relative to inverse depth.

    The second difference vanishes on planes. The larger of both directions counts; small at creases, 1 at large jumps.
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
    """Gradient of Canny's detector, without thresholds: Sobel magnitude of luma blurred by 1 px."""
    gray = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float64) / 255, (0, 0), 1.0)
    across, down = (cv2.Sobel(gray, cv2.CV_64F, *order, ksize=3) for order in ((1, 0), (0, 1)))
    return _unit(np.hypot(across, down) / 8)


def keypoints2d(rgb: Array) -> Array:
    """Score of SURF's detector: 60 times the determinant of the Hessian of luma blurred by 1.5 px, where positive."""
    gray = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float64) / 255, (0, 0), 1.5)
    xx, yy, xy = (cv2.Sobel(gray, cv2.CV_64F, *order, ksize=3) for order in ((2, 0), (0, 2), (1, 1)))
    return _unit(60 * (xx * yy - xy**2))


def keypoints3d(normals: Array) -> Array:
    """Corners of the geometry, similar to NARF: normals (H, W, 3) that change in two directions.

    The square root of the smaller eigenvalue of the structure tensor of the normals, blurred by 1.5 px.
    """
    across, down = (
        cv2.Sobel(normals.astype(np.float64), cv2.CV_64F, *order, ksize=3) / 8 for order in ((1, 0), (0, 1))
    )
    products = ((across, across), (down, down), (across, down))
    xx, yy, xy = (cv2.GaussianBlur((one * two).sum(axis=-1), (0, 0), 1.5) for one, two in products)
    smaller = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    return _unit(np.sqrt(np.maximum(smaller, 0)))


def encoded_normals(normals: Array) -> Array:
    """(n + 1) / 2 with x to the right, y up and z towards the camera; `normals` have OpenCV axes."""
    encoded: Array = (normals.astype(np.float64) * (1, -1, -1) + 1) / 2
    return encoded


def reshading(view: View) -> Array:
    """Shading by a light at the camera: the cosine between the normal and the direction to the camera."""
    rays = view.camera.rays() @ view.camera.cam2world[:3, :3]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    cosine = -np.einsum("hwi,hwi->hw", view.normals.astype(np.float64), rays.reshape(view.normals.shape))
    return _unit(cosine)


def _unit(values: Array) -> Array:
    clipped: Array = np.clip(values, 0, 1)
    return clipped
