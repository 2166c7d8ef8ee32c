"""Dataset folders: where a dataset lies below the data root, and whether it is a miniature. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path

from croco_bench.errors import DataError

# The file that `croco-bench data make-mini` leaves in each dataset folder that it writes.
MARKER = "MINIATURE.json"


def is_miniature(root: Path) -> bool:
    """Whether the dataset folder `root` was rendered by `croco-bench data make-mini`."""
    return (root / MARKER).is_file()


def size_of_release(root: Path, found: int, release: int | None) -> int:
    """The size of a split for `Reader.available`: that of the release, where the folder holds a part of it.

    Args:
        root: the dataset's folder; a miniature is whole, whatever its size.
        found: number of items that are there.
        release: number of items in the release, None where it isn't known.
    """
    return found if release is None or is_miniature(root) else max(found, release)


def data_folder(data_root: Path | None, name: str) -> Path:
    """The folder of dataset `name` below `data_root`, or below `$CROCO_BENCH_DATA`.

    Raises:
        DataError: neither is given, or there is no such folder.
    """
    given = data_root or os.environ.get("CROCO_BENCH_DATA")
    if not given:
        raise DataError(
            f"where is the {name} dataset? give --data-root DIR (the folder that holds {name}/) or set CROCO_BENCH_DATA",
            "croco-bench data make-mini DIR renders a miniature to try",
        )
    folder = Path(given).expanduser() / name
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}", "croco-bench data list says what it should hold and where to get it"
        )
    return folder
