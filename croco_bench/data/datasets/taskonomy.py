"""Taskonomy's eight regression domains, in the folders that MultiMAE, Omnidata or the release have.

Samples: `image` (H, W, 3) uint8 RGB, `target` (H, W, C) float32 as MultiMAE decodes it, `valid` (H, W) bool, `id` str.
Pixels are valid where `mask_valid` is 255, or without masks, which aren't part of the release, where `depth_zbuffer` isn't
65535. A view with neither is an error: targets are noise in holes of the scan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import cv2
import numpy as np

from croco_bench.data.datasets.taskonomy_files import (
    DEPTH,
    IMAGE,
    LINK,
    MASK,
    KnownLayout,
    MaskSource,
    folder_of,
    layout_of,
    mask_source,
)
from croco_bench.data.datasets.taskonomy_gaps import truncated_files
from croco_bench.data.datasets.taskonomy_lists import VIEWS, Row, Split, read_list
from croco_bench.data.folders import is_miniature, size_of_release
from croco_bench.data.formats.images import read_any, read_rgb
from croco_bench.data.splitting import spread_indices
from croco_bench.errors import DataError, UsageError, unknown
from croco_bench.files import fingerprint
from croco_bench.types import Array, Sample

Layout = Literal["auto", "tasks", "omnidata", "buildings", "archives"]
Masks = Literal["auto", "mask_valid", "depth"]
# Depth where the scan has a hole.
_UNKNOWN_DEPTH = 2**16 - 1
# The fingerprint includes the file sizes of this many rows, spread over the split.
_ROWS_WITH_SIZES = 16
# At most this many views that are left out are named.
_NAMED = 5


@dataclass(frozen=True)
class Domain:
    """One target: its files hold `stored` channels of `bits`, of which the first `channels` are used.

    A number x becomes min(x / (2^bits - 1), limit) / limit. `folder` is the name of the folder and of the files.
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


# The third channel of principal curvature has no meaning; depth is in 1/512 m, clipped at 8000 of them (15.6 m).
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


@dataclass(frozen=True)
class Files:
    """How the files below `root` are arranged, and which of them say what pixels are valid."""

    root: Path
    layout: KnownLayout
    masks: MaskSource

    def path(self, row: Row, folder: str, name: str | None = None) -> Path:
        """The file of a view in `folder`; its name ends with `name`, or by default with the folder's name."""
        building, point, view = row
        file = f"point_{point}_view_{view}_domain_{name or folder}.png"
        return folder_of(self.root, self.layout, folder, building) / file

    def mask(self, row: Row) -> Path:
        """The file that says which pixels of a view are valid."""
        return self.path(row, MASK if self.masks == "mask_valid" else DEPTH, DEPTH)


class TaskonomyReader:
    """Views of one split with one domain's targets. `assumptions` are notes for the result."""

    dataset = "taskonomy"
    usual: Mapping[str, tuple[float, float]]

    def __init__(self, files: Files, split: Split, domain: str, rows: Sequence[Row], available: int) -> None:
        self._files, self._rows, self._name, self._domain = files, list(rows), domain, DOMAINS[domain]
        self.split: str = split
        # Of 15.6 m: rooms have 1 to 6 m.
        self.usual = {"target": (0.03, 0.6)} if domain == "depth" else {}
        self._split: Split = split
        self.available, self.miniature = available, is_miniature(files.root)
        self.assumptions: tuple[str, ...] = ()
        if files.masks == "depth":
            self.assumptions = ("there is no mask_valid, so pixels are valid where depth_zbuffer isn't 65535",)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def groups(self) -> Sequence[str]:
        """The buildings."""
        return [building for building, _, _ in self._rows]

    def fingerprint(self) -> str:
        """Hash of the rows, the domain, the origin of masks, and the sizes of a few files; equal in all layouts."""
        rows = [self._rows[i] for i in spread_indices(len(self), _ROWS_WITH_SIZES)]
        paths = [self._files.path(row, folder) for row in rows for folder in (IMAGE, self._domain.folder)]
        sizes = [str(path.stat().st_size if path.is_file() else "absent") for path in paths]
        masks = [] if self._files.masks == "mask_valid" else [f"masks from {self._files.masks}"]
        lines = [self.split, self._domain.folder, *masks, *sizes, *(f"{a},{b},{c}" for a, b, c in self._rows)]
        return fingerprint("\n".join(lines))

    def _files_of(self) -> dict[Path, Row]:
        """Every file of the split, with its view."""
        folders: tuple[Callable[[Row], Path], ...] = (
            lambda row: self._files.path(row, IMAGE),
            lambda row: self._files.path(row, self._domain.folder),
            self._files.mask,
        )
        return {path_of(row): row for path_of in folders for row in self._rows}

    def absent_files(self) -> dict[Path, Row]:
        """Missing files of the split; lists folders rather than asking for every file."""
        listed: dict[Path, set[str]] = {}
        for parent in {path.parent for path in self._files_of()}:
            listed[parent] = {entry.name for entry in parent.iterdir()} if parent.is_dir() else set()
        return {path: row for path, row in self._files_of().items() if path.name not in listed[path.parent]}

    def without_gaps(self, allow_missing: float) -> TaskonomyReader:
        """This reader, or one without the views that lack a file or have a truncated one, up to a share of `allow_missing`.

        Raises:
            DataError: there are more of these views.
        """
        absent = self.absent_files()
        there = {path: row for path, row in self._files_of().items() if path not in absent}
        damaged = {path: there[path] for path in truncated_files(list(there))}
        rows = {*absent.values(), *damaged.values()}
        if len(rows) > allow_missing * len(self):
            self._refuse(list(absent), list(damaged), len(rows) / len(self))
        if not rows:
            return self
        kept = TaskonomyReader(
            self._files, self._split, self._name, [row for row in self._rows if row not in rows], self.available
        )
        kept.assumptions = (
            *self.assumptions,
            *self._left_out("lack a file", absent),
            *self._left_out("have a truncated or damaged file", damaged),
        )
        return kept

    def _left_out(self, why: str, files: Mapping[Path, Row]) -> list[str]:
        """A note on views that are left out, if there are any."""
        rows = sorted(set(files.values()))
        names, more = ", ".join(_id(row) for row in rows[:_NAMED]), ", …" if len(rows) > _NAMED else ""
        text = f"{len(rows)} of {len(self)} views of the {self.split} split {why} and are left out ({names}{more})"
        return [text] if rows else []

    def _refuse(self, absent: Sequence[Path], damaged: Sequence[Path], share: float) -> NoReturn:
        total, split = 3 * len(self), self.split
        if not absent:
            raise DataError(
                f"{damaged[0]} is truncated or damaged, as are {len(damaged)} of {total} files of the {split} split in all",
                self._advice(damaged[0], share),
            )
        rest = f", {len(damaged)} truncated or damaged" if damaged else ""
        raise DataError(
            f"there is no {absent[0]}, and {len(absent)} of {total} files of the {split} split are absent{rest}",
            self._advice(absent[0], share),
        )

    def _advice(self, path: Path, share: float) -> str:
        """Where to get a missing file, and how to do without."""
        without = f"task.allow_missing={math.ceil(share * 1000) / 1000:g} leaves these views out"
        if share == 1:
            without = "or take lists of the views that are there"
        if MASK in path.parts:
            return (
                "masks aren't part of Taskonomy's release: make the missing ones, or take task.masks=depth, which reads "
                "them from depth_zbuffer"
            )
        if self._files.masks == "depth" and path.name.endswith(f"_{DEPTH}.png"):
            return (
                "there is no mask_valid, and Taskonomy was released without: unknown depth says which pixels are valid, so "
                f"every domain needs depth_zbuffer beside it (from {LINK}); {without}"
            )
        return f"get them from {LINK}; {without}"

    def __getitem__(self, index: int) -> Sample:
        row = self._rows[index]
        path, mask = self._files.path(row, self._domain.folder), self._files.mask(row)
        image, target = read_rgb(self._files.path(row, IMAGE)), self._domain.decode(_read(path, self._domain))
        valid = _read_mask(mask) if self._files.masks == "mask_valid" else _known_depth(mask)
        for other, what in ((path, target), (mask, valid)):
            if what.shape[:2] != image.shape[:2]:
                raise DataError(
                    f"{other} is {what.shape[0]}x{what.shape[1]}, but its image is {image.shape[0]}x{image.shape[1]}",
                    "one of them was resized: take both at one size",
                )
        return {"image": image, "target": target, "valid": valid, "id": _id(row)}


def _id(row: Row) -> str:
    building, point, view = row
    return f"{building}/point_{point}_view_{view}"


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


def _known_depth(path: Path) -> Array:
    """Where depth is known (H, W)."""
    depth = _read(path, DOMAINS["depth"])
    known: Array = depth.reshape(*depth.shape[:2], -1)[:, :, 0] != _UNKNOWN_DEPTH
    return known


def open_split(
    root: Path,
    split: Split,
    *,
    domain: str,
    rows: int | None = None,
    layout: Layout = "auto",
    masks: Masks = "auto",
    allow_missing: float = 0.01,
) -> TaskonomyReader:
    """A split with the targets of one domain; the first `rows` rows of its list (MultiMAE's 800 and 200), or all.

    Views that lack a file, or have a truncated one, are left out and noted, up to a share of `allow_missing`.

    Raises:
        DataError: no list, a list that can't be read, or files that aren't there.
        UsageError: no such domain.
    """
    if domain not in DOMAINS:
        raise unknown("domain", domain, DOMAINS)
    if rows is not None and rows < 1:
        raise UsageError(f"{rows} rows of the {split} list leave nothing to do", "give at least 1")
    known_layout = layout_of(root) if layout == "auto" else layout
    files = Files(root, known_layout, mask_source(root, known_layout) if masks == "auto" else masks)
    listed = read_list(root, split, known_layout)
    available = size_of_release(root, len(listed), VIEWS[split])
    return TaskonomyReader(files, split, domain, listed[:rows], available).without_gaps(allow_missing)


def block_dilated(valid: Array) -> Array:
    """Valid pixels (H, W) without the blocks of 4x4 (smaller at the border) that have an invalid one, as in MultiMAE."""
    height, width = valid.shape
    tall, wide = -(-height // 4) * 4, -(-width // 4) * 4
    padded = np.pad(valid, ((0, tall - height), (0, wide - width)), constant_values=True)
    blocks = padded.reshape(tall // 4, 4, wide // 4, 4).all(axis=(1, 3))
    kept: Array = blocks.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]
    return kept


def softened(target: Array) -> Array:
    """(H, W, C) filtered by a 3x3 Gaussian of sigma 1, as MultiMAE softens occlusion edges after resizing."""
    blurred: Array = cv2.GaussianBlur(target, (3, 3), 1.0, borderType=cv2.BORDER_REFLECT_101)
    return blurred.reshape(target.shape)
