"""One pose of a query from several: it was related to views whose poses are known. Robust averages, in float64.

Rotations are averaged by the geodesic median (Weiszfeld's iteration on SO(3); Hartley 2011), positions by the geometric
median: half of the candidates may be anywhere. Where translations are directions only, the position is the point nearest,
in least squares, to the lines from the known centres (as Reloc3r; there the rotation is the median of each component of
quaternions whose signs aren't made equal).
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from croco_bench.metrics.pose_errors import failed
from croco_bench.types import Array

_ITERATIONS = 100
_CLOSE_ENOUGH = 1e-7
# Lines that all lie within so many degrees (root mean square) of one direction meet nowhere.
_PARALLEL_DEG = 0.1


def locate(cam2world: Array, relative: Array, *, meters: bool) -> Array:
    """The query's camera-to-world pose (4, 4); NaN where nothing is known.

    Args:
        cam2world: (K, 4, 4), poses of the known views.
        relative: (K, 4, 4), predicted motions of the query's points into each known view; those with NaN are left out.
        metres: whether translations have a length, else only a direction counts. Of a translation without length, then,
            only the rotation counts.
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
    """The rotation (3, 3) with the least sum of angles to these (K, 3, 3); of two, the one in the middle."""
    given = Rotation.from_matrix(rotations)
    count = len(rotations)
    one, other = np.divmod(np.arange(count**2), count)
    index = _best_given((given[one].inv() * given[other]).as_rotvec().reshape(count, count, 3))
    if index is not None:
        return np.array(rotations[index])
    found = given.mean()  # the chordal mean, of quaternions of either sign
    for _ in range(_ITERATIONS):
        move = _weiszfeld((found.inv() * given).as_rotvec())
        found = found * Rotation.from_rotvec(move)
        if np.linalg.norm(move) < _CLOSE_ENOUGH:
            break
    matrix: Array = found.as_matrix()
    return matrix


def geometric_median(points: Array) -> Array:
    """The point (3,) with the least sum of distances to these (K, 3); of two, the one in the middle."""
    index = _best_given(points - points[:, None])
    if index is not None:
        return np.array(points[index])
    found: Array = points.mean(axis=0)
    for _ in range(_ITERATIONS):
        move = _weiszfeld(points - found)
        found = found + move
        if np.linalg.norm(move) < _CLOSE_ENOUGH:
            break
    return found


def _best_given(steps: Array) -> int | None:
    """The given element that is the median, if one is, from steps (K, K, 3) from each to each.

    The others pull each with unit strength; those that lie on it hold it, each with as much.
    """
    lengths = np.linalg.norm(steps, axis=-1)
    apart = lengths > _CLOSE_ENOUGH
    units = steps / np.where(apart, lengths, np.inf)[..., None]
    held = np.linalg.norm(units.sum(axis=1), axis=-1) <= np.count_nonzero(~apart, axis=1)
    # Two elements hold each other: then any point between them would do, and the mean is the fair one.
    if not held.any() or held.all():
        return None
    return int(np.argmin(np.where(held, lengths.sum(axis=1), np.inf)))


def _weiszfeld(steps: Array) -> Array:
    """The next step of Weiszfeld's iteration, from vectors (K, 3) to the given elements."""
    weights = 1 / np.maximum(np.linalg.norm(steps, axis=-1), _CLOSE_ENOUGH)
    step: Array = weights @ steps / weights.sum()
    return step


def nearest_to_lines(centers: Array, directions: Array) -> Array:
    """The point (3,) with the least sum of squared distances to lines through `centers` (K, 3) along `directions` (K, 3).

    Along a direction that all lines share, it stays beside the centres' mean. NaN where no line has a direction.
    """
    lengths = np.linalg.norm(directions, axis=-1)
    centers, directions = centers[lengths > 0], directions[lengths > 0] / lengths[lengths > 0, None]
    if not len(centers):
        return np.full(3, np.nan)
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    middle = centers.mean(axis=0)
    strengths, axes = np.linalg.eigh(across.mean(axis=0))
    pull = axes.T @ np.einsum("kij,kj->i", across, centers - middle) / len(centers)
    told = strengths > np.sin(np.radians(_PARALLEL_DEG)) ** 2
    point: Array = middle + axes @ np.where(told, pull / np.where(told, strengths, 1), 0)
    return point
