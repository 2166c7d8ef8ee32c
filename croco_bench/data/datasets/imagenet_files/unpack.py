"""Writes the images of larger files into class folders, once: what is read at random is read faster there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from croco_bench.data.datasets.imagenet_files.items import Item, Split
from croco_bench.data.datasets.imagenet_files.names import wnid_in
from croco_bench.errors import DataError
from croco_bench.progress import Bar

# The folder that holds train/<class>/ and val/<class>/ in the end, and its name until it is whole.
UNPACKED, _PARTIAL = "unpacked", ".unpacked.partial"


def unpack(root: Path, splits: Mapping[Split, Sequence[Item]], content_of: Callable[[Item], bytes]) -> str:
    """Writes `unpacked/{train,val}/<class>/`; an interrupted call is resumed. Returns the folder and the number of images.

    Raises:
        DataError: the folder is there already, the disk is too small, or classes aren't named by WordNet ids.
    """
    target, partial = root / UNPACKED, root / _PARTIAL
    if target.exists():
        raise DataError(f"{target} is there already", "delete it to write it again")
    todo = [(partial / split / item.name, item) for split, items in splits.items() for item in items]
    if odd := next((item for _, item in todo if wnid_in(item.name) != item.name.partition("/")[0]), None):
        raise DataError(
            f"{odd.file} doesn't say the WordNet ids of its classes, such as n01440764",
            "class folders of other names would number the classes in another order: read its images where they are",
        )
    rest = [(path, item) for path, item in todo if not path.is_file() or path.stat().st_size != item.size]
    _require_space(root, sum(item.size for _, item in rest))
    with Bar("images", len(todo), start=len(todo) - len(rest)) as bar:
        # In the order of the files: groups of rows of Parquet are read once.
        for path, item in sorted(rest, key=lambda pair: (pair[1].file, pair[1].offset)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content_of(item))
            bar.advance(1)
    partial.rename(target)
    return f"{target} with {len(todo)} images; the larger files aren't read any more and may be deleted"


def _require_space(root: Path, size: int) -> None:
    free = shutil.disk_usage(root).free
    if size > free:
        raise DataError(f"{root} needs {size / 1e9:.1f} GB more, but has {free / 1e9:.1f} GB free", "free some space")
