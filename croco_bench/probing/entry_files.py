"""Files of one entry of the feature cache: arrays, their checksums, and how far an extraction is."""

from __future__ import annotations

import os
import shutil
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field

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

    def __init__(self, path: Path, block: range, names: Sequence[str]) -> None:
        """The state in the file; that of a new block of rows where there is none, or one of another block."""
        note = read_note(path)
        if note is None or note.first != block.start or note.done > block.stop:
            note = Note(first=block.start, done=block.start, seconds=0.0, names=list(names))
        self._path, self._first, self._names = path, block.start, list(names)
        self._earlier, self._began = note.seconds, time.monotonic()
        self.done = note.done

    @property
    def seconds(self) -> float:
        """Of this process and of those before it that were interrupted."""
        return float(self._earlier) + time.monotonic() - self._began

    def write(self) -> None:
        """Writes the file."""
        write_facts(self._path, Note(first=self._first, done=self.done, seconds=self.seconds, names=self._names))


def array_path(entry: Path, name: str) -> Path:
    """The file of an array."""
    return entry / f"{name}.npy"


class Done(BaseModel):
    """Content of `done.json`: seconds of extraction, and the CRC-32 of the file of each array."""

    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    sums: dict[str, int]


class Note(BaseModel):
    """Content of `progress-*.json`: rows `first` to `done` of the arrays `names` are written."""

    first: Annotated[int, Field(ge=0)]
    done: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    names: list[str]


NOTHING_DONE = Done(seconds=0.0, sums={})


def read_done(entry: Path) -> Done | None:
    """What is said of finished arrays; None where the file is missing or damaged."""
    try:
        return Done.model_validate_json((entry / "done.json").read_bytes(), strict=True)
    except (OSError, ValueError):
        return None


def read_note(path: Path) -> Note | None:
    """The progress of one process; None where the file is missing or damaged."""
    try:
        note = Note.model_validate_json(path.read_bytes(), strict=True)
    except (OSError, ValueError):
        return None
    return note if note.first <= note.done else None


def write_facts(path: Path, facts: Done | Note) -> None:
    """Writes a JSON object."""
    with atomic(path) as temporary:
        temporary.write_text(facts.model_dump_json(), encoding="utf-8")


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
    except Exception:  # NumPy raises all kinds of errors for damaged headers
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
