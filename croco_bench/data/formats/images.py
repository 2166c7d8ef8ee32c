"""Reads and writes image files; what is wrong with a file is one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from croco_bench.data.formats.arrays import write_bytes
from croco_bench.errors import DataError
from croco_bench.types import Array


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """An 8-bit image as (H, W, 3) RGB.

    Raises:
        DataError: it is missing or can't be decoded.
    """
    return np.ascontiguousarray(_decode(path, cv2.IMREAD_COLOR)[:, :, ::-1])


def read_gray(path: Path, kind: type[np.generic]) -> NDArray[Any]:
    """A one-channel image (H, W) of exactly this type (np.uint8 or np.uint16).

    Raises:
        DataError: it is missing, can't be decoded, or has another type or more channels.
    """
    image = _decode(path, cv2.IMREAD_UNCHANGED)
    if image.ndim != 2 or image.dtype != kind:
        raise DataError(
            f"{path} should be a one-channel {np.dtype(kind).name} image, but is {image.dtype} of shape {image.shape}"
        )
    return image


def read_any(path: Path) -> NDArray[Any]:
    """An image as it is stored: (H, W) or (H, W, C) with colors in RGB order, 8 or 16 bits.

    Raises:
        DataError: it is missing or can't be decoded.
    """
    image = _decode(path, cv2.IMREAD_UNCHANGED)
    return image if image.ndim == 2 else np.ascontiguousarray(image[:, :, [2, 1, 0, *range(3, image.shape[2])]])


def write_image(path: Path, image: Array, *, jpeg_quality: int = 95, png_compression: int | None = None) -> None:
    """Writes (H, W) or (H, W, 3) RGB in the format of the path's suffix; 8 bits, for PNG also 16.

    Args:
        path: the file; its folder exists.
        image: grey values or colors.
        jpeg_quality: 0 to 100; of JPEG only.
        png_compression: 0 (none) to 9 (smallest); of PNG only; default: OpenCV's.

    Raises:
        DataError: the file can't be written.
    """
    parameters = {".jpg": [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality], ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]}
    if png_compression is not None:
        parameters[".png"] = [cv2.IMWRITE_PNG_COMPRESSION, png_compression]
    in_bgr = image if image.ndim == 2 else np.ascontiguousarray(image[:, :, ::-1])
    write_bytes(path, b"", cv2.imencode(path.suffix, in_bgr, parameters.get(path.suffix.lower(), []))[1])


def _decode(path: Path, how: int) -> NDArray[Any]:
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"there is no readable {path} ({error.strerror})", "the dataset is incomplete") from error
    image: NDArray[Any] | None = cv2.imdecode(content, how) if content.size else None
    if image is None:
        raise DataError(f"{path} can't be decoded as an image ({content.size} bytes)", "it is truncated or damaged")
    return image
