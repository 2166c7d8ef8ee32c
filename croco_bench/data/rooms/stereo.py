"""Rectified pairs of views of rooms, with exact disparity and occlusion."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from croco_bench.data.rooms.camera import Camera, has_free_sight, sample_camera
from croco_bench.data.rooms.render import View, occlusion, render
from croco_bench.data.rooms.scene import Scene
from croco_bench.errors import DataError
from croco_bench.types import Array, Size

# Range of the median disparity of a pair, in pixels at a width of 96: that of the pairs for cross-view pre-training.
_MEDIAN_PX = (2.5, 8.0)
_WIDTH = 96
_BASELINE_M = (0.02, 0.5)
_MAX_OCCLUDED = 0.4


@dataclass(frozen=True)
class StereoPair:
    """A rectified pair.

    Attributes:
        left: the left view.
        right: the right view.
        baseline_m: distance of the cameras.
        disparity_px: disparity (H, W) float32 of the left view, exact at pixel centres.
        occluded: (H, W) bool, pixels of the left view that aren't visible in the right one.
    """

    left: View
    right: View
    baseline_m: float
    disparity_px: Array
    occluded: Array


def make_stereo(scene: Scene, size: Size, rng: np.random.Generator) -> StereoPair:
    """Samples a left camera and a baseline with free sight from both cameras and less than 40 % occlusion.

    Raises:
        DataError: 200 attempts failed, which doesn't happen in rooms of `make_scene`.
    """
    for _ in range(200):
        camera = sample_camera(scene, size, rng)
        left = render(scene, camera)
        wanted_px = float(rng.uniform(*_MEDIAN_PX)) * size[1] / _WIDTH
        baseline = float(np.clip(wanted_px * np.median(left.depth_m) / camera.K[0, 0], *_BASELINE_M))
        other = shifted(camera, baseline)
        if not (np.isfinite(left.depth_m).all() and has_free_sight(scene, other)):
            continue
        right = render(scene, other)
        occluded = occlusion(scene, left, right)
        if occluded.mean() < _MAX_OCCLUDED:
            disparity = (camera.K[0, 0] * baseline / left.depth_m.astype(np.float64)).astype(np.float32)
            return StereoPair(left, right, baseline, disparity, occluded)
    raise DataError(f"no pair of views was found in {scene.name}")


def shifted(camera: Camera, baseline_m: float) -> Camera:
    """The right camera of a rectified pair: `camera` moved by `baseline_m` along its x axis."""
    pose = camera.cam2world.copy()
    pose[:3, 3] += baseline_m * pose[:3, 0]
    return replace(camera, cam2world=pose)
