"""Depth maps of posed images: 16-bit PNG in millimetres (7-Scenes, ScanNet), HDF5 in a reconstruction's unit (MegaDepth)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from croco_bench.data.formats.arrays import read_hdf5
from croco_bench.data.formats.images import read_gray
from croco_bench.errors import DataError
from croco_bench.types import Array, Size


def read_depth_m(path: Path, size: Size, *, of: str, advice: str = "was one resized?") -> Array:
    """Depth (H, W) float32 in metres along the optical axis, NaN where it is unknown (0 and 65535).

    Args:
        path: the file.
        size: (H, W) that it should have.
        of: what has that size, for the error's text.
        advice: of the error.

    Raises:
        DataError: the file is missing, damaged, not 16-bit, or of another size.
    """
    millimeters = read_gray(path, np.uint16)
    _require_size(path, millimeters, size, of, advice)
    unknown = (millimeters == 0) | (millimeters == 65535)
    return np.where(unknown, np.float32(np.nan), millimeters.astype(np.float32) / 1000)


def read_depth_hdf5(path: Path, size: Size, *, of: str, advice: str = "was one resized?") -> Array:
    """Depth (H, W) float32 in the unit of the file along the optical axis, NaN where it is unknown (0 and below).

    Args and errors are those of `read_depth_m`.
    """
    depth = read_hdf5(path, "depth")
    _require_size(path, depth, size, of, advice)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(np.nan))


def _require_size(path: Path, depth: Array, size: Size, of: str, advice: str) -> None:
    if depth.shape != size:
        raise DataError(
            f"{path} has {depth.shape[1]}x{depth.shape[0]} pixels, but {of} {size[1]}x{size[0]}",
            advice,
        )
