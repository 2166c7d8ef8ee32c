"""ImageNet in many files: Parquet and Arrow of Hugging Face's `datasets`, and WebDataset tars. They are read in place."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from croco_bench.data.datasets.imagenet_files import tables
from croco_bench.data.datasets.imagenet_files.items import UNLABELED, Item, Located, Split, is_remembered, remembered
from croco_bench.data.datasets.imagenet_files.names import official_name, wnid_in
from croco_bench.data.datasets.imagenet_files.webdataset import look_at_tar
from croco_bench.data.formats.layout import is_litter
from croco_bench.errors import DataError
from croco_bench.progress import Bar

# Ending -> reader of a file, in the order of preference: images in Parquet can't be read one by one.
_LOOKS: Mapping[str, Callable[[Path], Iterable[Located]]] = {
    ".arrow": tables.look_at_arrow,
    ".tar": look_at_tar,
    ".parquet": tables.look_at_parquet,
}
_SPLITS: dict[str, Split | None] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": None,
}
# Folders below the dataset's in which files are looked for: Hugging Face's own caches are this deep.
_DEPTH = 5
Shards = Mapping[Split, Sequence[Path]]


def find_shards(root: Path) -> Shards | None:
    """The files of both splits, of the preferred kind of which there is a training split; None if there is none.

    Raises:
        DataError: files are there twice.
    """
    found: dict[tuple[str, Split], list[Path]] = {}
    for path in shard_files(root):
        if split := _split_of(path.relative_to(root)):
            found.setdefault((path.suffix, split), []).append(path)
    kind = next((kind for kind in _LOOKS if (kind, "train") in found), None)
    if kind is None:
        return None
    train, val = sorted(found[kind, "train"]), sorted(found.get((kind, "val"), []))
    _require_single(train)
    _require_single(val)
    return {"train": train, "val": val}


def read_shards(shards: Shards, split: Split) -> tuple[list[str], list[Item]]:
    """Class names and the images of a split, sorted by class and name.

    Classes are WordNet ids where the names of all training images contain them: labels are then indices in their sorted list,
    as in other layouts. Otherwise labels are those of the files, and classes have the names that tables hold, or numbers.

    Raises:
        DataError: a file can't be read, an image has no class, or the splits number the classes differently.
    """
    if not shards["val"]:
        raise DataError(
            f"{shards['train'][0]} is of the training images, but there is no such file of the validation images",
            "put those beside them: their names, or their folders', should say validation",
        )
    train = _located(shards["train"])
    wnids = _wnids(train)
    classes = sorted(wnids.values()) if wnids else _numbered(train, shards["train"][0])
    labels = {name: label for label, name in enumerate(classes)}
    items = []
    for path, image in train if split == "train" else _located(shards["val"]):
        name = _class_of(path, image, wnids, classes)
        if name not in labels:
            raise DataError(f"{image.name} in {path} is of the class {name}, of which there is no training image")
        items.append(Item(f"{name}/{official_name(image.name)}", labels[name], path, image.offset, image.size))
    return classes, sorted(_unique(items), key=lambda item: item.name)


def shard_files(folder: Path, depth: int = _DEPTH) -> Iterator[Path]:
    """All files of the known kinds; `datasets` keeps results of its own in files called cache-….arrow."""
    with os.scandir(folder) as entries:
        known = [entry for entry in entries if not is_litter(entry.name) and not entry.name.startswith("cache-")]
    for entry in known:
        path = Path(entry.path)
        if entry.is_file() and path.suffix in _LOOKS:
            yield path
        elif entry.is_dir() and depth > 1:
            yield from shard_files(path, depth - 1)


def _split_of(path: Path) -> Split | None:
    """The split that a file's name says, or the folder that it is in: the last word that is one."""
    words = re.split("[^a-z]+", path.as_posix().lower())
    return next((_SPLITS[word] for word in reversed(words) if word in _SPLITS), None)


def _require_single(paths: Sequence[Path]) -> None:
    names: dict[str, Path] = {}
    for path in paths:
        other = names.setdefault(path.name, path)
        if other is not path and other.stat().st_size == path.stat().st_size:
            raise DataError(f"{other} and {path} are copies of one file", "leave one of their folders only")


def _located(paths: Sequence[Path]) -> list[tuple[Path, Located]]:
    """The images in all files; what isn't known yet is looked for once, and kept in the cache."""
    known = all(is_remembered(path, path.suffix) for path in paths)
    images: list[tuple[Path, Located]] = []
    with Bar("files", len(paths), shown=not known) as bar:
        for path in paths:
            images += [(path, image) for image in remembered(path, path.suffix, partial(_LOOKS[path.suffix], path))]
            bar.advance(1, path.name)
    return images


def _wnids(train: Sequence[tuple[Path, Located]]) -> dict[int, str]:
    """Label -> WordNet id, where the names of all images say it, one for each label; empty where they don't.

    Without any labels, their order is that of the ids.
    """
    pairs = {(image.label, wnid_in(image.name)) for _, image in train}
    wnids = {wnid for _, wnid in pairs}
    labeled = {label: wnid for label, wnid in pairs if label != UNLABELED and wnid is not None}
    if None in wnids:
        return {}
    if not labeled:
        return dict(enumerate(sorted(wnid for wnid in wnids if wnid is not None)))
    one_to_one = len(labeled) == len({pair for pair in pairs if pair[0] != UNLABELED}) == len(wnids)
    return labeled if one_to_one else {}


def _numbered(train: Sequence[tuple[Path, Located]], table: Path) -> list[str]:
    """Names of the classes by label: those of the table's description, or the numbers."""
    count = max((image.label for _, image in train), default=UNLABELED) + 1
    names = tables.class_names(table) if table.suffix != ".tar" else []
    return names if len(set(names)) == len(names) >= count else [str(label) for label in range(count)]


def _class_of(path: Path, image: Located, wnids: Mapping[int, str], classes: Sequence[str]) -> str:
    """The class of an image.

    Raises:
        DataError: it has none, or another than images of the same number in the training split.
    """
    wnid = wnid_in(image.name) if wnids else None
    if wnid is not None:
        if wnids.get(image.label, wnid) != wnid:
            raise DataError(
                f"{image.name} in {path} has the label {image.label}, which training images of {wnids[image.label]} have",
                "both splits should be of one edition",
            )
        return wnid
    if image.label == UNLABELED:
        raise DataError(
            f"{image.name} in {path} has no label, and its name has no WordNet id",
            "if these are ImageNet's test images, which have no labels, move their files away",
        )
    if wnids:
        return wnids.get(image.label, str(image.label))
    return classes[image.label] if image.label < len(classes) else str(image.label)


def _unique(items: list[Item]) -> list[Item]:
    """The items; where names recur, such as numbers that begin anew in each file, named by the file and a count."""
    if len({item.name for item in items}) == len(items):
        return items
    counts = Counter[Path]()
    renamed = []
    for item in items:
        renamed.append(item._replace(name=f"{item.name.rpartition('/')[0]}/{item.file.stem}-{counts[item.file]:06d}"))
        counts[item.file] += 1
    return renamed
