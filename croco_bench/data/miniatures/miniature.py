"""What every miniature consists of."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Increment when the rendering of a seed changes.
ROOMS_VERSION = 1

Advance = Callable[[int], None]
# Writes the files of a dataset into its empty folder, with these settings and seed; jobs go to the pool, and `Advance` gets
# the number of items finished.
Writer = Callable[[Path, Any, int, Executor, Advance], None]


@dataclass(frozen=True)
class Miniature:
    """A small rendered dataset in an official layout.

    A module of this folder offers one as its constant `MINIATURE`; another distribution announces a dict of dataset ->
    miniature by the entry point `croco_bench.miniatures`.

    Attributes:
        name: folder of the dataset below the data root.
        write: writes the files.
        default: default settings, a dataclass of positive integers.
        tiny: settings for tests.
        count: settings -> number of items that `write` reports to `Advance`.
        by_default: written by `croco-bench data make-mini` without `--only`.
        version: increment when equal settings give other files.
    """

    name: str
    write: Writer
    default: Any
    tiny: Any
    count: Callable[[Any], int]
    by_default: bool = True
    version: int = ROOMS_VERSION
