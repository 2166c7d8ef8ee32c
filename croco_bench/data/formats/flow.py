"""Files of optical flow, read and written: .flo, .pfm, the PNG of KITTI and HD1K, Spring's .flo5, TartanAir's .npy.

Flow is (H, W, 2) float32 in pixels, u right and v down, 0 where unknown; `valid` (H, W) bool is true where it is known: a
finite number of at most 1e9. Readers compare sizes in headers with the size of the file before they allocate memory.
"""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from croco_bench.data.formats.arrays import (
    opened,
    read_hdf5,
    read_npy,
    read_numbers,
    write_bytes,
    write_hdf5,
)
from croco_bench.data.formats.images import read_any, write_image
from croco_bench.errors import DataError
from croco_bench.types import Array

Flow = tuple[NDArray[np.float32], NDArray[np.bool_]]

FLO_MAGIC = b"PIEH"  # 202021.25 as a little-endian float32
_LARGEST, _UNKNOWN = 1e9, np.float32(1e10)
_PFM_HEADER = re.compile(rb"(PF|Pf)\s+(\d{1,9})\s+(\d{1,9})\s+(\S{1,40})[ \t]*\r?\n")
# KITTI: a 16-bit number is 64 times the flow, plus 2^15.
_KITTI_ZERO, _KITTI_STEPS = 2**15, 64


def read_flo(path: Path) -> Flow:
    """Middlebury's .flo (Sintel, FlyingChairs, AutoFlow).

    Raises:
        DataError: it is missing, of another kind, or not as long as its header says.
    """
    with opened(path) as stream:
        header = stream.read(12)
        if len(header) < 12 or header[:4] != FLO_MAGIC:
            raise DataError(
                f"{path} doesn't begin as a .flo file, with PIEH, width and height",
                "it is damaged, or another file under its name",
            )
        width, height = struct.unpack("<ii", header[4:])
        numbers = read_numbers(stream, path, 12, (height, width, 2), "<f4")
    return known_flow(numbers)


def write_flo(path: Path, flow_px: Array, valid: Array | None = None) -> None:
    """Writes .flo; pixels that aren't valid (default: aren't finite) are marked unknown (1e10).

    Raises:
        DataError: the flow is of another shape or not finite where valid, or the file can't be written.
    """
    flow, known = _to_write(path, flow_px, valid)
    height, width = known.shape
    content = np.where(known[:, :, None], flow, _UNKNOWN).astype("<f4")
    write_bytes(path, FLO_MAGIC + struct.pack("<ii", width, height), content)


def read_pfm(path: Path) -> NDArray[np.float32]:
    """A .pfm as (H, W) or (H, W, 3), top row first; files begin with the bottom row.

    The sign of the scale is the byte order; its size is ignored, as published disparities require.

    Raises:
        DataError: it is missing, of another kind, or not as long as its header says.
    """
    with opened(path) as stream:
        header = _PFM_HEADER.match(stream.read(256))
        scale = _number(header[4]) if header else 0.0
        if not header or not scale or not math.isfinite(scale):
            raise DataError(
                f"{path} doesn't begin as a .pfm file, with PF or Pf, width, height, scale",
                "it is damaged, or another file under its name",
            )
        width, height = int(header[2]), int(header[3])
        shape = (height, width, 3) if header[1] == b"PF" else (height, width)
        numbers = read_numbers(stream, path, header.end(), shape, "<f4" if scale < 0 else ">f4")
    return np.ascontiguousarray(numbers[::-1])


def write_pfm(path: Path, values: Array) -> None:
    """Writes (H, W) or (H, W, 3) as a little-endian .pfm.

    Raises:
        DataError: the values have another shape, or the file can't be written.
    """
    if values.ndim not in (2, 3) or values.shape[2:] not in ((), (3,)) or 0 in values.shape:
        raise DataError(f"{path}: a .pfm holds (H, W) or (H, W, 3), not {values.shape}", "give one of the two")
    kind, (height, width) = "PF" if values.ndim == 3 else "Pf", values.shape[:2]
    write_bytes(path, f"{kind}\n{width} {height}\n-1.0\n".encode(), values[::-1].astype("<f4"))


def _number(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def read_pfm_flow(path: Path) -> Flow:
    """FlyingThings' flow: a .pfm of u, v and 0.

    Raises:
        DataError: as `read_pfm`, or it has other channels.
    """
    values = read_pfm(path)
    if values.ndim != 3 or values[:, :, 2].any():
        raise DataError(
            f"{path} should have three channels, u, v and 0, but has others",
            "it isn't flow",
        )
    return known_flow(np.ascontiguousarray(values[:, :, :2]))


def write_pfm_flow(path: Path, flow_px: Array, valid: Array | None = None) -> None:
    """Writes FlyingThings' flow; unknown is infinite.

    Raises:
        DataError: as `write_flo`.
    """
    flow, known = _to_write(path, flow_px, valid)
    marked = np.where(known[:, :, None], flow, np.float32(np.inf))
    write_pfm(path, np.dstack([marked, np.zeros_like(known, dtype=np.float32)]))


def read_kitti_flow(path: Path) -> Flow:
    """KITTI's and HD1K's PNG of 16 bits: red u, green v, blue above 0 where valid.

    Raises:
        DataError: it is missing, can't be decoded, or isn't a PNG of that kind.
    """
    numbers = read_any(path)
    if numbers.dtype != np.uint16 or numbers.shape[2:] != (3,):
        raise DataError(
            f"{path} should be an image of 16 bits and three channels, but is {numbers.dtype} of shape {numbers.shape}",
            "it isn't flow as KITTI stores it",
        )
    valid = numbers[:, :, 2] > 0
    flow = (numbers[:, :, :2].astype(np.float32) - np.float32(_KITTI_ZERO)) / np.float32(_KITTI_STEPS)
    flow[~valid] = 0
    return flow, valid


def write_kitti_flow(path: Path, flow_px: Array, valid: Array | None = None) -> None:
    """Writes KITTI's PNG, rounded to the nearest 1/64 pixel.

    Raises:
        DataError: as `write_flo`, or flow is outside -512 to 511.98 pixels, which 16 bits can't hold.
    """
    flow, known = _to_write(path, flow_px, valid)
    numbers = np.where(known[:, :, None], np.rint(flow.astype(np.float64) * _KITTI_STEPS + _KITTI_ZERO), 0)
    if numbers.min() < 0 or numbers.max() > 2**16 - 1:
        raise DataError(
            f"{path} can't hold flow of {np.abs(flow[known]).max():.0f} pixels, only -512 to 511.98",
            "mark it invalid or clip it",
        )
    write_image(path, np.dstack([numbers, known]).astype(np.uint16))


def read_flo5(path: Path) -> Flow:
    """Spring's .flo5: HDF5 with `flow`, NaN where unknown; it has twice the image's resolution, values are in its pixels.

    Raises:
        DataError: it is missing, no HDF5 file, or holds something else.
    """
    return known_flow(read_hdf5(path, "flow", (2,)))


def write_flo5(path: Path, flow_px: Array, valid: Array | None = None) -> None:
    """Writes Spring's .flo5.

    Raises:
        DataError: as `write_flo`.
    """
    flow, known = _to_write(path, flow_px, valid)
    write_hdf5(path, "flow", np.where(known[:, :, None], flow, np.float32(np.nan)))


def read_npy_flow(path: Path) -> Flow:
    """TartanAir's flow: (H, W, 2) floats of NumPy.

    Raises:
        DataError: it is missing, truncated or holds something else.
    """
    return known_flow(read_npy(path, "f", (2,)).astype(np.float32))


def known_flow(flow: NDArray[np.float32]) -> Flow:
    """Flow and its validity; unknown pixels become 0 in place."""
    with np.errstate(invalid="ignore"):
        # Fast path: most files are known everywhere. Comparisons with NaN are false.
        if flow.min() >= -_LARGEST and flow.max() <= _LARGEST:
            return flow, np.ones(flow.shape[:2], dtype=np.bool_)
        u, v = flow[:, :, 0], flow[:, :, 1]
        valid: NDArray[np.bool_] = (np.abs(u) <= _LARGEST) & (np.abs(v) <= _LARGEST)
    flow[~valid] = 0
    return flow, valid


def _to_write(path: Path, flow_px: Array, valid: Array | None) -> Flow:
    """Checked flow and its validity. Without `valid`, finite numbers are valid."""
    if flow_px.ndim != 3 or flow_px.shape[2] != 2 or 0 in flow_px.shape:
        raise DataError(f"{path}: flow should be (H, W, 2), not {flow_px.shape}", "give u and v for every pixel")
    flow, finite = known_flow(flow_px.astype(np.float32))
    if valid is None:
        return flow, finite
    known = valid.astype(np.bool_)
    if known.shape != finite.shape:
        raise DataError(f"{path}: valid pixels are {known.shape}, but flow is {finite.shape}", "give both in one size")
    if (known & ~finite).any():
        raise DataError(f"{path}: flow isn't finite at {(known & ~finite).sum()} valid pixels", "mark them invalid")
    return flow, known
