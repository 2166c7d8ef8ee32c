"""Rectified pairs of views of rooms, with exact disparity and what only the left view shows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from croco_bench.data.rooms.camera import Camera, has_free_sight, sample_camera
from croco_bench.data.rooms.render import View, occlusion, render
from croco_bench.data.rooms.scene import Scene
from croco_bench.errors import DataError
from croco_bench.types import Array, Size

# The median disparity of a pair is drawn from here, in pixels at a width of 96: what cross-view pre-training on rooms saw.
_MEDIAN_PX = (2.5, 8.0)
_WIDTH = 96
_BASELINE_M = (0.02, 0.5)
_MOST_OCCLUDED = 0.4


@dataclass(frozen=True)
class StereoPair:
    """`disparity_px` (H, W) float32 of the left view, exact at pixels' centres; `occluded` (H, W): not in the right."""

    left: View
    right: View
    baseline_m: float
    disparity_px: Array
    occluded: Array


def make_stereo(scene: Scene, size: Size, rng: np.random.Generator) -> StereoPair:
    """Two cameras side by side, the right one shifted along the rows of both.

    Raises:
        DataError: two hundred tries found none, which no room of the generator should cause.
    """
    for _ in range(200):
        camera = sample_camera(scene, size, rng)
        left = render(scene, camera)
        wanted = float(rng.uniform(*_MEDIAN_PX)) * size[1] / _WIDTH
        baseline = float(np.clip(wanted * np.median(left.depth_m) / camera.K[0, 0], *_BASELINE_M))
        other = shifted(camera, baseline)
        if not (np.isfinite(left.depth_m).all() and has_free_sight(scene, other)):
            continue
        right = render(scene, other)
        hidden = occlusion(scene, left, right)
        if hidden.mean() < _MOST_OCCLUDED:
            disparity = (camera.K[0, 0] * baseline / left.depth_m.astype(np.float64)).astype(np.float32)
            return StereoPair(left, right, baseline, disparity, hidden)
    raise DataError(f"no pair of views was found in {scene.name}")


def shifted(camera: Camera, baseline_m: float) -> Camera:
    """The right camera of a rectified pair: the same, `baseline_m` further along its x axis."""
    pose = camera.cam2world.copy()
    pose[:3, 3] += baseline_m * pose[:3, 0]
    return replace(camera, cam2world=pose)
