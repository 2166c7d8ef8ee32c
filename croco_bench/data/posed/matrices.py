"""Poses and intrinsics in text files of 4x4 numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from croco_bench.errors import DataError
from croco_bench.types import Array


def read_intrinsics(path: Path) -> Array:
    """Intrinsics (3, 3) from a 4x4 matrix in a text file of ScanNet.

    Raises:
        DataError: the file is missing, or doesn't hold the matrix of a pinhole camera.
    """
    return _require_pinhole(path, read_matrix(path, "intrinsic matrix")[:3, :3])


def _require_pinhole(path: Path, K: Array) -> Array:
    if not np.isfinite(K).all() or min(K[0, 0], K[1, 1]) <= 0:
        raise DataError(f"{path} holds no pinhole camera (focal lengths {K[0, 0]:g} and {K[1, 1]:g})")
    return K


def read_named_matrix(path: Path, key: str) -> Array:
    """Intrinsics (3, 3) from a line `key = 16 numbers` of a text file.

    Raises:
        DataError: the file is missing, has no such line, or it holds no pinhole camera.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        words = next(line.partition("=")[2].split() for line in lines if line.partition("=")[0].strip() == key)
        K = np.array([float(word) for word in words]).reshape(4, 4)[:3, :3]
    except OSError as error:
        raise DataError(
            f"there is no readable {path} ({error.strerror})", "unpack the rest, or remove the frame"
        ) from error
    except (StopIteration, ValueError) as error:
        raise DataError(f"{path} should have a line {key} = 16 numbers", "it is damaged, or of another tool") from error
    return _require_pinhole(path, K)


def read_pose(path: Path, *, may_be_lost: bool) -> Array | None:
    """A camera-to-world pose (4, 4). With `may_be_lost`, None for a file with -inf: lost tracking in ScanNet.

    Raises:
        DataError: the file is missing, or doesn't hold a rigid motion.
    """
    pose = read_matrix(path, "camera-to-world pose")
    if may_be_lost and np.isneginf(pose).any():
        return None
    if not np.isfinite(pose).all():
        raise DataError(
            f"{path} holds a pose that isn't finite", "remove this frame's files, if tracking was lost there"
        )
    if not is_rigid(pose):
        raise DataError(
            f"{path} isn't a rigid motion (rotation, translation, last row 0 0 0 1)", "is a scale left in it?"
        )
    return pose


def read_matrix(path: Path, what: str) -> Array:
    """A 4x4 matrix from a text file; infinities and NaN are accepted.

    Raises:
        DataError: the file is missing, or doesn't hold 16 numbers.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = np.array([float(word) for word in text.split()])
    except OSError as error:
        raise DataError(
            f"there is no readable {path} ({error.strerror})", "unpack the rest, or remove the frame"
        ) from error
    except ValueError as error:
        raise DataError(f"{path} should hold a {what} of 4x4 numbers, but holds something else") from error
    if values.size != 16:
        raise DataError(
            f"{path} should hold a {what} of 4x4 numbers, but holds {values.size}", "four rows of four are needed"
        )
    return values.reshape(4, 4)


def is_rigid(poses: Array) -> Array:
    """Which matrices (..., 4, 4) are finite, have a rotation of determinant 1, and a last row 0 0 0 1: (...) bool."""
    finite = np.asarray(np.isfinite(poses).all(axis=(-2, -1)))
    poses = np.where(finite[..., None, None], poses, 0)
    rotations = poses[..., :3, :3]
    deviation = np.abs(rotations @ rotations.swapaxes(-1, -2) - np.eye(3)).max(axis=(-2, -1))
    last_row = np.abs(poses[..., 3, :] - [0, 0, 0, 1]).max(axis=-1)
    rigid: Array = finite & (deviation <= 0.01) & (np.linalg.det(rotations) > 0) & (last_row <= 1e-4)
    return rigid
