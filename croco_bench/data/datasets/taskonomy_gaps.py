"""Finds truncated PNG files: only the ends of all files are read, and whole files where that end isn't a PNG's."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from croco_bench.data.formats.arrays import unreadable
from croco_bench.data.formats.images import read_pillow
from croco_bench.errors import DataError
from croco_bench.files import is_of_system

_BEGIN, _END = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"
# Waiting for a disk or a server takes most of the time.
_THREADS = 16


def truncated_files(paths: Sequence[Path]) -> list[Path]:
    """Those of the files that are empty, cut off or no image, in their order. Damage within a file isn't looked for.

    Raises:
        DataError: the system doesn't let a file be read, which says nothing about its content.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        whole = pool.map(_is_whole, paths, chunksize=64)
        return [path for path, fine in zip(paths, whole, strict=True) if not fine]


def _is_whole(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            begins = stream.read(len(_BEGIN)) == _BEGIN
            stream.seek(-min(len(_END), os.fstat(stream.fileno()).st_size), os.SEEK_END)
            if begins and stream.read() == _END:
                return True
        read_pillow(path)  # bytes after a PNG's end, and other formats, are no fault
    except OSError as error:
        if is_of_system(error):
            raise unreadable(path, error) from error
        return False
    except DataError:
        return False
    return True
