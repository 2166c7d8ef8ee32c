"""Taskonomy's lists: which views belong to a split, by MultiMAE's lists of views or the official lists of buildings."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from croco_bench.data.datasets.taskonomy_files import IMAGE, LINK, KnownLayout, folder_of
from croco_bench.errors import DataError

Split = Literal["train", "val", "test"]
# Rows of MultiMAE's lists; the length of its training list isn't known here, of which it uses 800.
VIEWS: dict[Split, int | None] = {"train": None, "val": 35_774, "test": 54_514}
Row = tuple[str, int, int]  # building, point, view

LISTS = "https://github.com/EPFL-VILAB/MultiMAE/tree/main/utils/taskonomy/splits_taskonomy"
_TINY = "train_val_test_tiny.csv"


def read_list(root: Path, split: Split, layout: KnownLayout) -> list[Row]:
    """The rows of `tiny_<split>.csv` or `<split>.csv`, or all views of the buildings in the official split file.

    Raises:
        DataError: there is no list, or a row is malformed or repeated.
    """
    for path in (root / f"tiny_{split}.csv", root / f"{split}.csv"):
        if path.is_file():
            return _rows(path)
    official = [root / _TINY] if (root / _TINY).is_file() else sorted(root.glob("train_val_test*.csv"))
    if not official:
        raise DataError(
            f"{root} has no tiny_{split}.csv (from {LISTS}) and no {_TINY} (from {LINK})",
            "one of them must say which views belong to the split",
        )
    if len(official) > 1:
        names = ", ".join(path.name for path in official)
        raise DataError(f"{root} has several split files ({names})", f"leave the one that is meant, or add {_TINY}")
    return _views_of(root, _buildings(official[0], split), layout)


def _rows(path: Path) -> list[Row]:
    rows: list[Row] = []
    for number, row in enumerate(_table(path, ("building", "point", "view")), start=2):
        try:
            building, point, view = row["building"], int(row["point"]), int(row["view"])
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{path}, line {number}: point and view should be whole numbers",
                f"correct the line, or take the list of {LISTS}",
            ) from error
        if not building or min(point, view) < 0:
            raise DataError(
                f"{path}, line {number}: expected a building and counts from 0, found {building},{point},{view}",
                f"correct the line, or take the list of {LISTS}",
            )
        rows.append((building, point, view))
    if not rows:
        raise DataError(f"{path} lists no view", f"add some, or take the list of {LISTS}")
    repeated, times = Counter(rows).most_common(1)[0]
    if times > 1:
        raise DataError(
            f"{path} lists {repeated[0]}, point {repeated[1]}, view {repeated[2]} twice",
            "leave one of the two lines out",
        )
    return rows


def _buildings(path: Path, split: Split) -> list[str]:
    """Names marked for a split in a table with columns id, train, val, test."""
    names = [row["id"] for row in _table(path, ("id", split)) if row[split].strip().lower() in ("1", "x", "true")]
    if not names:
        raise DataError(f"{path} marks no building for {split}", f"mark some, or take the file of {LINK}")
    return names


def _table(path: Path, columns: Sequence[str]) -> list[Mapping[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows: list[Mapping[str, str]] = list(csv.DictReader(stream, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} can't be read as CSV ({error})", f"take the file of {LINK} or a list of {LISTS}"
        ) from error
    lacking = [name for name in columns if not rows or name not in rows[0]]
    if rows and lacking:
        raise DataError(f"{path} has no column {lacking[0]}", f"expected {', '.join(columns)}")
    return rows


def _views_of(root: Path, buildings: Sequence[str], layout: KnownLayout) -> list[Row]:
    """All color images of these buildings, shuffled by a hash of their names, so that the first rows are of all buildings."""
    rows: list[Row] = []
    for building in buildings:
        folder = folder_of(root, layout, IMAGE, building)
        names = [re.fullmatch(r"point_(\d+)_view_(\d+)_domain_rgb\.png", path.name) for path in folder.glob("*.png")]
        views = [(building, int(name[1]), int(name[2])) for name in names if name]
        if not views:
            raise DataError(
                f"there is no point_<p>_view_<v>_domain_rgb.png in {folder}, though the split file names {building}",
                "unpack its archives, or give a tiny_<split>.csv of the views to use",
            )
        rows += views
    return sorted(rows, key=lambda row: hashlib.sha256("/".join(map(str, row)).encode()).digest())
