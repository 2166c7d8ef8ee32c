"""NYU Depth v2's official files: the labelled `.mat` of images and depth, and `splits.mat`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from croco_bench.errors import DataError

Split = Literal["train", "test"]
Indices = NDArray[np.int64]
MAT, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
MAT_LINK = "http://horatio.cs.nyu.edu/mit/silberman/nyu_depth_v2/nyu_depth_v2_labeled.mat"
SPLITS_LINK = "http://horatio.cs.nyu.edu/mit/silberman/indoor_seg_sup/splits.mat"
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
            f"get it again from {MAT_LINK}",
        )
    if file["images"].dtype != np.uint8:
        raise DataError(f"{path}: images are {file['images'].dtype}, expected uint8", f"get it again from {MAT_LINK}")


def read_splits(root: Path) -> dict[Split, Indices]:
    """Sorted 0-based indices of both splits; the file counts from 1.

    Raises:
        DataError: the file is missing or of another kind, counts from 0, repeats an image or has one in both splits.
    """
    path = root / SPLITS
    if not path.is_file():
        raise DataError(f"there is no {path}", f"get it from {SPLITS_LINK}")
    try:
        content = scipy.io.loadmat(path)
        splits = {split: np.sort(content[key].ravel().astype(np.int64) - 1) for split, key in _INDEX.items()}
    except Exception as error:  # SciPy raises all kinds of errors for damaged files
        raise DataError(
            f"{path} should hold trainNdxs and testNdxs (MATLAB 5), but it doesn't", f"get it from {SPLITS_LINK}"
        ) from error
    together = np.concatenate(list(splits.values()))
    if together.size and together.min() < 0:
        raise DataError(f"{path} names image 0, but it should count from 1", f"get it from {SPLITS_LINK}")
    if len(np.unique(together)) != len(together):
        raise DataError(f"{path} names an image twice, so train and test aren't apart", f"get it from {SPLITS_LINK}")
    return splits


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
            f"{file.filename}: {key} isn't a cell array of names", f"get it again from {MAT_LINK}"
        ) from error
    if len(names) != len(file["images"]):
        raise DataError(
            f"{file.filename} names {len(names)} scenes for {len(file['images'])} images",
            f"get it again from {MAT_LINK}",
        )
    return names
