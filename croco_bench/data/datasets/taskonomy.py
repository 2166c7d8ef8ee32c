"""Taskonomy's eight regression domains, task by task as MultiMAE has them or building by building as they are released.

Samples: `image` (H, W, 3) uint8 RGB, `target` (H, W, C) float32 as MultiMAE decodes it, `valid` (H, W) bool, `id` str.
Valid is where `mask_valid` is 255. A view without a mask is an error: where the scan has holes its targets are noise.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from croco_bench.data.catalogue import is_miniature
from croco_bench.data.formats.images import read_any, read_rgb
from croco_bench.errors import DataError, UsageError, unknown
from croco_bench.types import Array, Sample

Split = Literal["train", "val", "test"]
Layout = Literal["auto", "tasks", "buildings"]
Row = tuple[str, int, int]  # building, point, view

LINK = "https://github.com/StanfordVL/taskonomy/tree/master/data"
LISTS = "https://github.com/EPFL-VILAB/MultiMAE/tree/main/utils/taskonomy/splits_taskonomy"
# Depth and invalid pixels of one view share a file name.
_MASK, _MASK_NAME = "mask_valid", "depth_zbuffer"
_IMAGE = "rgb"
_TINY = "train_val_test_tiny.csv"
# Files of so many rows, spread over the split, give their sizes to the fingerprint.
_WEIGHED = 16


@dataclass(frozen=True)
class Domain:
    """One target: the name of its folder and files, channels kept of how many in the file, and what its numbers become.

    A number x of `bits` becomes min(x / (2^bits - 1), limit) / limit.
    """

    folder: str
    channels: int
    bits: Literal[8, 16]
    limit: float = 1.0
    stored: int = 1

    def decode(self, numbers: Array) -> Array:
        """File content (H, W) or (H, W, stored) -> target (H, W, channels) float32 in [0, 1]."""
        whole = numbers.reshape(*numbers.shape[:2], -1)[:, :, : self.channels]
        shares: Array = np.minimum(whole / np.float64(2**self.bits - 1), self.limit) / self.limit
        return shares.astype(np.float32)


# Principal curvature has a third channel without meaning; depth counts 1/512 m and is cut at 8000 of them (15.6 m).
DOMAINS: dict[str, Domain] = {
    "curvature": Domain("principal_curvature", 2, 8, stored=3),
    "depth": Domain("depth_zbuffer", 1, 16, limit=8000 / 65535),
    "edges": Domain("edge_texture", 1, 16, limit=0.25),
    "keypoints2d": Domain("keypoints2d", 1, 16),
    "keypoints3d": Domain("keypoints3d", 1, 16),
    "normals": Domain("normal", 3, 8, stored=3),
    "occlusion": Domain("edge_occlusion", 1, 16),
    "reshading": Domain("reshading", 1, 8),
}


class TaskonomyReader:
    """Views of one split with one domain's targets."""

    dataset = "taskonomy"

    def __init__(
        self, root: Path, split: Split, domain: str, rows: Sequence[Row], layout: Layout, available: int
    ) -> None:
        self._root, self._rows, self._domain, self._by_task = root, list(rows), DOMAINS[domain], layout == "tasks"
        self.split: str = split
        self.available, self.miniature = available, is_miniature(root)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def groups(self) -> Sequence[str]:
        """The buildings."""
        return [building for building, _, _ in self._rows]

    def fingerprint(self) -> str:
        """Of the rows, the domain, and the sizes of a few files: a split has 54,514. It is the same in both layouts."""
        chosen = np.unique(np.linspace(0, len(self) - 1, _WEIGHED).astype(int))
        paths = [self.path(int(index), folder) for index in chosen for folder in (_IMAGE, self._domain.folder)]
        sizes = [str(path.stat().st_size if path.is_file() else "absent") for path in paths]
        text = "\n".join([self.split, self._domain.folder, *sizes, *(f"{a},{b},{c}" for a, b, c in self._rows)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def path(self, index: int, folder: str, name: str | None = None) -> Path:
        """The file of row `index` in `folder`, whose files are called after `name` or the folder itself."""
        building, point, view = self._rows[index]
        place = self._root / folder / building if self._by_task else self._root / building / folder
        return place / f"point_{point}_view_{view}_domain_{name or folder}.png"

    def check_files(self) -> None:
        """Sees to it that all files are there, by listing folders: told before a training, not after it.

        Raises:
            DataError: some aren't.
        """
        listed: dict[Path, set[str]] = {}
        absent: list[Path] = []
        for folder, name in ((_IMAGE, None), (self._domain.folder, None), (_MASK, _MASK_NAME)):
            for index in range(len(self)):
                path = self.path(index, folder, name)
                place = path.parent
                if place not in listed:
                    listed[place] = {entry.name for entry in place.iterdir()} if place.is_dir() else set()
                if path.name not in listed[place]:
                    absent.append(path)
        if absent:
            raise DataError(
                f"there is no {absent[0]}, and {len(absent)} of {3 * len(self)} files of the {self.split} split are absent",
                f"get them from {LINK}, or take lists of the views that are there",
            )

    def __getitem__(self, index: int) -> Sample:
        path = self.path(index, self._domain.folder)
        image, target = read_rgb(self.path(index, _IMAGE)), self._domain.decode(_read(path, self._domain))
        mask = self.path(index, _MASK, _MASK_NAME)
        valid = _read_mask(mask)
        for other, what in ((path, target), (mask, valid)):
            if what.shape[:2] != image.shape[:2]:
                raise DataError(
                    f"{other} is {what.shape[0]}x{what.shape[1]}, but its image is {image.shape[0]}x{image.shape[1]}",
                    "get both again",
                )
        building, point, view = self._rows[index]
        return {"image": image, "target": target, "valid": valid, "id": f"{building}/point_{point}_view_{view}"}


def _read(path: Path, domain: Domain) -> Array:
    """File content in RGB order, of the domain's depth."""
    numbers = read_any(path)
    stored = 1 if numbers.ndim == 2 else numbers.shape[2]
    if numbers.dtype.itemsize * 8 != domain.bits or stored < domain.stored:
        raise DataError(
            f"{path} should have {domain.bits} bits and {domain.stored} channel(s), but has "
            f"{numbers.dtype.itemsize * 8} and {stored}",
            f"it isn't Taskonomy's {domain.folder} image",
        )
    return numbers


def _read_mask(path: Path) -> Array:
    """Valid pixels (H, W)."""
    numbers = read_any(path)
    if numbers.dtype != np.uint8:
        raise DataError(
            f"{path} should have 8 bits, 255 where valid, but is {numbers.dtype}", "it isn't Taskonomy's mask"
        )
    valid: Array = numbers.reshape(*numbers.shape[:2], -1)[:, :, 0] == 255
    return valid


def open_split(
    root: Path, split: Split, *, domain: str, rows: int | None = None, layout: Layout = "auto"
) -> TaskonomyReader:
    """A split with the targets of one domain; the first `rows` rows of its list (MultiMAE's 800 and 200), or all.

    Raises:
        DataError: no list, a list that can't be read, or files that aren't there.
        UsageError: no such domain.
    """
    if domain not in DOMAINS:
        raise unknown("domain", domain, DOMAINS)
    if rows is not None and rows < 1:
        raise UsageError(f"{rows} rows of the {split} list leave nothing to do", "give at least 1")
    layout = layout_of(root) if layout == "auto" else layout
    listed = read_list(root, split, layout)
    reader = TaskonomyReader(root, split, domain, listed[:rows], layout, len(listed))
    reader.check_files()
    return reader


def layout_of(root: Path) -> Literal["tasks", "buildings"]:
    """Whether domains hold buildings, or buildings domains.

    Raises:
        DataError: neither.
    """
    if (root / "rgb").is_dir():
        return "tasks"
    if any(root.glob("*/rgb")):
        return "buildings"
    tars = sorted(root.glob("*.tar"))
    if tars:
        raise DataError(
            f"{root} holds archives such as {tars[0].name}",
            f"unpack each <building>_<domain>.tar into {root}/<building>/<domain>/",
        )
    raise DataError(f"{root} has neither rgb/<building>/ nor <building>/rgb/", f"get Taskonomy from {LINK}")


def read_list(root: Path, split: Split, layout: Literal["tasks", "buildings"]) -> list[Row]:
    """The rows of `tiny_<split>.csv` or `<split>.csv`; else all views of the buildings that the official split file names.

    Raises:
        DataError: there is no list, or a row is wrong or twice there.
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
    found: list[Row] = []
    for number, row in enumerate(_table(path, ("building", "point", "view")), start=2):
        try:
            building, point, view = row["building"], int(row["point"]), int(row["view"])
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{path}, line {number}: point and view should be whole numbers", f"get {LISTS} again"
            ) from error
        if not building or min(point, view) < 0:
            raise DataError(
                f"{path}, line {number}: expected a building and counts from 0, found {building},{point},{view}",
                f"get {LISTS} again",
            )
        found.append((building, point, view))
    if not found:
        raise DataError(f"{path} lists no view", f"get {LISTS} again")
    twice, times = Counter(found).most_common(1)[0]
    if times > 1:
        raise DataError(f"{path} lists {twice[0]}, point {twice[1]}, view {twice[2]} twice", f"get {LISTS} again")
    return found


def _buildings(path: Path, split: Split) -> list[str]:
    """Names marked for a split in a table with columns id, train, val, test."""
    names = [row["id"] for row in _table(path, ("id", split)) if row[split].strip().lower() in ("1", "x", "true")]
    if not names:
        raise DataError(f"{path} marks no building for {split}", f"get it again from {LINK}")
    return names


def _table(path: Path, columns: Sequence[str]) -> list[Mapping[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows: list[Mapping[str, str]] = list(csv.DictReader(stream, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} can't be read as CSV ({error})", "get it again") from error
    lacking = [name for name in columns if not rows or name not in rows[0]]
    if rows and lacking:
        raise DataError(f"{path} has no column {lacking[0]}", f"expected {', '.join(columns)}")
    return rows


def _views_of(root: Path, buildings: Sequence[str], layout: Literal["tasks", "buildings"]) -> list[Row]:
    """All colour images of these buildings, shuffled by a hash of their names: the first rows are of all buildings."""
    found: list[Row] = []
    for building in buildings:
        folder = root / "rgb" / building if layout == "tasks" else root / building / "rgb"
        names = [re.fullmatch(r"point_(\d+)_view_(\d+)_domain_rgb\.png", path.name) for path in folder.glob("*.png")]
        views = [(building, int(name[1]), int(name[2])) for name in names if name]
        if not views:
            raise DataError(
                f"there is no point_<p>_view_<v>_domain_rgb.png in {folder}, though the split file names {building}",
                "unpack its archives, or give a tiny_<split>.csv of the views to use",
            )
        found += views
    return sorted(found, key=lambda row: hashlib.sha256("/".join(map(str, row)).encode()).digest())


def block_dilated(valid: Array) -> Array:
    """Valid pixels (H, W) less whole blocks of 4x4 in which any is invalid, as MultiMAE has it; a remainder is a block."""
    height, width = valid.shape
    tall, wide = -(-height // 4) * 4, -(-width // 4) * 4
    padded = np.pad(valid, ((0, tall - height), (0, wide - width)), constant_values=True)
    blocks = padded.reshape(tall // 4, 4, wide // 4, 4).all(axis=(1, 3))
    kept: Array = blocks.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]
    return kept


def softened(target: Array) -> Array:
    """A 3x3 Gaussian of one pixel's deviation over (H, W, C), as MultiMAE softens occlusion edges after resizing."""
    blurred: Array = cv2.GaussianBlur(target, (3, 3), 1.0, borderType=cv2.BORDER_REFLECT_101)
    return blurred.reshape(target.shape)
