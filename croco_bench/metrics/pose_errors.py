"""Errors of poses, in float64. A prediction that isn't finite is a failure: it counts, with infinite errors."""

from __future__ import annotations

import numpy as np

from croco_bench.errors import BenchError
from croco_bench.types import Array

# A translation shorter than this has no direction.
ZERO_BASELINE_M = 1e-6
# Tolerance of R Rᵀ - I: above the rounding errors of rotations in half precision.
_TOLERANCE = 0.02


def failed(poses: Array) -> Array:
    """Which poses (..., 4, 4) have a value that isn't finite: (...) bool."""
    return np.asarray(~np.isfinite(poses).all(axis=(-2, -1)))


def check_rotations(poses: Array) -> None:
    """Checks that finite poses (..., 4, 4) have rotations: anything else is a bug in the predictor, not a bad prediction.

    Raises:
        BenchError: a matrix isn't orthonormal, or has a negative determinant.
    """
    rotations = poses[~failed(poses)][:, :3, :3].astype(np.float64)
    if not rotations.size:
        return
    deviation = np.abs(rotations @ rotations.swapaxes(-1, -2) - np.eye(3)).max()
    if deviation > _TOLERANCE or np.linalg.det(rotations).min() < 0:
        raise BenchError(
            f"a predicted pose holds no rotation (R Rᵀ is {deviation:.2g} off the identity, the least determinant is "
            f"{np.linalg.det(rotations).min():.2g})",
            "whatever predicts poses must make rotations of its numbers",
        )


def rotation_error_deg(predicted: Array, truth: Array) -> Array:
    """Angles (...) of R_predictedᵀ R_true (..., 3, 3) in degrees, 0 to 180; infinite where the prediction failed."""
    between = predicted.astype(np.float64).swapaxes(-1, -2) @ truth
    axis = np.stack([between[..., i, j] - between[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))], axis=-1)
    # The arc cosine alone would be inaccurate near 0 and 180 degrees.
    angle = np.degrees(np.arctan2(np.linalg.norm(axis, axis=-1), np.trace(between, axis1=-2, axis2=-1) - 1))
    return np.where(np.isfinite(predicted).all(axis=(-2, -1)), angle, np.inf)


def direction_error_deg(predicted: Array, truth: Array) -> Array:
    """Unfolded angles (...) in degrees, 0 to 180, between vectors (..., 3).

    NaN where the truth has no direction (zero baseline); else infinite where the prediction failed or is zero.
    """
    predicted = predicted.astype(np.float64)
    sine = np.linalg.norm(np.cross(predicted, truth), axis=-1)
    angle = np.degrees(np.arctan2(sine, (predicted * truth).sum(axis=-1)))
    length = np.linalg.norm(predicted, axis=-1)
    angle = np.where(np.isfinite(length) & (length > 0), angle, np.inf)
    return np.where(np.linalg.norm(truth, axis=-1) < ZERO_BASELINE_M, np.nan, angle)


def folded(direction_deg: Array) -> Array:
    """The smaller of each angle and its supplement; NaN and infinity are kept."""
    return np.where(np.isinf(direction_deg), np.inf, np.fmin(direction_deg, np.abs(180 - direction_deg)))


def translation_error_m(predicted: Array, truth: Array) -> Array:
    """Distances (...) between points (..., 3), in their unit; infinite where the prediction failed."""
    distance = np.linalg.norm(predicted.astype(np.float64) - truth, axis=-1)
    return np.where(np.isfinite(distance), distance, np.inf)
