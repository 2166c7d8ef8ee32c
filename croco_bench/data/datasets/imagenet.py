"""ImageNet-1K, or any folder of class folders; the official archives are read in place.

Samples: `image` (H, W, 3) uint8 RGB, `label` int, `id` str.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from croco_bench.data.checks.run_check import Finding, run_check
from croco_bench.data.datasets.imagenet_files.archives import CLASSES, TARS, read_tars
from croco_bench.data.datasets.imagenet_files.class_folders import MAPPING, same_classes, words_of
from croco_bench.data.datasets.imagenet_files.flat import KAGGLE, SUFFIXES, images_and_others, images_in, read_flat
from croco_bench.data.datasets.imagenet_files.items import LINK, Item, Split
from croco_bench.data.datasets.imagenet_files.shards import find_shards, read_shards, shard_files
from croco_bench.data.datasets.imagenet_files.tables import parquet_image
from croco_bench.data.datasets.imagenet_files.unpack import UNPACKED, unpack
from croco_bench.data.folders import is_miniature, size_of_release
from croco_bench.data.formats.arrays import unreadable
from croco_bench.data.formats.images import decode_pillow
from croco_bench.data.formats.integrity import DamagedError
from croco_bench.data.formats.layout import is_litter, kinds_in, size_of
from croco_bench.data.splitting import spread_indices
from croco_bench.errors import DataError
from croco_bench.files import fingerprint
from croco_bench.types import Sample

IMAGES: dict[Split, int] = {"train": 1_281_167, "val": 50_000}
_IMAGES_LOOKED_AT = 20
# Names of the folder of validation images.
_VAL = ("val", "validation", "valid")


class ImageNetReader:
    """Images with their class indices, in the order of their names."""

    dataset = "imagenet"
    assumptions: tuple[str, ...] = ()

    def __init__(self, root: Path, split: Split, classes: Sequence[str], items: Sequence[Item]) -> None:
        self.split: str = split
        self.classes, self.items = list(classes), list(items)
        # Other numbers of classes are other datasets.
        release = IMAGES[split] if len(self.classes) == CLASSES else None
        self.available, self.miniature = size_of_release(root, len(self.items), release), is_miniature(root)
        text = "\n".join([split, *self.classes, *(f"{item.name}:{item.label}:{item.size}" for item in self.items)])
        self._fingerprint = fingerprint(text)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def groups(self) -> Sequence[str]:
        """The images' names: each is a group of its own."""
        return [item.name for item in self.items]

    @property
    def larger_files(self) -> list[Path]:
        """The files that hold several images, sorted; empty where each image is a file."""
        return sorted({item.file for item in self.items if not _is_image(item.file)})

    def fingerprint(self) -> str:
        """Hash of the names, classes and sizes of all files."""
        return self._fingerprint

    def __getitem__(self, index: int) -> Sample:
        item = self.items[index]
        where = item.file if _is_image(item.file) else f"{item.name} in {item.file}"
        try:
            # A few files are CMYK, grey, or PNG.
            image = decode_pillow(_content(item)).convert("RGB")
        except ValueError as error:
            raise DataError(f"{where} can't be decoded as an image ({error})", _undecodable(error)) from error
        return {"image": np.asarray(image), "label": item.label, "id": item.name}


def _undecodable(error: ValueError) -> str:
    """What to do about an image that can't be decoded."""
    if isinstance(error, DamagedError):
        return "it is truncated or damaged: copy it anew from where it came"
    return "write it as JPEG, or leave it out"


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _content(item: Item) -> bytes:
    """The bytes of an image file.

    Raises:
        DataError: they can't be read.
    """
    if item.file.suffix == ".parquet":
        return parquet_image(item.file, item.offset)
    try:
        with item.file.open("rb") as stream:
            stream.seek(item.offset)
            return stream.read(item.size)
    except OSError as error:
        raise unreadable(item.file, error) from error


def open_split(root: Path, split: Split) -> ImageNetReader:
    """`{train,val}/<wnid>/*.JPEG`, the two official archives, or shards (Parquet, Arrow, WebDataset).

    Labels are indices in the sorted list of `train`'s classes. Validation images may also lie in `val/` itself, with a table
    of their classes.

    Raises:
        DataError: neither is there, or it is incomplete.
    """
    bases = [base for base in (root / UNPACKED, root, root / KAGGLE) if (base / "train").is_dir()]
    base = next((base for base in bases if _class_folders(base / "train")), None)
    if base is not None:
        return _folders(root, base, split)
    if (root / TARS["train"]).is_file():
        return ImageNetReader(root, split, *read_tars(root, split))
    if root.is_dir() and (shards := find_shards(root)):
        return ImageNetReader(root, split, *read_shards(shards, split))
    if bases:
        return _folders(root, bases[0], split)
    raise DataError(f"{root} has neither train/<class>/ nor {TARS['train']}", _advice(root))


def _advice(root: Path) -> str:
    """What to do with a folder of another kind."""
    if root.is_dir() and (shard := next(shard_files(root), None)):
        return f"files such as {shard} are read where their names or those of their folders say train and validation"
    return f"get it from {LINK}"


def titles(root: Path, classes: Sequence[str]) -> list[str]:
    """Readable titles of the classes from `LOC_synset_mapping.txt`; without that file, their names."""
    known = {name: words.partition(",")[0].strip() for name, words in words_of(root).items()}
    return [known.get(name) or name for name in classes]


def _folders(root: Path, base: Path, split: Split) -> ImageNetReader:
    classes = _subfolders(base / "train")
    if split == "train":
        folders = {name: base / split / name for name in classes}
    else:
        val = next((base / name for name in _VAL if (base / name).is_dir()), base / "val")
        if not _class_folders(val) and images_in(val):
            return ImageNetReader(root, split, classes, read_flat(root, val, classes))
        folders = _same_folders(root, base / "train", val)
    others: list[str] = []
    items = [item for label, name in enumerate(classes) for item in _images(folders[name], name, label, others)]
    reader = ImageNetReader(root, split, classes, items)
    if others:
        reader.assumptions = (f"{split}: files that aren't {', '.join(SUFFIXES)} are left out: {kinds_in(others)}",)
    return reader


def _same_folders(root: Path, train: Path, val: Path) -> dict[str, Path]:
    """Class folder of `train` -> the folder of that class in `val`.

    Raises:
        DataError: they are of different classes.
    """
    classes, val_classes = _subfolders(train), _subfolders(val)
    same = (
        dict(zip(classes, classes, strict=True)) if classes == val_classes else same_classes(root, classes, val_classes)
    )
    if same is None:
        odd = min(set(val_classes) ^ set(classes))
        raise DataError(
            f"{val} and {train} should have the same class folders, but only one has {odd}",
            f"sort the images into class folders of equal names, or put {MAPPING} (of Kaggle's archive) with their words into "
            f"{root}",
        )
    return {name: val / folder for name, folder in same.items()}


def _subfolders(folder: Path) -> list[str]:
    names = _class_folders(folder)
    if len(names) < 2:
        raise DataError(
            f"{folder} has {len(names)} class folder(s), expected two or more",
            "sort the images into a folder for each class, or keep the official archives, which are read as they are",
        )
    return names


def _class_folders(folder: Path) -> list[str]:
    try:
        return sorted(item.name for item in os.scandir(folder) if item.is_dir() and not is_litter(item.name))
    except OSError as error:
        raise unreadable(folder, error, "it should hold a folder per class") from error


def _images(folder: Path, class_name: str, label: int, others: list[str]) -> list[Item]:
    """The images of a class; names of other files are added to `others`."""
    images, more = images_and_others(folder)
    others += more
    if not images:
        but = f", but {kinds_in(more)}" if more else ""
        raise DataError(f"{folder} holds no image ({', '.join(SUFFIXES)}){but}", "fill it or remove it")
    return [Item(f"{class_name}/{one.name}", label, folder / one.name, 0, size_of(one)) for one in images]


def prepare(root: Path) -> str:
    """Writes images of Parquet, Arrow or tar files into class folders. Returns their folder and the number of images.

    Raises:
        DataError: the images are in folders already, or can't be written.
    """
    readers = {split: open_split(root, split) for split in IMAGES}
    if not readers["train"].larger_files:
        raise DataError(f"the images in {root} are in class folders already", "nothing is to be prepared")
    return unpack(root, {split: reader.items for split, reader in readers.items()}, _content)


def check(root: Path) -> list[Finding]:
    """Findings on both splits: their images and classes, and the sizes of a few images."""
    return run_check(root, lambda folder: (finding for split in IMAGES for finding in _look_at(folder, split)))


def _look_at(root: Path, split: Split) -> Iterator[Finding]:
    reader = open_split(root, split)
    other_dataset = reader.miniature or len(reader.classes) != CLASSES
    yield Finding.count(
        other_dataset or len(reader) == IMAGES[split],
        f"{split}: {len(reader)} images of {len(reader.classes)} classes",
        f"ImageNet-1K ({LINK}) has {IMAGES[split]} of {CLASSES}",
        reader,
    )
    for note in reader.assumptions:
        yield Finding(False, note, "give images one of these endings", stops=False)
    if files := reader.larger_files:
        where = f"{len(files)} file{'s' if len(files) > 1 else ''} such as {files[0].name}"
        yield Finding(True, f"{split}: read in place from {where}, classes {reader.classes[0]} to {reader.classes[-1]}")
    sides = [min(reader[i]["image"].shape[:2]) for i in spread_indices(len(reader), _IMAGES_LOOKED_AT)]
    yield Finding(True, f"{split}: shorter sides of {len(sides)} images are {min(sides)} to {max(sides)} pixels")
