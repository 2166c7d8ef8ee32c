"""True matches of points in two posed views with depth.

All positions are (x, y) in pixels of an image with a shorter side of 256, measured from its upper left corner: the middle of the
first pixel is (0.5, 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from croco_bench.data.transforms.color import to_uint8
from croco_bench.data.transforms.view_fitting import resize_crop_with_intrinsics
from croco_bench.metrics.pose_errors import rotation_error_deg
from croco_bench.types import Array, Sample, Size

SIDE_PX = 256


@dataclass(frozen=True)
class Tolerance:
    """A point is visible where view 2's depth differs by less than a part of its own depth, plus a length in metres."""

    absolute_m: float = 0.05
    relative: float = 0.03


OF_ROOMS = Tolerance()
# Of depth maps in an unknown unit, which multi-view stereo reconstructed.
WITHOUT_SCALE = Tolerance(absolute_m=0.0, relative=0.05)


def sides_px(size: Size) -> Size:
    """(H, W) of images of `size` when their shorter side has 256 pixels."""
    scale = SIDE_PX / min(size)
    return round(size[0] * scale), round(size[1] * scale)


def grid_points(size: Size, per_side: int) -> Array:
    """The centers (P, 2) of evenly spaced square cells, `per_side` of them along the shorter side."""
    height, width = sides_px(size)
    spacing = SIDE_PX / per_side
    rows, columns = (np.arange(int(side / spacing + 1e-6)) for side in (height, width))
    starts = [(side - spacing * len(cells)) / 2 for side, cells in ((width, columns), (height, rows))]
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) * spacing + starts


def keypoints(image: Array, count: int) -> Array:
    """The `count` strongest SIFT keypoints (P, 2) of an image (h, w, 3) uint8, each position once; NaN where there are fewer."""
    height, width = sides_px((image.shape[0], image.shape[1]))
    gray = cv2.cvtColor(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    found = sorted(cv2.SIFT.create().detect(gray, None), key=lambda point: -point.response)
    positions = np.array(list(dict.fromkeys(point.pt for point in found))[:count], dtype=np.float64).reshape(-1, 2)
    return np.concatenate([positions + 0.5, np.full((count - len(positions), 2), np.nan)])


@dataclass(frozen=True)
class View:
    """One view as a network sees it.

    Attributes:
        image: (3, h, w) float32 in [0, 1].
        K_px: intrinsics (3, 3) for positions in pixels of an image with a shorter side of 256.
        depth_m: (H, W), one value per such pixel, NaN where unknown.
    """

    image: torch.Tensor
    K_px: Array
    depth_m: Array

    def at(self, positions: Array) -> Array:
        """Depths (...) at positions (..., 2), NaN outside the image."""
        height, width = self.depth_m.shape
        inside = ((positions >= 0) & (positions < (width, height))).all(axis=-1)
        column, row = (np.where(inside, positions[..., axis], 0).astype(np.int64) for axis in (0, 1))
        return np.where(inside, self.depth_m[row, column], np.nan)


def view_of(image: Array, depth_m: Array, K: Array, size: Size) -> View:
    """Resizes and crops an image (H, W, 3) uint8 to `size`; depth is looked up in its own pixels."""
    fitted, K_fitted = resize_crop_with_intrinsics(image, K, size)
    scale = SIDE_PX / min(size)
    K_px = np.array([[scale, 0, scale / 2], [0, scale, scale / 2], [0, 0, 1]]) @ K_fitted
    height, width = sides_px(size)
    back = K @ np.linalg.inv(K_px)  # to pixels of the depth map, of which the first one's middle is (0, 0)
    columns = np.rint(back[0, 0] * (np.arange(width) + 0.5) + back[0, 2]).astype(np.int64)
    rows = np.rint(back[1, 1] * (np.arange(height) + 0.5) + back[1, 2]).astype(np.int64)
    known = [(index >= 0) & (index < side) for index, side in ((rows, depth_m.shape[0]), (columns, depth_m.shape[1]))]
    looked_up = depth_m[np.ix_(np.clip(rows, 0, depth_m.shape[0] - 1), np.clip(columns, 0, depth_m.shape[1] - 1))]
    pixels = torch.from_numpy(np.ascontiguousarray(fitted)).movedim(-1, 0).float().div_(255)
    return View(pixels, K_px, np.where(known[0][:, None] & known[1], looked_up, np.nan))


def reproject(
    points: Array, one: View, two: View, relative: Array, tolerance: Tolerance = OF_ROOMS
) -> tuple[Array, Array]:
    """Where points (P, 2) of view 1 appear in view 2.

    Args:
        points: positions, NaN for none.
        one: view 1.
        two: view 2.
        relative: maps points of camera 2 into camera 1, (4, 4) in metres.
        tolerance: of depth.

    Returns:
        Positions (P, 2), NaN where a point has no depth, leaves the image, or is hidden or of unknown depth there; and the
        points in camera 2 (P, 3) in metres.
    """
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    surface1 = homogeneous @ np.linalg.inv(one.K_px).T * one.at(points)[:, None]
    surface2 = (surface1 - relative[:3, 3]) @ relative[:3, :3]
    projected = surface2 @ two.K_px.T
    ahead = projected[:, 2] > 0
    matches = np.where(ahead[:, None], projected[:, :2] / np.where(ahead, projected[:, 2], 1)[:, None], np.nan)
    depth_m = surface2[:, 2]
    seen = np.abs(two.at(matches) - depth_m) < tolerance.absolute_m + tolerance.relative * depth_m
    return np.where(seen[:, None], matches, np.nan), surface2


def posed_pair(
    sample: Sample, size: Size, *, per_side: int, at_keypoints: bool, tolerance: Tolerance = OF_ROOMS
) -> Sample:
    """A raw sample of two posed views with depth, prepared for a network of input `size`: images, points, truth, geometry."""
    one, two = (view_of(sample[f"image{i}"], sample[f"depth{i}_m"], sample[f"K{i}"], size) for i in "12")
    points = grid_points(size, per_side)
    if at_keypoints:
        points = keypoints(to_uint8(one.image), len(points))
    truth, surface2 = reproject(points, one, two, sample["relative"], tolerance)
    identity = np.eye(3)
    return {
        "image1": one.image,
        "image2": two.image,
        "points": points,
        "truth": truth,
        "long_side_px": float(max(sides_px(size))),
        "angle_deg": float(rotation_error_deg(identity, sample["relative"][:3, :3])),
        "baseline_m": float(np.linalg.norm(sample["relative"][:3, 3])),
        "relative": sample["relative"],
        "K1_px": one.K_px,
        "K2_px": two.K_px,
        "depth2_m": two.depth_m,
        "surface2_m": surface2,
        "scene": sample["scene"],
        "id": sample["id"],
    }
