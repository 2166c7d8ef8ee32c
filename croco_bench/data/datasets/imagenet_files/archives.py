"""ImageNet's official archives, read in place: the positions of the images' bytes are cached."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from croco_bench.data.datasets.imagenet_files.items import LINK, UNLABELED, Item, Located, Split, remembered
from croco_bench.data.datasets.imagenet_files.tar_members import files_in, unreadable_archive
from croco_bench.data.formats.matlab import read_matlab
from croco_bench.errors import DataError
from croco_bench.files import ARCHIVE_ERRORS, cache_folder
from croco_bench.limits import TEXT
from croco_bench.progress import log

TARS: dict[Split, str] = {"train": "ILSVRC2012_img_train.tar", "val": "ILSVRC2012_img_val.tar"}
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
CLASSES = 1000


class _Window(io.RawIOBase):
    """A part of a file as a file object, for an archive inside an archive."""

    def __init__(self, stream: BinaryIO, offset: int, size: int) -> None:
        self._stream, self._offset, self._size, self._position = stream, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        self._stream.seek(self._offset + self._position)
        content = self._stream.read(max(min(len(buffer), self._size - self._position), 0))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def read_tars(root: Path, split: Split) -> tuple[list[str], list[Item]]:
    """Class names (wnids, sorted) and the images of a split.

    Raises:
        DataError: an archive is missing, truncated or inconsistent with the others.
    """
    path = root / TARS["train"]
    images = _index(path, nested=True)
    classes = sorted({image.name.partition("/")[0] for image in images})
    labels = {name: label for label, name in enumerate(classes)}
    if split == "train":
        return classes, [
            Item(name, labels[name.partition("/")[0]], path, offset, size) for name, _, offset, size in images
        ]
    names, truth = read_devkit(root / DEVKIT)
    if sorted(names) != classes:
        odd = min(set(names) ^ set(classes))
        raise DataError(
            f"{path} and {DEVKIT} should have the same classes, but only one has {odd}", f"get both from {LINK}"
        )
    path = root / TARS["val"]
    images = _index(path, nested=False)
    if len(images) != len(truth):
        raise DataError(
            f"{path} holds {len(images)} images, but {DEVKIT} has {len(truth)} labels", f"get both from {LINK}"
        )
    return classes, [
        Item(f"{names[number - 1]}/{name}", labels[names[number - 1]], path, offset, size)
        for (name, _, offset, size), number in zip(images, truth, strict=True)
    ]


def _index(path: Path, *, nested: bool) -> list[Located]:
    """Where the images lie, sorted by name; from the cache if the archive is the one that was looked through."""
    return remembered(path, "nested" if nested else "flat", lambda: _look_through(path, nested=nested))


def _look_through(path: Path, *, nested: bool) -> list[Located]:
    log(f"looking through {path}, once; the list is kept in {cache_folder() / 'archives'}")
    try:
        with path.open("rb") as stream:
            images = sorted(_nested(stream) if nested else _images(stream, 0, path.stat().st_size, ""))
    except ARCHIVE_ERRORS as error:
        raise unreadable_archive(path, error, f"get it again from {LINK}") from error
    if not images:
        raise DataError(f"{path} holds no image", f"get it again from {LINK}")
    return images


def _nested(stream: BinaryIO) -> list[Located]:
    """The training archive: one archive per class."""
    images: list[Located] = []
    with tarfile.open(fileobj=stream, mode="r:") as outer:
        for member in files_in(outer):
            if member.name.endswith(".tar"):
                images += _images(stream, member.offset_data, member.size, Path(member.name).stem + "/")
    return images


def _images(stream: BinaryIO, offset: int, size: int, prefix: str) -> list[Located]:
    window = io.BufferedReader(_Window(stream, offset, size))
    with tarfile.open(fileobj=window, mode="r:") as archive:
        return [
            Located(prefix + Path(member.name).name, UNLABELED, offset + member.offset_data, member.size)
            for member in files_in(archive)
        ]


class _Unpacked(io.RawIOBase):
    """A file of gzip; more than `limits.TEXT` of it is a `ValueError`."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream, self._count = stream, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        self._count += len(content)
        if reason := TEXT.exceeded(self._count):
            raise ValueError(reason)
        buffer[: len(content)] = content
        return len(content)


def _members(path: Path, names: Sequence[str]) -> list[bytes]:
    """Members of the development kit, in the order of `names`.

    Raises:
        ValueError: it is too large.
        LookupError: it lacks one.
    """
    found: dict[str, bytes] = {}
    with gzip.open(path) as stream, tarfile.open(fileobj=io.BufferedReader(_Unpacked(stream)), mode="r|") as archive:
        for member in archive:
            name = Path(member.name).name
            if member.isfile() and name in names and (part := archive.extractfile(member)) is not None:
                found[name] = part.read()
    return [found[name] for name in names]


def read_devkit(path: Path) -> tuple[list[str], list[int]]:
    """Wnids of the classes by ILSVRC number (from 1), and the number of each validation image.

    Raises:
        DataError: it is missing, damaged, or has a label beyond the classes.
    """
    try:
        meta, truth = _members(path, ("meta.mat", "ILSVRC2012_validation_ground_truth.txt"))
        numbers = [int(line) for line in truth.split()]
        synsets = read_matlab(meta)["synsets"]
        by_number = sorted((int(one["ILSVRC2012_ID"].item()), str(one["WNID"])) for one in synsets)
    except FileNotFoundError as error:
        raise DataError(f"there is no {path}, which has the labels of {TARS['val']}", f"get it from {LINK}") from error
    except (
        OSError,
        EOFError,
        zlib.error,
        tarfile.TarError,
        LookupError,
        AttributeError,
        ValueError,
        TypeError,
        OverflowError,
    ) as error:
        raise DataError(
            f"{path} has the labels of {TARS['val']}, but can't be read ({error or 'a part is missing'})",
            f"get it again from {LINK}",
        ) from error
    names = [name for _, name in by_number][:CLASSES]  # the rest are groups of classes
    if wrong := [number for number in numbers if not 1 <= number <= len(names)]:
        raise DataError(f"{path} has the label {wrong[0]}, expected 1 to {len(names)}", f"get it again from {LINK}")
    return names, numbers
