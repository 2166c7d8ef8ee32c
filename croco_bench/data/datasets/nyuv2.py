"""NYU Depth v2 in its three common layouts; depth in metres.

Samples: `image` (H, W, 3) uint8 RGB, `depth_m` (H, W) float32, `valid` (H, W) bool, `id` str.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import h5py
import numpy as np

from croco_bench.data.checks.run_check import Finding, run_check
from croco_bench.data.datasets.nyuv2_mat import (
    MAT,
    MAT_LINK,
    SPLITS,
    SPLITS_LINK,
    Split,
    open_mat,
    read_splits,
    scene_names,
)
from croco_bench.data.folders import is_miniature, size_of_release
from croco_bench.data.formats.images import read_gray, read_rgb
from croco_bench.data.splitting import spread_indices
from croco_bench.errors import DataError
from croco_bench.files import fingerprint
from croco_bench.types import Sample

if TYPE_CHECKING:
    from croco_bench.contracts import Reader

Validity = Literal["raw", "all"]
Layout = Literal["mat", "bts", "folders"]
IMAGES: dict[Split, int] = {"train": 795, "test": 654}
_ALL_IMAGES = 1449
_IMAGES_LOOKED_AT = 5


class _Files:
    """Base of the three readers: a list of items under a root."""

    dataset = "nyuv2"
    split: str
    groups: Sequence[str]

    def __init__(self, root: Path, split: Split, ids: Sequence[str], groups: Sequence[str]) -> None:
        if not ids:
            raise DataError(f"the {split} split of NYUv2 in {root} is empty", "croco-bench data check nyuv2 says more")
        self.root, self.split, self.ids, self.groups = root, split, list(ids), list(groups)
        # BTS's training list is of raw recordings, of which users keep different frames.
        self.miniature = is_miniature(root)
        self.available = size_of_release(root, len(ids), IMAGES["test"] if split == "test" else None)

    def __len__(self) -> int:
        return len(self.ids)

    def _sources(self) -> list[Path]:
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Hash of the names and scenes of all items, and the sizes of their files."""
        sizes = [f"{path.relative_to(self.root)}:{path.stat().st_size}" for path in self._sources()]
        text = "\n".join([self.split, *sizes, *self.ids, *self.groups])
        return fingerprint(text)


class MatReader(_Files):
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
        rooms = [_room(scenes[index]) for index in indices]
        super().__init__(root, split, [f"{index:04d}" for index in indices], rooms)
        self._file: h5py.File | None = None
        self._process = -1

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def _sources(self) -> list[Path]:
        return [self.root / MAT, self.root / SPLITS]

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
                f"{self.root / MAT}: image {i} can't be read, the file is damaged", f"get it again from {MAT_LINK}"
            ) from error
        return {
            "image": np.ascontiguousarray(image.transpose(2, 1, 0)),
            "depth_m": np.ascontiguousarray(depth.T.astype(np.float32)),
            "valid": np.ascontiguousarray((raw.T > 0) & (depth.T > 0) & np.isfinite(depth.T)),
            "id": self.ids[index],
        }


def _room(scene: str) -> str:
    """`kitchen_0028b` -> `kitchen_0028`: the letter numbers recordings of one room, which must not be separated."""
    return re.sub(r"(?<=\d)[a-z]$", "", scene)


class FoldersReader(_Files):
    """MultiMAE's folders: `{train,test}/{rgb,depth,mask_valid}/<any>/<id>.png`, depth in 10/65536 m.

    A pixel is valid where its depth isn't 0 and, with `validity="raw"`, where `mask_valid` (if there is one) is 255.
    The folders don't name scenes; official ids are in the order of recording, so blocks of ten ids serve as scenes.
    """

    def __init__(self, root: Path, split: Split, validity: Validity) -> None:
        base = root / split
        self._rgb = sorted((base / "rgb").glob("*/*.png"))
        if not self._rgb:
            raise DataError(f"{base / 'rgb'} holds no PNG in a subfolder", f"expected {split}/rgb/data/0000.png")
        ids = [path.relative_to(base / "rgb").with_suffix("").as_posix() for path in self._rgb]
        self._masks = validity == "raw" and (base / "mask_valid").is_dir()
        stems = [path.stem for path in self._rgb]
        blocks = [f"block-{int(stem) // 10:04d}" if stem.isdecimal() else stem for stem in stems]
        super().__init__(root, split, ids, blocks)

    def _sources(self) -> list[Path]:
        return self._rgb

    def __getitem__(self, index: int) -> Sample:
        base, name = self.root / self.split, f"{self.ids[index]}.png"
        image = read_rgb(self._rgb[index])
        depth = read_gray(base / "depth" / name, np.uint16).astype(np.float32) * np.float32(10.0 / 65536.0)
        valid = read_gray(base / "mask_valid" / name, np.uint8) == 255 if self._masks else depth > 0
        sample = _consistent(
            {"image": image, "depth_m": depth, "valid": valid, "id": self.ids[index]}, self._rgb[index]
        )
        return {**sample, "valid": valid & (depth > 0)}


class BTSReader(_Files):
    """BTS's layout: `nyu_{train,test}.txt` with lines "<rgb> <depth> <focal>", depth in uint16 mm, 0 = invalid.

    Paths are below `root`, with or without a leading slash; a depth called None is left out.
    """

    def __init__(self, root: Path, split: Split) -> None:
        self._list = root / f"nyu_{split}.txt"
        if not self._list.is_file():
            raise DataError(f"there is no {self._list}", "BTS's layout needs nyu_train.txt and nyu_test.txt")
        text = self._list.read_text(encoding="utf-8", errors="replace")
        pairs = [line.split()[:2] for line in text.splitlines() if line.strip()]
        wrong = next((pair for pair in pairs if len(pair) < 2), None)
        if wrong:
            raise DataError(f'{self._list} has a line "{wrong[0][:60]}", expected "<rgb> <depth> <focal>"')
        kept = [(rgb.lstrip("/"), depth.lstrip("/")) for rgb, depth in pairs if depth != "None"]
        self._pairs = [(root / rgb, root / depth) for rgb, depth in kept]
        rooms = [_room(Path(rgb).parent.as_posix()) for rgb, _ in kept]
        super().__init__(root, split, [rgb for rgb, _ in kept], rooms)

    def _sources(self) -> list[Path]:
        return [self._list]

    def __getitem__(self, index: int) -> Sample:
        rgb, depth_path = self._pairs[index]
        depth = read_gray(depth_path, np.uint16).astype(np.float32) / np.float32(1000.0)
        return _consistent({"image": read_rgb(rgb), "depth_m": depth, "valid": depth > 0, "id": self.ids[index]}, rgb)


def _consistent(sample: Sample, path: Path) -> Sample:
    shapes = {name: value.shape[:2] for name, value in sample.items() if isinstance(value, np.ndarray)}
    if len(set(shapes.values())) != 1:
        sizes = ", ".join(f"{name} {shape[0]}x{shape[1]}" for name, shape in shapes.items())
        raise DataError(f"{path} and its targets differ in size ({sizes})", "the dataset is damaged")
    return sample


def layout_of(root: Path) -> Layout:
    """The layout of the files under `root`.

    Raises:
        DataError: it is none of the three.
    """
    if (root / MAT).exists() or (root / SPLITS).exists():
        return "mat"
    if (root / "nyu_test.txt").exists() or (root / "nyu_train.txt").exists():
        return "bts"
    if (root / "test" / "rgb").is_dir() or (root / "train" / "rgb").is_dir():
        return "folders"
    raise DataError(
        f"{root} holds NYUv2 in no known layout",
        f"expected {MAT} and {SPLITS} ({MAT_LINK}, {SPLITS_LINK}), or "
        "nyu_train.txt and nyu_test.txt, or train/rgb and test/rgb",
    )


def open_split(
    root: Path, split: Split, *, validity: Validity = "raw", layout: Layout | Literal["auto"] = "auto"
) -> Reader:
    """The reader of a split in the given layout; "auto" recognizes it from the files under `root`.

    Raises:
        DataError: files are missing or damaged.
    """
    known_layout = layout_of(root) if layout == "auto" else layout
    if known_layout == "mat":
        return MatReader(root, split, validity)
    return FoldersReader(root, split, validity) if known_layout == "folders" else BTSReader(root, split)


def check(root: Path) -> list[Finding]:
    """Findings on the layout, the official files, both splits, and a few images of each."""
    return run_check(root, _look)


def _look(root: Path) -> Iterator[Finding]:
    layout = layout_of(root)
    yield Finding(True, f"layout: {layout}")
    if layout == "mat":
        yield from _look_at_mat(root)
    for split in IMAGES:
        reader = open_split(root, split, layout=layout)
        yield _count(reader, layout, split)
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
    )
    if not is_miniature(root):
        yield Finding(
            (count, height, width) == (_ALL_IMAGES, 480, 640),
            f"{MAT}: {count} images of {height}x{width}",
            f"expected {_ALL_IMAGES} of 480x640; get it from {MAT_LINK}",
        )


def _count(reader: Reader, layout: Layout, split: Split) -> Finding:
    # BTS's training list is of raw recordings, of which users keep different frames.
    any_count = reader.miniature or (layout == "bts" and split == "train")
    what = f"{split}: {len(reader)} images in {len(set(reader.groups))} scenes"
    return Finding(any_count or len(reader) == IMAGES[split], what, f"expected {IMAGES[split]}")


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
        )
    median = float(np.median(medians))
    yield Finding(
        0.8 < median < 8,
        f"{reader.split}: median depth {median:.2f} m",
        "rooms have 1 to 6 m; if the depth files came from a script, it wrote another unit than this layout's",
    )
