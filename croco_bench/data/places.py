"""Every dataset the benchmark knows: its layout on disk, its licence, where to get it, and how to check it. No torch."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from croco_bench.errors import DataError, unknown

MARKER = "MINIATURE.json"


@dataclass(frozen=True)
class Finding:
    """One thing that a check looked at. `advice` says what to do when it isn't in order."""

    ok: bool
    what: str
    advice: str = ""


@dataclass(frozen=True)
class Place:
    """A dataset. `name` is its folder under the data root; `checker` is "module:function", called with that folder."""

    name: str
    title: str
    layout: str
    size: str
    licence: str
    link: str
    checker: str

    def check(self, root: Path) -> list[Finding]:
        """Looks at the files under `root` (this dataset's own folder)."""
        module, _, attribute = self.checker.partition(":")
        function: Callable[[Path], list[Finding]] = getattr(importlib.import_module(module), attribute)
        return function(root)


PLACES: dict[str, Place] = {}


def place(name: str) -> Place:
    """The dataset called `name`."""
    if name not in PLACES:
        raise unknown("dataset", name, PLACES)
    return PLACES[name]


def is_miniature(root: Path) -> bool:
    """Whether the dataset folder `root` was written by the rooms generator."""
    return (root / MARKER).is_file()


def data_folder(data_root: Path | None, name: str) -> Path:
    """The folder of dataset `name` below `data_root`, or below `$CROCO_BENCH_DATA`.

    Raises:
        DataError: neither is given, or there is no such folder.
    """
    given = data_root or os.environ.get("CROCO_BENCH_DATA")
    if not given:
        raise DataError(
            f"where is the {name} dataset? give --data-root DIR (the folder that holds {name}/) or set CROCO_BENCH_DATA; "
            "croco-bench data make-mini DIR renders a miniature to try"
        )
    folder = Path(given) / name
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}; croco-bench data list says what it should hold and where to get it"
        )
    return folder
