"""Pickles of arrays, lists, dicts, texts and numbers, as some releases hold them. No code in them is run."""

from __future__ import annotations

import io
import math
import pickle
from typing import IO, Any

import numpy as np

from croco_bench.numpy_objects import STAND_INS, Objects
from croco_bench.types import Array


class RefusedError(Exception):
    """The pickle refers to something other than an array, a number or a text."""


class _ArraysOnly(pickle._Unpickler):
    """Makes stand-ins of arrays, and no class of NumPy.

    The unpickler in Python, as that in C takes memory for as many objects as a damaged file numbers.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (found := STAND_INS.get(f"{module}.{name}")) is None:
            raise RefusedError(f"{module}.{name}")
        return found


def load_plain(stream: IO[bytes]) -> Any:
    """The next object of a stream, in which arrays are `Objects`.

    Raises:
        RefusedError: it holds something else.
        Exception: it is damaged, which can raise anything.
    """
    return _ArraysOnly(stream).load()


def load_bytes(content: bytes) -> Any:
    """`load_plain` of a whole file's content."""
    return load_plain(io.BytesIO(content))


def numbers_of(found: Any, shape: tuple[int, ...]) -> Array:
    """The numbers of an array of this shape, as float64.

    Raises:
        ValueError: it is no array of as many numbers.
    """
    if not isinstance(found, Objects) or len(found.items) != math.prod(shape):
        raise ValueError(f"expected an array of shape {shape}")
    return np.array(found.items, dtype=np.float64).reshape(shape, order="F" if found.by_columns else "C")
