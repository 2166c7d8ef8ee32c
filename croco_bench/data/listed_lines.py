"""Lines of long lists: their places are kept, not their text. Labels of many items, of which few differ."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator, Sequence, Set
from operator import eq
from pathlib import Path
from typing import Any, overload

import numpy as np

from croco_bench.errors import DataError
from croco_bench.types import Array

_BLOCK, _LINE = 2**20, 2**12
# Items per step, where numbers become Python's.
_STEP = 2**16


class ListedLines:
    """The lines of a file, as bytes without their end, but blank ones and those that begin with `#`.

    A list of 10 million lines takes 4 or 8 bytes of memory a line, also in worker processes, which share it.

    Args:
        path: the file.
        header: leave out the first line.

    Raises:
        DataError: it can't be read.
    """

    def __init__(self, path: Path, *, header: bool = False) -> None:
        self.path = path
        self._file: int | None = None
        self._stamp: tuple[int, int] | None = None
        self._stamp = _stamp_of(self._opened())
        kind = np.uint32 if self._stamp[0] < 2**32 else np.uint64
        found = [(offset + _filled(block)).astype(kind) for offset, block in self._blocks()]
        self._starts = np.concatenate(found) if found else np.empty(0, dtype=kind)
        if header and len(self._starts) and self._starts[0] == 0:
            self._starts = self._starts[1:]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> bytes:
        start, size = int(self._starts[index]), _LINE
        while True:
            part = self._read(start, size)
            end = part.find(b"\n")
            if end >= 0 or len(part) < size:
                return part if end < 0 else part[:end]
            size *= 2

    def blocks(self) -> Iterator[tuple[bytes, range]]:
        """The text of the file in pieces that end with a line, and the indices of the lines in each."""
        first = 0
        for offset, block in self._blocks():
            end = self._starts.dtype.type(offset + len(block))
            last = int(np.searchsorted(self._starts, end))
            yield block, range(first, last)
            first = last

    def content(self) -> Iterator[bytes]:
        """The whole file, in pieces."""
        return (block for _, block in self._blocks())

    def _blocks(self) -> Iterator[tuple[int, bytes]]:
        offset, rest = 0, b""
        while True:
            read = self._read(offset + len(rest), _BLOCK)
            whole = rest + read
            end = whole.rfind(b"\n") + 1 if read else len(whole)
            if end:
                yield offset, whole[:end]
            offset, rest = offset + end, whole[end:]
            if not read:
                return

    def _read(self, start: int, size: int) -> bytes:
        # By place: processes that were forked share the file, and its position.
        try:
            return os.pread(self._opened(), size, start)
        except OSError as error:
            raise self._unreadable(error) from error

    def _opened(self) -> int:
        if self._file is None:
            try:
                self._file = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            except OSError as error:
                raise self._unreadable(error) from error
            weakref.finalize(self, os.close, self._file)
            if self._stamp is not None and self._stamp != _stamp_of(self._file):
                raise DataError(f"{self.path} has changed since it was opened", "start again")
        return self._file

    def _unreadable(self, error: OSError) -> DataError:
        return DataError(f"{self.path} can't be read: {error.strerror or error}")


def _stamp_of(file: int) -> tuple[int, int]:
    """Size and time of an open file."""
    found = os.fstat(file)
    return found.st_size, found.st_mtime_ns


def _filled(block: bytes) -> Array:
    """Starts of the lines that are neither blank nor a comment."""
    characters = np.frombuffer(block, dtype=np.uint8)
    ends = np.flatnonzero(characters == ord("\n"))
    starts = np.concatenate([[0], ends + 1])
    starts = starts[starts < len(characters)]
    filled = np.logical_or.reduceat(characters > ord(" "), starts) & (characters[starts] != ord("#"))
    return np.asarray(starts[filled])


class Labels(Sequence[str]):
    """A label for each item; two bytes an item, or four of many labels."""

    def __init__(self, labels: Iterable[str], count: int = -1) -> None:
        """`count` is their number, where it is known: that saves memory."""
        table = _Numbers()
        numbers = map(table.__getitem__, labels)
        numbered = np.fromiter(numbers, dtype=np.int32, count=count)
        self._names = list(table)
        self._numbers = numbered.astype(np.uint16 if len(table) < 2**16 else np.int32)

    def __len__(self) -> int:
        return len(self._numbers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __contains__(self, label: object) -> bool:
        return label in self._names

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._names[number] for number in self._numbers[index]]
        name: str = self._names[self._numbers[index]]
        return name

    def sizes(self) -> dict[str, int]:
        """Label -> number of its items, in the order in which labels first occur."""
        return dict(zip(self._names, np.bincount(self._numbers, minlength=len(self._names)).tolist(), strict=True))

    def among(self, chosen: Set[str]) -> Array:
        """Whether the label of each item is one of the chosen ones (n,)."""
        inside: Array = np.array([name in chosen for name in self._names], dtype=np.bool_)[self._numbers]
        return inside

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _STEP):
            yield from map(self._names.__getitem__, self._numbers[first : first + _STEP].tolist())


class _Numbers(dict[str, int]):
    """Numbers names as they come."""

    def __missing__(self, name: str) -> int:
        self[name] = number = len(self)
        return number
