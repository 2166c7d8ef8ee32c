"""Files of disparity, read and written: the PNG of KITTI, CREStereo and Middlebury, .pfm, Spring's .dsp5, Booster's .npy.

Disparity d is (H, W) float32 in pixels: a point at x in the left view is at x - d in the right one; 0 where unknown. `valid`
(H, W) bool is true where it is known: a finite number above 0, for Spring also 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from croco_bench.data.formats.arrays import read_hdf5, read_npy, write_hdf5, write_npy
from croco_bench.data.formats.flow import read_pfm, write_pfm
from croco_bench.data.formats.images import read_gray, write_image
from croco_bench.errors import DataError
from croco_bench.types import Array

Disparity = tuple[NDArray[np.float32], NDArray[np.bool_]]

# Steps per pixel in a PNG of 16 bits.
_KITTI_STEPS, _CRESTEREO_STEPS = 256, 32


def read_kitti_disparity(path: Path) -> Disparity:
    """KITTI's PNG of 16 bits: 256 times the disparity, 0 where unknown.

    Raises:
        DataError: it is missing, can't be decoded, or is of another kind.
    """
    return _known(read_gray(path, np.uint16).astype(np.float32) / np.float32(_KITTI_STEPS), path)


def write_kitti_disparity(path: Path, disparity_px: Array, valid: Array | None = None) -> None:
    """Writes KITTI's PNG, rounded to the nearest 1/256 pixel; a known 0 becomes 1/256, as 0 would mean unknown.

    Raises:
        DataError: the disparity is of another shape, below 0, above 255.99 or not finite where valid; or the file can't be
            written.
    """
    _write_steps(path, disparity_px, valid, _KITTI_STEPS)


def read_crestereo_disparity(path: Path) -> Disparity:
    """CREStereo's PNG of 16 bits: 32 times the disparity, 0 where unknown.

    Raises:
        DataError: as `read_kitti_disparity`.
    """
    return _known(read_gray(path, np.uint16).astype(np.float32) / np.float32(_CRESTEREO_STEPS), path)


def write_crestereo_disparity(path: Path, disparity_px: Array, valid: Array | None = None) -> None:
    """Writes CREStereo's PNG, rounded to the nearest 1/32 pixel.

    Raises:
        DataError: as `write_kitti_disparity`, of at most 2047.97.
    """
    _write_steps(path, disparity_px, valid, _CRESTEREO_STEPS)


def read_middlebury_disparity(path: Path) -> Disparity:
    """The PNG of 8 bits of Middlebury's scenes of 2005 and 2006 in full size: whole pixels, 0 where unknown.

    Raises:
        DataError: as `read_kitti_disparity`.
    """
    return _known(read_gray(path, np.uint8).astype(np.float32), path)


def read_pfm_disparity(path: Path) -> Disparity:
    """A .pfm of one channel (SceneFlow, ETH3D, Middlebury since 2014); numbers that aren't finite or above 0 are unknown.

    Raises:
        DataError: as `read_pfm`, or it has three channels.
    """
    return _known(_one_channel(path), path)


def read_signed_pfm_disparity(path: Path) -> Disparity:
    """A .pfm of FlowNet 2.0's subset of FlyingThings, which stores motion to the right: minus the disparity of the left view.

    Absolute values are taken: users often write them back.

    Raises:
        DataError: as `read_pfm_disparity`.
    """
    return _known(np.abs(_one_channel(path)), path)


def _one_channel(path: Path) -> NDArray[np.float32]:
    values = read_pfm(path)
    if values.ndim != 2:
        raise DataError(f"{path} should have one channel, but has three", "it isn't disparity, maybe flow")
    return values


def write_pfm_disparity(path: Path, disparity_px: Array, valid: Array | None = None) -> None:
    """Writes a .pfm; unknown is infinite.

    Raises:
        DataError: as `write_kitti_disparity`, without its upper limit.
    """
    disparity, known = _to_write(path, disparity_px, valid)
    write_pfm(path, np.where(known, disparity, np.float32(np.inf)))


def read_dsp5(path: Path) -> Disparity:
    """Spring's .dsp5: HDF5 with `disparity`, NaN where unknown; of twice the image's resolution, in the image's pixels.

    Raises:
        DataError: it is missing, no HDF5 file, or holds something else.
    """
    disparity = read_hdf5(path, "disparity")
    valid = np.isfinite(disparity)
    return np.where(valid, disparity, np.float32(0)), valid


def write_dsp5(path: Path, disparity_px: Array, valid: Array | None = None) -> None:
    """Writes Spring's .dsp5.

    Raises:
        DataError: as `write_pfm_disparity`.
    """
    disparity, known = _to_write(path, disparity_px, valid)
    write_hdf5(path, "disparity", np.where(known, disparity, np.float32(np.nan)))


def read_npy_disparity(path: Path) -> Disparity:
    """Booster's disparity: (H, W) floats of NumPy, 0 where unknown.

    Raises:
        DataError: it is missing, truncated or holds something else.
    """
    return _known(read_npy(path, "f").astype(np.float32), path)


def write_npy_disparity(path: Path, disparity_px: Array, valid: Array | None = None) -> None:
    """Writes Booster's .npy.

    Raises:
        DataError: as `write_pfm_disparity`.
    """
    write_npy(path, _to_write(path, disparity_px, valid)[0])


def _known(disparity: NDArray[np.float32], path: Path) -> Disparity:
    """Disparity and its validity; unknown pixels become 0 in place.

    Raises:
        DataError: all numbers are negative.
    """
    with np.errstate(invalid="ignore"):
        valid: NDArray[np.bool_] = (disparity > 0) & (disparity < np.inf)
        if not valid.any() and not (disparity == 0).any() and np.isfinite(disparity).any():
            raise DataError(
                f"all disparities of {path} are negative: this is an edition with the other sign (such as FlowNet 2.0's "
                "subset of FlyingThings)",
                "take the absolute values, or leave the subset in its own folders, train/disparity/left/0000000.pfm",
            )
    disparity[~valid] = 0
    return disparity, valid


def _to_write(path: Path, disparity_px: Array, valid: Array | None) -> Disparity:
    """Checked disparity and its validity. Without `valid`, finite numbers from 0 on are valid."""
    if disparity_px.ndim != 2 or 0 in disparity_px.shape:
        raise DataError(
            f"{path}: disparity should be (H, W), not {disparity_px.shape}", "give a number for every pixel"
        )
    with np.errstate(invalid="ignore"):
        sound: NDArray[np.bool_] = (disparity_px >= 0) & (disparity_px < np.inf)
    known = sound if valid is None else valid.astype(np.bool_)
    if known.shape != sound.shape:
        raise DataError(
            f"{path}: valid pixels are {known.shape}, but disparity is {sound.shape}", "give both in one size"
        )
    if (known & ~sound).any():
        raise DataError(
            f"{path}: disparity is below 0 or not finite at {(known & ~sound).sum()} valid pixels", "mark them invalid"
        )
    return np.where(known, disparity_px, 0).astype(np.float32), known


def _write_steps(path: Path, disparity_px: Array, valid: Array | None, steps: int) -> None:
    disparity, known = _to_write(path, disparity_px, valid)
    numbers = np.where(known, np.maximum(np.rint(disparity.astype(np.float64) * steps), 1), 0)
    if numbers.max() > 2**16 - 1:
        raise DataError(
            f"{path} can't hold a disparity of {disparity.max():.0f} pixels, only {(2**16 - 1) / steps:.2f}",
            "mark it invalid or clip it",
        )
    write_image(path, numbers.astype(np.uint16))
