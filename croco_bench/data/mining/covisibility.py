"""Co-visibility of two posed depth maps: points of one are projected into the other and compared with its depth.

Checked against exact ray casting on 88 pairs of rooms at 640x480 with co-visibility 0.14 to 0.94. Error of the smaller share
at 120 rows, nearest pixel, tolerance 5 cm + 3 % of the depth: mean 0.002, 95th percentile 0.006, maximum 0.010; with Kinect
noise 0.002, 0.006 and 0.013. Alternatives: bilinear depth has a mean error of 0.006, because it interpolates between
foreground and background; 60 rows double the error at a third of the time; a tolerance of 2 cm + 1 % loses 0.05 to noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from croco_bench.data.posed.video import PosedFrame
from croco_bench.types import Array

# Additive steps of the R2 low-discrepancy sequence: 1/p and 1/p^2, p the real root of p^3 = p + 1.
_R2_STEP = np.array([0.7548776662466927, 0.5698402909980532])


@dataclass(frozen=True)
class Matching:
    """When a point of one depth map counts as visible in another. Field names are keys of `settings.json`.

    Attributes:
        rows: approximate number of grid rows compared; columns have the same spacing.
        absolute_m: constant part of the depth tolerance.
        relative: part of the tolerance proportional to depth.
        square: compare only the central squares of both views.
        known: least share of points that must be comparable for an estimate; see `share_seen`.
    """

    rows: int = 120
    absolute_m: float = 0.05
    relative: float = 0.03
    square: bool = False
    known: float = 0.2


@dataclass(frozen=True)
class Surface:
    """The depth map of one frame on a coarse grid.

    Attributes:
        depth_m: depths (h, w) of every `step`-th pixel, NaN where unknown.
        K: intrinsics (3, 3) of the full depth map.
        cam2world: pose (4, 4) in metres.
        size: (H, W) of the full depth map.
        step: grid spacing in pixels.
    """

    depth_m: Array
    K: Array
    cam2world: Array
    size: tuple[int, int]
    step: int

    @property
    def valid(self) -> float:
        """Share of grid points with known depth."""
        return float(np.isfinite(self.depth_m).mean())

    def points(self) -> Array:
        """World points (n, 3) of all grid points with known depth."""
        return self._unproject(*np.nonzero(np.isfinite(self.depth_m)))

    def sample_points(self, count: int) -> Array:
        """World points (count, 3) of fixed grid points, evenly spread; NaN where depth is unknown."""
        # A two-dimensional low-discrepancy sequence: regular steps through the rows would fall into few columns.
        unit = (0.5 + np.arange(1, count + 1)[:, None] * _R2_STEP) % 1
        rows, columns = (unit * self.depth_m.shape).astype(np.intp).T
        return self._unproject(rows, columns)

    def _unproject(self, rows: Array, columns: Array) -> Array:
        x, y = (self.step * index + self.step // 2 for index in (columns, rows))
        rays = np.stack(
            [(x - self.K[0, 2]) / self.K[0, 0], (y - self.K[1, 2]) / self.K[1, 1], np.ones(len(rows))], axis=-1
        )
        local = rays * self.depth_m[rows, columns, None].astype(np.float64)
        world: Array = local @ self.cam2world[:3, :3].T + self.cam2world[:3, 3]
        return world


def surface_of(depth_m: Array, K: Array, cam2world: Array, matching: Matching) -> Surface:
    """The surface of a depth map (H, W), NaN where unknown, with intrinsics (3, 3) and pose (4, 4)."""
    if matching.square:
        depth_m, K = _middle_square(depth_m, K)
    step = max(min(depth_m.shape) // matching.rows, 1)
    grid = np.ascontiguousarray(depth_m[step // 2 :: step, step // 2 :: step])
    return Surface(grid, K, cam2world, (depth_m.shape[0], depth_m.shape[1]), step)


class Sight(IntEnum):
    """How a point of one view appears in another."""

    UNKNOWN = 0  # the point has no depth
    OUTSIDE = 1
    IN_HOLE = 2  # inside, where the other view has no depth
    HIDDEN = 3
    SEEN = 4


def sights(points: Array, other: Surface, matching: Matching) -> Array:
    """The `Sight` of world points (n, 3) in `other`: (n,) uint8."""
    local = (points - other.cam2world[:3, 3]) @ other.cam2world[:3, :3]
    height, width = other.size
    with np.errstate(divide="ignore", invalid="ignore"):
        x = local[:, 0] / local[:, 2] * other.K[0, 0] + other.K[0, 2]
        y = local[:, 1] / local[:, 2] * other.K[1, 1] + other.K[1, 2]
    inside = (local[:, 2] > 0) & (x >= -0.5) & (y >= -0.5) & (x < width - 0.5) & (y < height - 0.5)
    depth = local[inside, 2]
    measured = other.depth_m[_nearest(y[inside], other, 0), _nearest(x[inside], other, 1)]
    near = np.abs(measured - depth) < matching.absolute_m + matching.relative * depth
    result = np.where(np.isnan(points[:, 0]), np.uint8(Sight.UNKNOWN), np.uint8(Sight.OUTSIDE))
    result[inside] = np.where(np.isnan(measured), Sight.IN_HOLE, np.where(near, Sight.SEEN, Sight.HIDDEN))
    return result


def share_seen(sight: Array, count: int, matching: Matching) -> Array:
    """Share of seen points over the last axis of `sights`, of `count` points, estimated where depth has holes.

    It is the share inside the other image, times the share seen among those that don't fall into a hole there: unknown
    depth counts neither as seen nor as unseen. NaN where fewer than `matching.known` of all points, or of those inside,
    tell.
    """
    outside, holes, hidden, seen = ((sight == kind).sum(axis=-1) for kind in list(Sight)[1:])
    told, inside = hidden + seen, holes + hidden + seen
    enough = (outside + told >= matching.known * count) & (told >= matching.known * inside) & (outside + told > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share: Array = inside / (outside + inside) * np.where(inside > 0, seen / told, 0)
    return np.where(enough, share, np.nan)


def surface_covisibility(surface1: Surface, surface2: Surface, matching: Matching) -> tuple[float, float]:
    """Share of the grid points of 1 visible in 2, and of those of 2 visible in 1; see `share_seen`."""
    shares = [
        float(share_seen(sights(one.points(), other, matching), one.depth_m.size, matching))
        for one, other in ((surface1, surface2), (surface2, surface1))
    ]
    return shares[0], shares[1]


def frame_covisibility(frame1: PosedFrame, frame2: PosedFrame, matching: Matching | None = None) -> tuple[float, float]:
    """Share of the pixels of frame 1 visible in frame 2, and the reverse; see `share_seen`.

    Raises:
        DataError: a depth map can't be read.
    """
    matching = matching or Matching()
    first, second = (surface_of(frame.depth_m(), frame.K, frame.cam2world, matching) for frame in (frame1, frame2))
    return surface_covisibility(first, second, matching)


def _nearest(pixel: Array, surface: Surface, axis: int) -> Array:
    """Grid rows (axis 0) or columns (axis 1) nearest to pixel coordinates."""
    index = np.rint((pixel - surface.step // 2) / surface.step).astype(np.intp)
    return np.clip(index, 0, surface.depth_m.shape[axis] - 1)


def _middle_square(depth_m: Array, K: Array) -> tuple[Array, Array]:
    """The central square of a depth map, with its intrinsics."""
    height, width = depth_m.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    shifted = K.copy()
    shifted[0, 2] -= left
    shifted[1, 2] -= top
    return depth_m[top : top + side, left : left + side], shifted
