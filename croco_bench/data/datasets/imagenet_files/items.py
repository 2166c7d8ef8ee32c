"""Images inside larger files: where their bytes are, and lists of them that are kept in the cache."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from croco_bench.data.formats.arrays import unreadable
from croco_bench.files import atomic, cache_folder, fingerprint, parse_json

Split = Literal["train", "val"]
LINK = "https://image-net.org/challenges/LSVRC/2012/2012-downloads.php"
UNLABELED = -1


class Located(NamedTuple):
    """An image in a larger file: its name, its label there or `UNLABELED`, and where its bytes are."""

    name: str
    label: int
    offset: int
    size: int


class Item(NamedTuple):
    """One image: name, class index, and where its bytes are: `size` bytes of `file` from `offset` on.

    In a Parquet file, `offset` is the number of the row.
    """

    name: str
    label: int
    file: Path
    offset: int
    size: int


def remembered(path: Path, form: str, look: Callable[[], Iterable[Located]]) -> list[Located]:
    """The images in a file: what `look` finds, or the list in the cache, if it is of this file as it is now.

    Args:
        path: the file.
        form: what the file is taken for.
        look: looks through the file.

    Raises:
        DataError: the file isn't there, or `look` refuses it.
    """
    kept = _list_of(path, form)
    if kept.is_file():
        with contextlib.suppress(ValueError, TypeError):  # a damaged list is replaced
            return [_checked(*row) for row in parse_json(kept.read_text(encoding="utf-8"))]
    images = list(look())
    with atomic(kept) as temporary:
        temporary.write_text(json.dumps(images), encoding="utf-8")
    return images


def is_remembered(path: Path, form: str) -> bool:
    """Whether the cache has a list of the images in this file.

    Raises:
        DataError: the file isn't there.
    """
    return _list_of(path, form).is_file()


def _list_of(path: Path, form: str) -> Path:
    """The list in the cache of the file as it is now."""
    try:
        facts = path.stat()
    except OSError as error:
        raise unreadable(path, error, f"get it from {LINK}") from error
    key = fingerprint(f"{form}:{path.absolute()}:{facts.st_size}:{facts.st_mtime_ns}")
    return cache_folder() / "archives" / f"{key}.json"


def _checked(name: object, label: object, offset: object, size: object) -> Located:
    if isinstance(name, str) and isinstance(label, int) and isinstance(offset, int) and isinstance(size, int):
        return Located(name, label, offset, size)
    raise TypeError(f"{name!r} is located by {label!r}, {offset!r}, {size!r}")
