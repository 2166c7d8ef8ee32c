"""NYU Depth v2's official files: the labelled `.mat` of images and depth, and `splits.mat`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from croco_bench.data.formats.arrays import read_small
from croco_bench.data.formats.matlab import read_matlab
from croco_bench.errors import DataError

Split = Literal["train", "test"]
Indices = NDArray[np.int64]
MAT, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
MAT_LINK = "http://horatio.cs.nyu.edu/mit/silberman/nyu_depth_v2/nyu_depth_v2_labeled.mat"
SPLITS_LINK = "http://horatio.cs.nyu.edu/mit/silberman/indoor_seg_sup/splits.mat"
IMAGES: dict[Split, int] = {"train": 795, "test": 654}
# Bit i is set where image i (from 0) of the official file is a test image.
_TEST_BITS = """
1ff01e0f03fc1fe7f8001980f1c0fcf00060fe77ff0fc01ffe3c0073e0f8fff0f80fce67e3fff80c7fc701efeff8ffc000319806380700e0f07c001f
e73c0070078e0700e00000000703f0e3fff00703e0f8007ffffffc000c03cf831fe0733e1f9f8c386183f001f187c03c07c07fffc70071c3ffdf8000
0001ff3e000ff07e0003c001c3f80000ffcc0007ff01ce03f801fc1c08002000000380fc3fffff8fdc00700013df070000007f878007d8067fff813e
103
"""
_OFFICIAL_IMAGES = 1449
_INDEX: dict[Split, str] = {"train": "trainNdxs", "test": "testNdxs"}


def open_mat(root: Path) -> h5py.File:
    """Opens the `.mat`; checks that it is complete and has the official axes.

    Raises:
        DataError: it is missing, truncated, of another kind, or lacks something.
    """
    path = root / MAT
    if not path.is_file():
        raise DataError(f"there is no {path}", f"get it (2.8 GB) from {MAT_LINK}")
    try:
        file = h5py.File(path, "r", locking="best-effort")  # shared file systems often can't lock
    except PermissionError as error:
        raise DataError(f"{path} may not be read by this user", "change its permissions") from error
    except OSError as error:
        raise DataError(
            f"{path} ({path.stat().st_size} bytes) is truncated or no MATLAB 7.3 file",
            f"expected 2.8 GB of HDF5 from {MAT_LINK}",
        ) from error
    try:
        _check_axes(file, path)
    except DataError:
        file.close()
        raise
    return file


def _check_axes(file: h5py.File, path: Path) -> None:
    lacking = [name for name in ("images", "depths", "rawDepths") if not isinstance(file.get(name), h5py.Dataset)]
    if lacking:
        raise DataError(f"{path} lacks {', '.join(lacking)}", f"it isn't the labelled dataset of {MAT_LINK}")
    images, depths, raw = (file[name].shape for name in ("images", "depths", "rawDepths"))
    if len(images) != 4 or images[1] != 3 or depths != (images[0], *images[2:]) or raw != depths:
        raise DataError(
            f"{path}: images {images}, depths {depths} and rawDepths {raw} should be (n, 3, W, H), (n, W, H), "
            f"(n, W, H)",
            f"it isn't the official file, which is at {MAT_LINK}",
        )
    if file["images"].dtype != np.uint8:
        raise DataError(
            f"{path}: images are {file['images'].dtype}, expected uint8", f"the official file is at {MAT_LINK}"
        )


def read_splits(root: Path) -> dict[Split, Indices]:
    """Sorted 0-based indices of both splits; the file counts from 1. Without it, those of the official file of 1449 images.

    Raises:
        DataError: the file is missing and the images aren't the official ones; or it is of another kind, counts from 0,
            repeats an image or has one in both splits.
    """
    path = root / SPLITS
    if not path.is_file():
        with open_mat(root) as file:
            official = len(file["images"]) == _OFFICIAL_IMAGES
        if not official:
            raise DataError(f"there is no {path}", f"get it from {SPLITS_LINK}")
        return official_splits()
    try:
        content = read_matlab(read_small(path))
        splits = {split: _indices(content[key]) for split, key in _INDEX.items()}
    except (ValueError, KeyError) as error:
        raise DataError(
            f"{path} should hold trainNdxs and testNdxs (MATLAB 5), but it doesn't", f"get it from {SPLITS_LINK}"
        ) from error
    together = np.concatenate(list(splits.values()))
    if together.size and together.min() < 0:
        raise DataError(f"{path} names image 0, but it should count from 1", f"get it from {SPLITS_LINK}")
    if len(np.unique(together)) != len(together):
        raise DataError(f"{path} names an image twice, so train and test aren't apart", f"get it from {SPLITS_LINK}")
    return splits


def _indices(numbers: Any) -> Indices:
    """Sorted and counted from 0."""
    if not isinstance(numbers, np.ndarray) or not ((numbers >= 0) & (numbers < 2**31) & (numbers % 1 == 0)).all():
        raise ValueError("not whole numbers")
    return np.sort(numbers.astype(np.int64) - 1)


def official_splits() -> dict[Split, Indices]:
    """The 0-based indices that `splits.mat` has, from 0 and sorted: 795 to train, 654 to test."""
    bits = int("".join(_TEST_BITS.split()), 16)
    is_test = np.array([bits >> i & 1 for i in range(_OFFICIAL_IMAGES)], dtype=np.bool_)
    return {"train": np.flatnonzero(~is_test), "test": np.flatnonzero(is_test)}


def scene_names(file: h5py.File) -> list[str]:
    """Scene of every image, from the cell array `scenes`."""
    key = "scenes" if "scenes" in file else "sceneTypes"
    if key not in file:
        raise DataError(
            f"{file.filename} lacks scenes and sceneTypes, so scenes can't be kept apart", f"get it from {MAT_LINK}"
        )
    try:
        references = np.asarray(file[key]).ravel()
        names = ["".join(map(chr, np.asarray(file[reference]).ravel())) for reference in references]
    except (KeyError, ValueError, TypeError, RuntimeError, OSError) as error:
        raise DataError(
            f"{file.filename}: {key} isn't a cell array of names", f"the official file is at {MAT_LINK}"
        ) from error
    if len(names) != len(file["images"]):
        raise DataError(
            f"{file.filename} names {len(names)} scenes for {len(file['images'])} images",
            f"it isn't the official file, which is at {MAT_LINK}",
        )
    return names
