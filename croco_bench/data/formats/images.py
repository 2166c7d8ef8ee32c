"""Reads and writes image files; what is wrong with a file is one sentence.

All readers take pixels as they are stored: EXIF orientation turns no image, as masks and labels are in stored order. All
refuse the same files: damaged ones, by `integrity` and `jpeg`, and those that decode to more than `limits.ARRAY`.
"""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile

from croco_bench.data.formats.arrays import unreadable, write_bytes
from croco_bench.data.formats.integrity import JPEG, PNG, DamagedError, Header, check_png, png_header
from croco_bench.data.formats.jpeg import decode_jpeg
from croco_bench.errors import DataError
from croco_bench.limits import ARRAY
from croco_bench.types import Array

# What is wrong with a file is said once, and by this project.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

UNKNOWN = "its format, or its kind of pixels, isn't read"
# Color types of a PNG (byte 25).
_PALETTE, _GRAY_ALPHA = 3, 4
# Formats beside JPEG and PNG. Pillow knows others, some of which it gives to other programs.
_OTHERS = ("PPM", "BMP", "DIB", "GIF", "TIFF", "WEBP", "JPEG2000")


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
    content = _content(path)
    try:
        return decode_pillow(content)
    except ValueError as error:
        raise _undecodable(path, content, error) from error


def decode_pillow(content: bytes) -> Image.Image:
    """The image in the bytes of a file, as Pillow decodes it: pixels as stored, EXIF data unread.

    Raises:
        ValueError: it is damaged, too large, or of a kind that isn't read; the text says why.
    """
    if content.startswith(JPEG):
        return decode_jpeg(content)
    _check(content)
    try:
        with _opened(content) as image:
            image.load()
            return image
    except UnidentifiedImageError as error:
        raise ValueError(UNKNOWN) from error
    except _PILLOW_ERRORS as error:
        raise DamagedError(str(error)) from error


# What Pillow raises for damaged content.
_PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    EOFError,
    struct.error,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    ZeroDivisionError,
    AttributeError,
    RuntimeError,
)


def _check(content: bytes) -> None:
    """Refuses damaged PNGs, and all but JPEGs that are too large or of a kind that isn't read.

    Raises:
        ValueError: the text says what is wrong.
    """
    if content.startswith(PNG[:4]):
        check_png(content)
        header = png_header(content)
    else:
        header = _header_of_other(content)
    if reason := ARRAY.exceeded(header.bytes):
        raise ValueError(f"{header.width}x{header.height} pixels: {reason}")


def _header_of_other(content: bytes) -> Header:
    try:
        with _opened(content) as image:
            return Header(image.height, image.width, len(image.getbands()) * (4 if image.mode in "IF" else 1))
    except UnidentifiedImageError as error:
        raise ValueError(UNKNOWN) from error
    except Image.DecompressionBombError as error:
        raise ValueError("more pixels than any format but JPEG and PNG may have") from error
    except _PILLOW_ERRORS as error:
        raise DamagedError(str(error)) from error


def _opened(content: bytes) -> Image.Image:
    """The image with its header read. `limits.ARRAY` bounds its size, so Pillow's own limit on PNG isn't asked."""
    stream = io.BytesIO(content)
    if content.startswith(PNG[:4]):
        return PngImageFile(stream)
    with warnings.catch_warnings(action="ignore"):
        return Image.open(stream, formats=_OTHERS)


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
    """An image as OpenCV decodes it, colors in BGR order; JPEG of RGB or gray, and what OpenCV doesn't know, as Pillow does."""
    content = _content(path)
    try:
        return _decoded(content, how)
    except ValueError as error:
        raise _undecodable(path, content, error) from error


def _decoded(content: bytes, how: int) -> NDArray[Any]:
    if content.startswith(JPEG):
        whole = decode_jpeg(content)
        if whole.mode in ("L", "RGB"):
            return _in_bgr(whole, how)
    else:
        _check(content)
    try:
        image: NDArray[Any] | None = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), how)
    except cv2.error as error:
        raise DamagedError("OpenCV refuses it") from error
    if image is None and content.startswith((JPEG, PNG)):
        raise DamagedError("OpenCV refuses it")
    return _in_bgr(decode_pillow(content), how) if image is None else image


def _in_bgr(image: Image.Image, how: int) -> NDArray[Any]:
    """An image of Pillow as OpenCV gives it."""
    if how == cv2.IMREAD_UNCHANGED and image.mode in ("L", "P", "I;16"):
        return np.array(image)
    return np.array(image.convert("RGB"))[:, :, ::-1]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def _undecodable(path: Path, content: bytes, error: ValueError) -> DataError:
    what = f"{path} can't be decoded as an image ({len(content)} bytes)"
    if not content:
        return DataError(what, "it is truncated or damaged")
    if isinstance(error, DamagedError):
        return DataError(what, f"it is truncated or damaged: {error}")
    if str(error) == UNKNOWN:
        return DataError(what, f"it begins with {content[:12]!r}: {UNKNOWN}, while those of PNG and JPEG are")
    return DataError(f"{path} has {error}")


def _one_channel(path: Path, image: NDArray[Any]) -> NDArray[Any]:
    """The indices of a PNG with a palette, or gray of one with transparency; other images as they are."""
    content = _content(path)
    kind = content[25] if content.startswith(PNG) else None
    if kind == _PALETTE:
        return np.array(read_pillow(path))
    return np.ascontiguousarray(image[:, :, 0]) if kind == _GRAY_ALPHA else image
