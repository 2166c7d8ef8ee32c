"""ImageNet's validation images in one folder, as they unpack; Kaggle's table or the development kit has their classes."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from croco_bench.data.datasets.imagenet_files.archives import DEVKIT, read_devkit
from croco_bench.data.datasets.imagenet_files.items import LINK, Item
from croco_bench.data.formats.arrays import unreadable
from croco_bench.data.formats.layout import is_litter, size_of
from croco_bench.errors import DataError

# Kaggle's table; images and tables of its archive lie in these folders.
TABLE = "LOC_val_solution.csv"
KAGGLE = "ILSVRC/Data/CLS-LOC"
SUFFIXES = (".jpeg", ".jpg", ".png")


def images_in(folder: Path) -> list[os.DirEntry[str]]:
    """The image files in a folder, sorted by name.

    Raises:
        DataError: it can't be read.
    """
    return images_and_others(folder)[0]


def images_and_others(folder: Path) -> tuple[list[os.DirEntry[str]], list[str]]:
    """The image files in a folder, sorted by name; and the names of its other files.

    Raises:
        DataError: it can't be read.
    """
    try:
        with os.scandir(folder) as entries:
            listed = [one for one in entries if not is_litter(one.name)]
    except OSError as error:
        raise unreadable(folder, error, f"get {LINK}") from error
    images = [one for one in listed if one.name.lower().endswith(SUFFIXES)]
    others = [one.name for one in listed if not one.name.lower().endswith(SUFFIXES) and one.is_file()]
    return sorted(images, key=lambda one: one.name), others


def read_flat(root: Path, folder: Path, classes: Sequence[str]) -> list[Item]:
    """The images in `folder`, named and ordered as if they were sorted into class folders.

    Raises:
        DataError: nothing says their classes, or it doesn't fit the images or `classes`.
    """
    images = images_in(folder)
    table = next((path for path in (root / TABLE, folder / TABLE, folder.parent / TABLE) if path.is_file()), None)
    if table is not None:
        source, known = table, _from_table(table)
    elif (root / DEVKIT).is_file():
        source, known = root / DEVKIT, _from_devkit(root / DEVKIT, [one.name for one in images])
    else:
        raise DataError(
            f"{folder} holds {len(images)} images and no class folders, and nothing says their classes",
            f"put {TABLE} (of Kaggle's archive) or {DEVKIT} (from {LINK}) into {root}, or sort the images into class folders",
        )
    labels = {name: label for label, name in enumerate(classes)}
    items = []
    for one in images:
        name = known.get(Path(one.name).stem)
        if name is None:
            raise DataError(f"{source} has no class of {folder / one.name}", "it is of other images than these")
        if name not in labels:
            raise DataError(
                f"{source} has the class {name}, but train/ has no folder of that name", "both should be of one edition"
            )
        items.append(Item(f"{name}/{one.name}", labels[name], Path(one.path), 0, size_of(one)))
    return sorted(items, key=lambda item: item.name)


def _from_table(path: Path) -> Mapping[str, str]:
    """Image without ending -> class: the first word of the second column."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.reader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} can't be read as CSV ({error})", "get it again from Kaggle") from error
    return {row[0]: row[1].split()[0] for row in rows[1:] if len(row) > 1 and row[1].strip()}


def _from_devkit(path: Path, names: Sequence[str]) -> Mapping[str, str]:
    """Image without ending -> class: line n of the devkit's list is the n-th image of all, sorted by name."""
    classes, truth = read_devkit(path)
    if len(truth) != len(names):
        raise DataError(
            f"{path} has {len(truth)} labels, but there are {len(names)} images",
            "its lines are of all validation images, sorted by name",
        )
    return {Path(name).stem: classes[number - 1] for name, number in zip(names, truth, strict=True)}
