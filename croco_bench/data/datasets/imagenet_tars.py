"""ImageNet's official archives, read in place: the positions of the images' bytes are cached."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import scipy.io

from croco_bench.data.formats.arrays import unreadable
from croco_bench.data.formats.layout import is_litter
from croco_bench.errors import DataError
from croco_bench.files import atomic, cache_folder, fingerprint
from croco_bench.progress import log

Split = Literal["train", "val"]
LINK = "https://image-net.org/challenges/LSVRC/2012/2012-downloads.php"
TARS: dict[Split, str] = {"train": "ILSVRC2012_img_train.tar", "val": "ILSVRC2012_img_val.tar"}
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
CLASSES = 1000
Location = tuple[str, int, int]  # name, offset, bytes


class Item(NamedTuple):
    """One image: name, class index, and where its bytes are: `size` bytes of `file` from `offset` on."""

    name: str
    label: int
    file: Path
    offset: int
    size: int


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
    locations = _index(path, nested=True)
    classes = sorted({name.partition("/")[0] for name, _, _ in locations})
    labels = {name: label for label, name in enumerate(classes)}
    if split == "train":
        return classes, [Item(name, labels[name.partition("/")[0]], path, *rest) for name, *rest in locations]
    names, truth = read_devkit(root / DEVKIT)
    if sorted(names) != classes:
        odd = min(set(names) ^ set(classes))
        raise DataError(
            f"{path} and {DEVKIT} should have the same classes, but only one has {odd}", f"get both from {LINK}"
        )
    path = root / TARS["val"]
    locations = _index(path, nested=False)
    if len(locations) != len(truth):
        raise DataError(
            f"{path} holds {len(locations)} images, but {DEVKIT} has {len(truth)} labels", f"get both from {LINK}"
        )
    return classes, [
        Item(f"{names[number - 1]}/{name}", labels[names[number - 1]], path, offset, size)
        for (name, offset, size), number in zip(locations, truth, strict=True)
    ]


def _index(path: Path, *, nested: bool) -> list[Location]:
    """Where the images lie, sorted by name; from the cache if the archive is the one that was looked through."""
    try:
        facts = path.stat()
    except OSError as error:
        raise unreadable(path, error, f"get it from {LINK}") from error
    key = fingerprint(f"{path.absolute()}:{facts.st_size}:{facts.st_mtime_ns}")
    kept = cache_folder() / "archives" / f"{key}.json"
    if kept.is_file():
        with contextlib.suppress(ValueError, TypeError):  # a damaged list is replaced
            return [(name, offset, size) for name, offset, size in json.loads(kept.read_text(encoding="utf-8"))]
    log(f"looking through {path}, once; the list is kept in {kept.parent}")
    try:
        with path.open("rb") as stream:
            locations = sorted(_nested(stream) if nested else _images(stream, 0, facts.st_size, ""))
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{path} is truncated or isn't a tar archive ({error})", f"get it again from {LINK}") from error
    if not locations:
        raise DataError(f"{path} holds no image", f"get it again from {LINK}")
    with atomic(kept) as temporary:
        temporary.write_text(json.dumps(locations), encoding="utf-8")
    return locations


def _nested(stream: BinaryIO) -> list[Location]:
    """The training archive: one archive per class."""
    locations: list[Location] = []
    with tarfile.open(fileobj=stream, mode="r:") as outer:
        for member in outer:
            if member.isfile() and member.name.endswith(".tar") and not is_litter(Path(member.name).name):
                locations += _images(stream, member.offset_data, member.size, Path(member.name).stem + "/")
    return locations


def _images(stream: BinaryIO, offset: int, size: int, prefix: str) -> list[Location]:
    window = io.BufferedReader(_Window(stream, offset, size))
    with tarfile.open(fileobj=window, mode="r:") as archive:
        images = [
            (prefix + Path(member.name).name, offset + member.offset_data, member.size)
            for member in archive
            if member.isfile() and not is_litter(Path(member.name).name)
        ]
    if images and max(start + length for _, start, length in images) > offset + size:
        raise tarfile.ReadError("the last image is cut off")
    return images


def read_devkit(path: Path) -> tuple[list[str], list[int]]:
    """Wnids of the classes by ILSVRC number (from 1), and the number of each validation image.

    Raises:
        DataError: it is missing, damaged, or has a label beyond the classes.
    """
    try:
        with tarfile.open(path) as archive:
            folder = "ILSVRC2012_devkit_t12/data"
            meta, truth = (
                archive.extractfile(f"{folder}/{name}")
                for name in ("meta.mat", "ILSVRC2012_validation_ground_truth.txt")
            )
            assert meta is not None and truth is not None
            content: Any = io.BytesIO(meta.read())  # scipy's stubs don't list file objects
            synsets = scipy.io.loadmat(content, squeeze_me=True)["synsets"]
            numbers = [int(line) for line in truth.read().split()]
            by_number = sorted((int(one["ILSVRC2012_ID"]), str(one["WNID"])) for one in synsets)
    except FileNotFoundError as error:
        raise DataError(f"there is no {path}, which has the labels of {TARS['val']}", f"get it from {LINK}") from error
    except (
        OSError,
        EOFError,
        zlib.error,
        tarfile.TarError,
        LookupError,
        AssertionError,
        ValueError,
        TypeError,
    ) as error:
        raise DataError(
            f"{path} has the labels of {TARS['val']}, but can't be read ({error or 'a part is missing'})",
            f"get it again from {LINK}",
        ) from error
    names = [name for _, name in by_number][:CLASSES]  # the rest are groups of classes
    if wrong := [number for number in numbers if not 1 <= number <= len(names)]:
        raise DataError(f"{path} has the label {wrong[0]}, expected 1 to {len(names)}", f"get it again from {LINK}")
    return names, numbers
