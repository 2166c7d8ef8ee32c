"""Stand-ins for NumPy's classes in pickles.

NumPy trusts what a pickle says: a flipped bit in the description of an array or of a type makes it follow a pointer that is
none. These classes keep what they are given, and check it before it becomes a number, a text, or a list of objects.
"""

from __future__ import annotations

import pickle
import struct
from typing import Any

# NumPy's kinds of numbers and the formats of `struct`.
_NUMBERS = {
    **{f"f{size}": letter for size, letter in ((2, "e"), (4, "f"), (8, "d"))},
    **{f"i{size}": letter for size, letter in ((1, "b"), (2, "h"), (4, "i"), (8, "q"))},
    **{f"u{size}": letter for size, letter in ((1, "B"), (2, "H"), (4, "I"), (8, "Q"))},
    "b1": "?",
}


class Kind:
    """Stands for `numpy.dtype`: its name, such as "f8" or "U12", and the byte order."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name, self.order = str(name)[:20], "<"

    def __setstate__(self, state: Any) -> None:
        """Takes the byte order; the rest follows from the name."""
        if not isinstance(state, tuple) or len(state) < 2:
            raise pickle.UnpicklingError("the description of a type is damaged")
        self.order = ">" if state[1] == ">" else "<"


class Objects:
    """Stands for `numpy.ndarray`: `items` are its objects or numbers in the order of the file, without their shape.

    `by_columns`: the first index counts fastest in that order.
    """

    def __init__(self, *_: Any) -> None:
        self.items: list[Any] = []
        self.by_columns = False

    def __setstate__(self, state: Any) -> None:
        """Takes the objects or numbers; the reader knows which shape they should have."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("the description of an array is damaged")
        *_, kind, by_columns, content = state
        self.items = _unpacked(kind, content) if isinstance(content, bytes) else content
        self.by_columns = bool(by_columns)
        if not isinstance(self.items, list):
            raise pickle.UnpicklingError("an array of something other than objects and numbers")


def _unpacked(kind: Any, content: bytes) -> list[float]:
    """The numbers in an array's bytes.

    Raises:
        UnpicklingError: they are of another kind, or damaged.
    """
    try:
        return [number for (number,) in struct.iter_unpack(kind.order + _NUMBERS[kind.name], content)]
    except (AttributeError, KeyError, TypeError, struct.error) as error:
        raise pickle.UnpicklingError("an array of numbers is damaged") from error


def reconstruct(*_: Any) -> Objects:
    """Stands for `numpy.core.multiarray._reconstruct`: an array without content."""
    return Objects()


def scalar(kind: Any, content: Any = b"") -> float | str:
    """Stands for `numpy.core.multiarray.scalar`: a number or a text.

    Raises:
        UnpicklingError: it is of another kind, or damaged.
    """
    try:
        if kind.name.startswith("U"):
            return str(content.decode("utf-32-be" if kind.order == ">" else "utf-32-le").rstrip("\0"))
        (number,) = struct.unpack(kind.order + _NUMBERS[kind.name], content)
    except (AttributeError, KeyError, TypeError, ValueError, struct.error) as error:
        raise pickle.UnpicklingError("a number is damaged") from error
    return float(number) if isinstance(number, float) else int(number)


# By their names in pickles, before and since NumPy 2.
STAND_INS: dict[str, Any] = {
    "numpy.dtype": Kind,
    "numpy.ndarray": Objects,
    **{f"numpy.{core}.multiarray._reconstruct": reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": scalar for core in ("core", "_core")},
}
