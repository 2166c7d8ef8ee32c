"""Files of one entry of the feature cache: arrays, their checksums, and how far an extraction is."""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from croco_bench.errors import RecordError
from croco_bench.files import atomic
from croco_bench.types import Array

# Type of an array, and its shape for one image.
Spec = tuple[np.dtype[Any], tuple[int, ...]]
# Arrays of at least so many bytes are announced before they are made.
_ANNOUNCED = 200e6


class Progress:
    """Rows `first` to `done` of one process's block are written; `seconds` of work so far, interruptions excluded.

    `names` are the arrays that are being written.
    """

    def __init__(self, path: Path, first: int, names: Sequence[str]) -> None:
        """The state in the file; that of a new block where there is none."""
        facts = read_facts(path) or {"first": first, "done": first, "seconds": 0.0}
        self._path, self._first, self._names = path, facts["first"], list(names)
        self._earlier, self._began = facts["seconds"], time.monotonic()
        self.done = facts["done"]

    @property
    def seconds(self) -> float:
        """Of this process and of those before it that were interrupted."""
        return float(self._earlier) + time.monotonic() - self._began

    def write(self) -> None:
        """Writes the file."""
        facts = {"first": self._first, "done": self.done, "seconds": self.seconds, "names": self._names}
        write_facts(self._path, facts)


def array_path(entry: Path, name: str) -> Path:
    """The file of an array."""
    return entry / f"{name}.npy"


def read_facts(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where the file is missing or damaged."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Writes a JSON object."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(facts), encoding="utf-8")


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    found = 0
    with path.open("rb") as stream:
        while part := stream.read(2**24):
            found = zlib.crc32(part, found)
    return found


def open_arrays(entry: Path, specs: Mapping[str, Spec], count: int) -> dict[str, Array] | None:
    """The arrays of `count` images, memory-mapped; None where one is missing or isn't as it should be."""
    try:
        arrays = {name: np.load(array_path(entry, name), mmap_mode="r") for name in specs}
    except (OSError, ValueError, EOFError):
        return None
    as_expected = all(
        (arrays[name].dtype, arrays[name].shape) == (kind, (count, *shape)) for name, (kind, shape) in specs.items()
    )
    return arrays if as_expected else None


def bytes_of(specs: Mapping[str, Spec], count: int) -> int:
    """Size of the arrays of `count` images."""
    return sum(count * kind.itemsize * int(np.prod(shape, dtype=np.int64)) for kind, shape in specs.values())


def require_room(entry: Path, needed: int, what: str) -> None:
    """Checks that the disk has room for `needed` bytes; logs how many are written where these are many.

    Args:
        entry: where the arrays will be.
        needed: bytes of the arrays.
        what: is kept, in words.

    Raises:
        RecordError: the disk lacks room.
    """
    free = shutil.disk_usage(entry).free
    if needed > free:
        raise RecordError(
            f"keeping {what} takes {_size(needed)}, but the disk of {entry.parent} has {_size(free)} free",
            "set CROCO_BENCH_CACHE to a folder with more room, or make room: croco-bench cache --clear tokens",
        )
    if needed >= _ANNOUNCED:
        from croco_bench.progress import log

        log(f"keeping {what} takes {_size(needed)} in {entry.parent}, which has {_size(free)} free")


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def preallocate(entry: Path, specs: Mapping[str, Spec], count: int) -> None:
    """Arrays of zeros for `count` images; none of them is left where one can't be made."""
    try:
        for name, (kind, shape) in specs.items():
            _preallocate(array_path(entry, name), kind, (count, *shape))
    except OSError:
        for name in specs:
            array_path(entry, name).unlink(missing_ok=True)
        raise


def _preallocate(path: Path, kind: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """An array of zeros with its disk space allocated: writing through a map to a full disk would kill the process."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)
    array.flush()
    del array
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
            except OSError as error:
                error.filename = str(path)
                raise
