"""Reads and writes image files; what is wrong with a file is one sentence.

All readers take pixels as they are stored: EXIF orientation turns no image, as masks and labels are in stored order.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from croco_bench.data.formats.arrays import unreadable, write_bytes
from croco_bench.errors import DataError
from croco_bench.types import Array

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG"
# Markers of a JPEG's segments, and color types of a PNG (byte 25).
_APP1, _START_OF_SCAN = 0xE1, 0xDA
_PALETTE, _GRAY_ALPHA = 3, 4


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """An image as (H, W, 3) RGB of 8 bits, from any number of channels and bits, without transparency.

    Raises:
        DataError: it is missing or can't be decoded.
    """
    return np.ascontiguousarray(_decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)[:, :, ::-1])


def read_gray(path: Path, kind: type[np.generic]) -> NDArray[Any]:
    """A one-channel image (H, W) of exactly this type (np.uint8 or np.uint16).

    A palette image gives its indices; transparency of a gray one is ignored.

    Raises:
        DataError: it is missing, can't be decoded, or has another type or more channels.
    """
    image = _decode(path, cv2.IMREAD_UNCHANGED)
    if image.ndim == 3:
        image = _one_channel(path, image)
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


def read_pillow(path: Path) -> Image.Image:
    """An image as Pillow decodes it, in the file's mode; palette images keep their indices.

    Raises:
        DataError: it is missing or can't be decoded.
    """
    content = _content(path).tobytes()
    try:
        return decode_pillow(content)
    except ValueError as error:
        raise _undecodable(path, content) from error


def decode_pillow(content: bytes) -> Image.Image:
    """The image in the bytes of a file, as Pillow decodes it: pixels as stored, EXIF data unread.

    Raises:
        ValueError: it can't be decoded; the text says why.
    """
    try:
        image = Image.open(io.BytesIO(_without_exif(content)))
        image.load()
    except UnidentifiedImageError as error:
        raise ValueError("its format isn't known") from error
    except (OSError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error
    return image


def _without_exif(content: bytes) -> bytes:
    """A JPEG without its EXIF segments, which Pillow reads, and warns about where they are broken; other content as it is."""
    if content[:2] != _JPEG[:2]:
        return content
    kept, at = [content[:2]], 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != _START_OF_SCAN:
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if content[at + 1] != _APP1:
            kept.append(content[at:end])
        at = end
    return b"".join(kept) + content[at:]


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
    """An image as OpenCV decodes it, colors in BGR order; where OpenCV doesn't know the format, as Pillow does."""
    content = _content(path)
    image: NDArray[Any] | None = cv2.imdecode(content, how) if content.size else None
    if image is not None:
        return image
    if not content.size or content[:4].tobytes().startswith((_JPEG, _PNG)):
        raise _undecodable(path, content.tobytes())
    other = read_pillow(path)
    if how == cv2.IMREAD_UNCHANGED and other.mode in ("L", "P", "I;16"):
        return np.array(other)
    return np.ascontiguousarray(np.array(other.convert("RGB"))[:, :, ::-1])


def _content(path: Path) -> NDArray[np.uint8]:
    try:
        return np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise unreadable(path, error) from error


def _undecodable(path: Path, content: bytes) -> DataError:
    known = not content or content.startswith((_JPEG, _PNG))
    return DataError(
        f"{path} can't be decoded as an image ({len(content)} bytes)",
        "it is truncated or damaged" if known else f"it begins with {content[:12]!r}, which no known image format does",
    )


def _one_channel(path: Path, image: NDArray[Any]) -> NDArray[Any]:
    """The indices of a PNG with a palette, or gray of one with transparency; other images as they are."""
    content = _content(path)
    kind = int(content[25]) if content[:4].tobytes() == _PNG and content.size > 25 else None
    if kind == _PALETTE:
        return np.array(read_pillow(path))
    return np.ascontiguousarray(image[:, :, 0]) if kind == _GRAY_ALPHA else image
