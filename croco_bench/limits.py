"""Limits on what one file may ask for, all in one place. Environment variables set them, in MiB."""

from __future__ import annotations

import os
from dataclasses import dataclass

from croco_bench.errors import UsageError

_MIB = 2**20


@dataclass(frozen=True)
class Limit:
    """A limit on memory.

    Attributes:
        variable: the environment variable that sets it.
        default: in MiB.
    """

    variable: str
    default: int

    @property
    def size(self) -> int:
        """In bytes.

        Raises:
            UsageError: the variable is set to something other than a whole number above 0.
        """
        text = os.environ.get(self.variable) or str(self.default)
        if not text.isdecimal() or not int(text):
            raise UsageError(
                f"{self.variable} is {text[:40]!r}", f"give MiB as a whole number; the default is {self.default}"
            )
        return int(text) * _MIB

    def exceeded(self, wanted: int) -> str:
        """Why `wanted` bytes are refused, and how to allow them; empty where they fit."""
        if wanted <= self.size:
            return ""
        needed = -(-wanted // _MIB)
        return f"that takes {needed:,} MiB, and {self.variable} allows {self.size // _MIB:,}; set it higher if that is meant"


# One image or array as it is decoded: 4 times Spring's flow, 8 times Booster's images. A small file can claim any size.
ARRAY = Limit("CROCO_BENCH_MAX_ARRAY_MB", 256)
# A list, a table or a description, which is parsed as a whole.
TEXT = Limit("CROCO_BENCH_MAX_TEXT_MB", 64)
