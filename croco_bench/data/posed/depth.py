"""Depth maps of posed video: 16-bit PNG in millimetres, as in 7-Scenes and ScanNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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
    if millimeters.shape != size:
        raise DataError(
            f"{path} has {millimeters.shape[1]}x{millimeters.shape[0]} pixels, but {of} {size[1]}x{size[0]}",
            advice,
        )
    unknown = (millimeters == 0) | (millimeters == 65535)
    return np.where(unknown, np.float32(np.nan), millimeters.astype(np.float32) / 1000)
