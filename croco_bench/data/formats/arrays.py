"""Arrays in files: NumPy's, HDF5's, and numbers after a header. Shared by the formats of flow and disparity.

Readers compare sizes in headers with the size of the file before they allocate memory.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from croco_bench.errors import DataError
from croco_bench.limits import ARRAY, TEXT
from croco_bench.types import Array

# deflate makes at most 1032 bytes out of one.
_MOST_DEFLATED = 1032


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for reading; any `OSError` becomes a `DataError`."""
    try:
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError, advice: str = "unpack the rest, or correct what names it") -> DataError:
    """The error of a file or folder that can't be read. `advice` is for one that isn't there."""
    if isinstance(error, PermissionError):
        advice = "this user may not read it: change its permissions"
    elif not isinstance(error, FileNotFoundError | NotADirectoryError):
        advice = "it is there, but the system can't read it: check the disk, or copy the dataset again"
    return DataError(f"there is no readable {path} ({error.strerror})", advice)


def read_small(path: Path) -> bytes:
    """The content of a list or a table.

    Raises:
        DataError: it can't be read, or is larger than `limits.TEXT`.
    """
    with opened(path) as stream:
        if reason := TEXT.exceeded(os.fstat(stream.fileno()).st_size):
            raise DataError(f"{path} is too large for a list: {reason}")
        return stream.read()


def read_numbers(stream: BinaryIO, path: Path, start: int, shape: tuple[int, ...], kind: str) -> NDArray[np.float32]:
    """The numbers after a header that ends at byte `start`: 4-byte `kind` in `shape`, up to the end of the file.

    Raises:
        DataError: the file isn't as long as that.
    """
    expected, size = start + 4 * math.prod(shape), os.fstat(stream.fileno()).st_size
    if min(shape) < 1 or size != expected:
        raise DataError(
            f"{path} has {size} bytes, but should have {expected}, as its header says {shape[0]}x{shape[1]} pixels (height x "
            "width)",
            "it is truncated or damaged",
        )
    stream.seek(start)
    return np.fromfile(stream, dtype=kind, count=math.prod(shape)).reshape(shape).astype(np.float32, copy=False)


def read_npy(path: Path, kind: str, channels: tuple[int, ...] = ()) -> Array:
    """An array (H, W, *channels) of a NumPy kind: "f" floats of any width, "u" unsigned integers.

    Raises:
        DataError: it is missing, truncated or holds something else.
    """
    with opened(path):
        pass
    try:
        # Mapping compares the header with the file's size before anything is read.
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        shape, dtype = mapped.shape, mapped.dtype
    except Exception as error:  # NumPy raises all kinds of errors for damaged headers
        raise DataError(
            f"{path} is truncated or no .npy file of numbers ({error})", "copy it anew, or write it as plain numbers"
        ) from error
    if dtype.kind != kind or shape[2:] != channels or len(shape) < 2 or 0 in shape:
        raise DataError(f"{path} {_instead(kind, channels, shape, dtype)}", "it is of another kind")
    return np.array(mapped)


def write_npy(path: Path, values: Array) -> None:
    """Writes an array.

    Raises:
        DataError: the file can't be written.
    """
    stream = io.BytesIO()
    np.lib.format.write_array(stream, values, allow_pickle=False)
    write_bytes(path, stream.getvalue(), np.empty(0, dtype=np.uint8))


def read_hdf5(path: Path, name: str, channels: tuple[int, ...] = ()) -> NDArray[np.float32]:
    """Dataset `name` (H, W, *channels) of floats of any width, as float32.

    Raises:
        DataError: it is missing, damaged or holds something else.
    """
    with opened(path):
        pass
    try:
        # Shared file systems often can't lock.
        with h5py.File(path, "r", locking="best-effort") as file:
            dataset = file.get(name)
            if not isinstance(dataset, h5py.Dataset):
                raise DataError(f"{path} has no dataset {name!r}", "it is of another kind")
            shape, dtype = dataset.shape or (), dataset.dtype
            if dtype.kind != "f" or shape[2:] != channels or len(shape) < 2 or 0 in shape:
                raise DataError(f"{path}: {name} {_instead('f', channels, shape, dtype)}", "it is of another kind")
            _check_size(path, dataset)
            numbers: NDArray[np.float32] = dataset[()].astype(np.float32, copy=False)
    except MemoryError as error:
        raise DataError(f"{path} needs more memory than there is free") from error
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{path} is truncated, damaged or no HDF5 file", "copy it anew") from error
    return numbers


def _check_size(path: Path, dataset: h5py.Dataset) -> None:
    """Refuses a dataset that is too large, or larger than what is stored can be: HDF5 fills up what is absent."""
    size = math.prod(dataset.shape) * dataset.dtype.itemsize
    if reason := ARRAY.exceeded(size):
        raise DataError(f"{path}: {dataset.name} is {dataset.dtype} of shape {dataset.shape}: {reason}")
    stored, filters = dataset.id.get_storage_size(), dataset.id.get_create_plist().get_nfilters()
    if size > stored * (_MOST_DEFLATED if filters else 1):
        raise DataError(
            f"{path}: {dataset.name} is {dataset.dtype} of shape {dataset.shape}, but only {stored} bytes",
            "it is truncated or damaged: copy it anew",
        )


def _instead(kind: str, channels: tuple[int, ...], shape: tuple[int, ...], dtype: Any) -> str:
    """The rest of a sentence: the expected and the actual type and shape."""
    wanted = ", ".join(["H", "W", *map(str, channels)])
    return f"should be {'floats' if kind == 'f' else 'whole numbers'} ({wanted}), but is {dtype} of shape {shape}"


def write_hdf5(path: Path, name: str, values: NDArray[np.float32]) -> None:
    """Writes one dataset, compressed as Spring's are.

    Raises:
        DataError: the file can't be written.
    """
    try:
        with h5py.File(path, "w") as file:
            file.create_dataset(name, data=values, compression="gzip", compression_opts=5)
    except OSError as error:
        raise _unwritable(path, os.strerror(error.errno) if error.errno else "HDF5 failed") from error


def write_bytes(path: Path, header: bytes, content: Array) -> None:
    """Writes a header and an array's bytes.

    Raises:
        DataError: the file can't be written.
    """
    try:
        with path.open("wb") as stream:
            stream.write(header)
            stream.write(np.ascontiguousarray(content).data)
    except OSError as error:
        raise _unwritable(path, error.strerror) from error


def _unwritable(path: Path, reason: str | None) -> DataError:
    """The error of a file that can't be written."""
    return DataError(f"{path} can't be written ({reason})", "free space or choose another place")
