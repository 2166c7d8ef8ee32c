"""The pose of a query from several relative poses to views with known poses: robust averages, in float64.

Rotations are averaged by the geodesic median (Weiszfeld's iteration on SO(3); Hartley et al. 2011), positions by the geometric
median; both have a breakdown point of 50 %. Where translations are only directions, the position is the point nearest, in
least squares, to the lines from the known centres along the predicted directions, as in Reloc3r. (Reloc3r's rotation is the
componentwise median of quaternions without aligned signs.)
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from croco_bench.metrics.pose_errors import failed
from croco_bench.types import Array

_ITERATIONS = 100
_CLOSE_ENOUGH = 1e-7
# Lines within this angle (root mean square, degrees) of a common direction count as parallel: they have no meeting point.
_PARALLEL_DEG = 0.1


def locate(cam2world: Array, relative: Array, *, meters: bool) -> Array:
    """The query's camera-to-world pose (4, 4); NaN where it is undetermined.

    Args:
        cam2world: poses (K, 4, 4) of the known views.
        relative: predicted transformations (K, 4, 4) of the query's points into each known view; those with NaN are ignored.
        meters: whether translations are in metres; otherwise only their directions count, and a zero translation is ignored.
    """
    kept = ~failed(relative)
    known, relative = cam2world[kept].astype(np.float64), relative[kept].astype(np.float64)
    pose = np.full((4, 4), np.nan)
    pose[3] = 0, 0, 0, 1
    if not len(known):
        return pose
    candidates = known @ relative
    pose[:3, :3] = rotation_median(candidates[:, :3, :3])
    if meters:
        pose[:3, 3] = geometric_median(candidates[:, :3, 3])
        return pose
    directions = np.einsum("kij,kj->ki", known[:, :3, :3], relative[:, :3, 3])
    pose[:3, 3] = nearest_to_lines(known[:, :3, 3], directions)
    return pose


def rotation_median(rotations: Array) -> Array:
    """The rotation (3, 3) with the minimum sum of angles to rotations (K, 3, 3); of two rotations, their midpoint."""
    given = Rotation.from_matrix(rotations)
    count = len(rotations)
    one, other = np.divmod(np.arange(count**2), count)
    index = _best_given((given[one].inv() * given[other]).as_rotvec().reshape(count, count, 3))
    if index is not None:
        return np.array(rotations[index])
    median = given.mean()  # the chordal mean, which doesn't depend on signs of quaternions
    for _ in range(_ITERATIONS):
        move = _weiszfeld((median.inv() * given).as_rotvec())
        median = median * Rotation.from_rotvec(move)
        if np.linalg.norm(move) < _CLOSE_ENOUGH:
            break
    matrix: Array = median.as_matrix()
    return matrix


def geometric_median(points: Array) -> Array:
    """The point (3,) with the minimum sum of distances to points (K, 3); of two points, their midpoint."""
    index = _best_given(points - points[:, None])
    if index is not None:
        return np.array(points[index])
    median: Array = points.mean(axis=0)
    for _ in range(_ITERATIONS):
        move = _weiszfeld(points - median)
        median = median + move
        if np.linalg.norm(move) < _CLOSE_ENOUGH:
            break
    return median


def _best_given(steps: Array) -> int | None:
    """Index of the given element that is the median, from steps (K, K, 3) between all elements; None if there is none.

    An element is the median if the sum of unit vectors to the others is at most as long as the number of elements equal to it.
    """
    lengths = np.linalg.norm(steps, axis=-1)
    apart = lengths > _CLOSE_ENOUGH
    units = steps / np.where(apart, lengths, np.inf)[..., None]
    held = np.linalg.norm(units.sum(axis=1), axis=-1) <= np.count_nonzero(~apart, axis=1)
    # Of two elements both qualify, as does any point between them: the caller then takes their mean.
    if not held.any() or held.all():
        return None
    return int(np.argmin(np.where(held, lengths.sum(axis=1), np.inf)))


def _weiszfeld(steps: Array) -> Array:
    """The next step of Weiszfeld's iteration, from vectors (K, 3) to the given elements."""
    weights = 1 / np.maximum(np.linalg.norm(steps, axis=-1), _CLOSE_ENOUGH)
    step: Array = weights @ steps / weights.sum()
    return step


def nearest_to_lines(centers: Array, directions: Array) -> Array:
    """The point (3,) with the minimum sum of squared distances to lines through `centers` (K, 3) along `directions` (K, 3).

    Along a common direction of all lines, the coordinate of the centres' mean is taken. NaN if all directions are zero.
    """
    lengths = np.linalg.norm(directions, axis=-1)
    centers, directions = centers[lengths > 0], directions[lengths > 0] / lengths[lengths > 0, None]
    if not len(centers):
        return np.full(3, np.nan)
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    middle = centers.mean(axis=0)
    strengths, axes = np.linalg.eigh(across.mean(axis=0))
    pull = axes.T @ np.einsum("kij,kj->i", across, centers - middle) / len(centers)
    determined = strengths > np.sin(np.radians(_PARALLEL_DEG)) ** 2
    point: Array = middle + axes @ np.where(determined, pull / np.where(determined, strengths, 1), 0)
    return point
