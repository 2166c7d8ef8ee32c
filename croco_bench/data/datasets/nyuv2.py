"""NYU Depth v2: the official `.mat`, and layouts of image files and lists; depth in metres.

Samples: `image` (H, W, 3) uint8 RGB, `depth_m` (H, W) float32, `valid` (H, W) bool, `id` str.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import h5py
import numpy as np

from croco_bench.data.checks.run_check import Finding, optional, run_check
from croco_bench.data.datasets.nyuv2_files import (
    CROPS,
    LISTS,
    TABLE,
    CropsReader,
    FilesReader,
    FoldersReader,
    Validity,
    find_crops,
    find_list,
    find_table,
    read_list,
    read_table,
    room_of,
)
from croco_bench.data.datasets.nyuv2_mat import (
    IMAGES,
    MAT,
    MAT_LINK,
    SPLITS,
    SPLITS_LINK,
    Split,
    open_mat,
    read_splits,
    scene_names,
)
from croco_bench.data.folders import is_miniature
from croco_bench.data.splitting import assumptions_of, spread_indices
from croco_bench.errors import DataError
from croco_bench.types import Sample

if TYPE_CHECKING:
    from croco_bench.contracts import Reader

Layout = Literal["mat", "bts", "folders", "kaggle", "npy"]
_ALL_IMAGES = 1449
_IMAGES_LOOKED_AT = 5


class MatReader(FilesReader):
    """The official `.mat` (HDF5, axes reversed) with `splits.mat`, one image at a time.

    Depth is the in-painted `depths`; with `validity="raw"`, only measured pixels are valid (`rawDepths` > 0).
    """

    def __init__(self, root: Path, split: Split, validity: Validity) -> None:
        indices = read_splits(root)[split]
        with open_mat(root) as file:
            total, scenes = len(file["images"]), scene_names(file)
        if indices.size and int(indices[-1]) >= total:
            raise DataError(
                f"{root / SPLITS} names image {int(indices[-1]) + 1}, but {root / MAT} has {total}",
                f"the two files don't belong together: get both from {MAT_LINK} and {SPLITS_LINK}",
            )
        self._indices, self._validity = indices, validity
        rooms = [room_of(scenes[index]) for index in indices]
        super().__init__(root, split, [f"{index:04d}" for index in indices], rooms)
        measured = "those that the sensor measured (rawDepths > 0)"
        self.assumptions = (
            f"valid pixels are {measured if validity == 'raw' else 'all, in-painted ones too (validity=all)'}",
        )
        if not (root / SPLITS).is_file():
            self.assumptions += (f"there is no {SPLITS}; the official lists of 795 and 654 images are built in",)
        self._file: h5py.File | None = None
        self._process = -1

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def _sources(self) -> list[Path]:
        return [path for path in (self.root / MAT, self.root / SPLITS) if path.is_file()]

    def _open(self) -> h5py.File:
        """A file handle of this process: HDF5 handles must not be used after a fork."""
        if self._file is None or self._process != os.getpid():
            self._file = None  # close an inherited handle first, or HDF5 reuses its descriptor
            self._file, self._process = open_mat(self.root), os.getpid()
        return self._file

    def __getitem__(self, index: int) -> Sample:
        i, file = int(self._indices[index]), self._open()
        try:
            image, depth = file["images"][i], file["depths"][i]
            raw = file["rawDepths"][i] if self._validity == "raw" else depth
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"{self.root / MAT}: image {i} can't be read ({error})",
                f"the file or the disk is damaged: copy it anew, or get it again from {MAT_LINK}",
            ) from error
        return {
            "image": np.ascontiguousarray(image.transpose(2, 1, 0)),
            "depth_m": np.ascontiguousarray(depth.T.astype(np.float32)),
            "valid": np.ascontiguousarray((raw.T > 0) & (depth.T > 0) & np.isfinite(depth.T)),
            "id": self.ids[index],
        }


def layout_of(root: Path) -> Layout:
    """The layout of the files under `root`.

    Raises:
        DataError: none is recognized.
    """
    if (root / MAT).exists() or (root / SPLITS).exists():
        return "mat"
    if any(find_list(root, split) for split in IMAGES):
        return "bts"
    if any((root / split / "rgb").is_dir() for split in IMAGES):
        return "folders"
    if any(find_table(root, split) for split in IMAGES):
        return "kaggle"
    if find_crops(root):
        return "npy"
    raise DataError(
        f"{root} holds NYUv2 in no known layout",
        f"expected {MAT} and {SPLITS} ({MAT_LINK}, {SPLITS_LINK}), or BTS's lists "
        f"({' or '.join(LISTS).format('train', 'train')}), or train/rgb and test/rgb, or data/{TABLE.format('train')}, "
        f"or {' and '.join(CROPS)}",
    )


def open_split(
    root: Path, split: Split, *, validity: Validity = "raw", layout: Layout | Literal["auto"] = "auto"
) -> Reader:
    """The reader of a split in the given layout; "auto" recognizes it from the files under `root`.

    Raises:
        DataError: files are missing or damaged.
    """
    match layout_of(root) if layout == "auto" else layout:
        case "mat":
            return MatReader(root, split, validity)
        case "folders":
            return FoldersReader(root, split, validity)
        case "bts":
            return read_list(root, split)
        case "kaggle":
            return read_table(root, split)
        case "npy":
            return CropsReader(root, split)


def check(root: Path) -> list[Finding]:
    """Findings on the layout, the official files, both splits, and a few images of each."""
    return run_check(root, _look_at_layout, *(optional(partial(_look_at, split=split)) for split in IMAGES))


def _look_at_layout(root: Path) -> Iterator[Finding]:
    layout = layout_of(root)
    yield Finding(True, f"layout: {layout}")
    if layout == "mat":
        yield from _look_at_mat(root)


def _look_at(root: Path, *, split: Split) -> Iterator[Finding]:
    layout = layout_of(root)
    reader = open_split(root, split, layout=layout)
    yield _count(reader, layout, split)
    for note in assumptions_of(reader):
        known = "no masks" not in note
        yield Finding(known, note.replace("nyuv2", split, 1), "task.validity=all says so on purpose", stops=False)
    yield from _look_at_images(reader)


def _look_at_mat(root: Path) -> Iterator[Finding]:
    splits = read_splits(root)
    with open_mat(root) as file:
        count, _, width, height = file["images"].shape
        types = tuple(str(file[name].dtype) for name in ("images", "depths", "rawDepths"))
    yield Finding(
        types == ("uint8", "float32", "float32"), f"types: {', '.join(types)}", "expected uint8, float32, float32"
    )
    named = sum(len(indices) for indices in splits.values())
    yield Finding(
        named == count,
        f"splits: {named} of {count} images, none twice",
        f"{SPLITS} belongs to another file; get it from {SPLITS_LINK}",
        stops=False,
    )
    if not is_miniature(root):
        yield Finding(
            (count, height, width) == (_ALL_IMAGES, 480, 640),
            f"{MAT}: {count} images of {height}x{width}",
            f"the release ({MAT_LINK}) has {_ALL_IMAGES} of 480x640",
            stops=False,
        )


def _count(reader: Reader, layout: Layout, split: Split) -> Finding:
    # BTS's training list and Kaggle's are of raw recordings, of which users keep different frames.
    any_count = reader.miniature or (layout in ("bts", "kaggle") and split == "train")
    what = f"{split}: {len(reader)} images in {len(set(reader.groups))} scenes"
    return Finding.count(any_count or len(reader) == IMAGES[split], what, f"the release has {IMAGES[split]}", reader)


def _look_at_images(reader: Reader) -> Iterator[Finding]:
    """A few images spread over the split, then the unit of their depths."""
    medians = []
    for i in spread_indices(len(reader), _IMAGES_LOOKED_AT):
        sample = reader[i]
        depth, share = sample["depth_m"][sample["valid"]], float(sample["valid"].mean())
        near, far = (float(depth.min()), float(depth.max())) if depth.size else (np.nan, np.nan)
        medians.append(float(np.median(depth)) if depth.size else np.nan)
        yield Finding(
            share > 0.2 and near > 0 and far < 20 and float(sample["image"].std()) > 1,
            f"{reader.split} {sample['id']}: depth {near:.2f} to {far:.2f} m, {share:.0%} valid",
            "expected 0 to 20 m, more than 20 % valid, and an image that isn't blank",
            stops=False,
        )
    median = float(np.median(medians))
    low, high = FilesReader.usual["depth_m"]
    yield Finding(
        low < median < high,
        f"{reader.split}: median depth {median:.2f} m",
        "rooms have 1 to 6 m; if the depth files came from a script, it wrote another unit than this layout's",
        stops=False,
    )
