"""Reads files of MATLAB 5 (not 7.3, which is HDF5): numbers, texts, structs and cells. Sizes in a file are never trusted.

Format: MathWorks, "MAT-File Format". SciPy's reader ends the process for some damaged files.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from croco_bench.limits import TEXT

_HEADER = 128
# Types of elements.
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 16: "utf-8"}
_UTF16, _MATRIX, _COMPRESSED = (4, 17), 14, 15
# Classes of matrices; 6 to 15 are numbers.
_CELL, _STRUCT, _CHAR, _NUMERIC = 1, 2, 4, range(6, 16)
_DEEPEST = 8


class MatlabError(ValueError):
    """A file isn't of MATLAB 5, is damaged, or holds something else than numbers, texts, structs and cells."""


@dataclass(frozen=True)
class _Element:
    kind: int
    content: memoryview


def read_matlab(content: bytes) -> dict[str, Any]:
    """The variables of a file by name.

    Numbers are a flat array in MATLAB's order (columns first), a text is a string, an array of structs a list of dicts, and a
    cell array a list.

    Raises:
        MatlabError: see there.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if len(content) < _HEADER or order is None:
        raise MatlabError("it doesn't begin as a file of MATLAB 5")
    return dict(_Reader(order).variables(content[_HEADER:]))


class _Reader:
    def __init__(self, order: str) -> None:
        self._order, self._left = order, TEXT.size

    def variables(self, content: bytes) -> Iterator[tuple[str, Any]]:
        """Names and values."""
        for element in self._elements(memoryview(content)):
            if element.kind == _COMPRESSED:
                unpacked = self._unpacked(element.content)
                yield from (self._matrix(one.content, 0) for one in self._elements(unpacked) if one.kind == _MATRIX)
            elif element.kind == _MATRIX:
                yield self._matrix(element.content, 0)

    def _unpacked(self, content: memoryview) -> memoryview:
        unpacker = zlib.decompressobj()
        try:
            unpacked = unpacker.decompress(content, self._left + 1)
        except zlib.error as error:
            raise MatlabError(f"a part can't be unpacked ({error})") from error
        self._left -= len(unpacked)
        if self._left < 0:
            raise MatlabError(f"it unpacks to more than {TEXT.variable} allows")
        if not unpacker.eof:
            raise MatlabError("a part is cut off")
        return memoryview(unpacked)

    def _elements(self, content: memoryview) -> Iterator[_Element]:
        at = 0
        while at + 8 <= len(content):
            kind, size = self._numbers("u4", content[at : at + 8]).tolist()
            if kind >> 16:  # up to four bytes, within the tag
                kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            else:
                start, end = at + 8, at + 8 + size + (-size % 8 if kind != _COMPRESSED else 0)
            if size > len(content) - start or (start == at + 4 and size > 4):
                raise MatlabError("a part is longer than the file")
            yield _Element(kind, content[start : start + size])
            at = end

    def _numbers(self, kind: str, content: memoryview) -> Any:
        if len(content) % int(kind[1]):
            raise MatlabError("a list of numbers is cut off")
        return np.frombuffer(content, dtype=self._order + kind)

    def _number(self, kind: str, element: _Element) -> int:
        """The first number of an element."""
        numbers = self._numbers(kind, element.content[:4])
        if not len(numbers):
            raise MatlabError("a number is missing")
        return int(numbers[0])

    def _matrix(self, content: memoryview, depth: int) -> tuple[str, Any]:
        """Name and value."""
        if depth > _DEEPEST:
            raise MatlabError("it is nested too deeply")
        parts = self._elements(content)
        flags, shape, name = (self._next(parts) for _ in range(3))
        kind = self._number("u4", flags) & 0xFF
        count = math.prod(self._numbers("i4", shape.content).tolist())
        # Each object takes at least the eight bytes of its tag.
        if not 0 <= count <= len(content):
            raise MatlabError("it has fewer values than it says")
        return bytes(name.content).decode("latin-1"), self._value(kind, count, parts, depth)

    def _value(self, kind: int, count: int, parts: Iterator[_Element], depth: int) -> Any:
        if kind in _NUMERIC:
            return self._numeric(self._next(parts), count)
        if kind == _CHAR:
            return self._text(self._next(parts), count)
        if kind == _CELL:
            return [self._inner(parts, depth) for _ in range(count)]
        if kind == _STRUCT:
            names = self._field_names(self._next(parts), self._next(parts))
            return [{name: self._inner(parts, depth) for name in names} for _ in range(count)]
        raise MatlabError(f"it holds a value of class {kind}")

    def _numeric(self, element: _Element, count: int) -> Any:
        kind = _NUMBERS.get(element.kind)
        numbers = self._numbers(kind, element.content) if kind else np.empty(0)
        if kind is None or len(numbers) != count:
            raise MatlabError("it has other values than it says")
        return numbers.astype(kind)

    def _text(self, element: _Element, count: int) -> str:
        utf16 = "utf-16-le" if self._order == "<" else "utf-16-be"
        coding = utf16 if element.kind in _UTF16 else _TEXTS.get(element.kind)
        if coding is None and count:
            raise MatlabError("a text isn't one")
        return bytes(element.content).decode(coding or "latin-1", "replace")

    def _field_names(self, length: _Element, names: _Element) -> list[str]:
        size = self._number("i4", length)
        if size < 1 or len(names.content) % size:
            raise MatlabError("the names of fields are damaged")
        text = bytes(names.content).decode("latin-1")
        return [text[at : at + size].partition("\0")[0] for at in range(0, len(text), size)]

    def _inner(self, parts: Iterator[_Element], depth: int) -> Any:
        element = self._next(parts)
        if element.kind != _MATRIX:
            raise MatlabError("a value is missing")
        return self._matrix(element.content, depth + 1)[1] if len(element.content) else np.empty(0)

    def _next(self, parts: Iterator[_Element]) -> _Element:
        if (part := next(parts, None)) is None:
            raise MatlabError("a part is missing")
        return part
