"""NYU Depth v2 in the three layouts people have it in; depth in metres everywhere.

Samples: `image` (H, W, 3) uint8 RGB, `depth_m` (H, W) float32, `valid` (H, W) bool, `id` str.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import scipy.io

from croco_bench.contracts import Reader, Sample
from croco_bench.data.images import read_gray, read_rgb
from croco_bench.data.places import is_miniature
from croco_bench.errors import DataError

Split = Literal["train", "test"]
Validity = Literal["raw", "all"]
MAT, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
MAT_LINK = "http://horatio.cs.nyu.edu/mit/silberman/nyu_depth_v2/nyu_depth_v2_labeled.mat"
SPLITS_LINK = "http://horatio.cs.nyu.edu/mit/silberman/indoor_seg_sup/splits.mat"
_INDEX = {"train": "trainNdxs", "test": "testNdxs"}


class _Files:
    """What the three readers share: a list of items under a root."""

    dataset = "nyuv2"

    def __init__(self, root: Path, split: Split, ids: Sequence[str], groups: Sequence[str]) -> None:
        self.root, self.split, self.ids, self.groups = root, split, list(ids), list(groups)
        self.miniature, self.available = is_miniature(root), len(ids)

    def __len__(self) -> int:
        return len(self.ids)

    def _sources(self) -> list[Path]:
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Of the names and scenes of all items and the sizes of the files they come from."""
        sizes = [f"{path.relative_to(self.root)}:{path.stat().st_size}" for path in self._sources()]
        text = "\n".join([self.split, *sizes, *self.ids, *self.groups])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class MatReader(_Files):
    """The official `.mat` (HDF5, axes reversed) with `splits.mat`, one image at a time.

    Depth is the in-painted `depths`; `validity="raw"` counts only pixels that the sensor measured (`rawDepths` > 0).
    """

    def __init__(self, root: Path, split: Split, validity: Validity) -> None:
        indices = read_splits(root)[split]
        with open_mat(root) as file:
            total = file["images"].shape[0]
            if indices.size and int(indices.max()) >= total:
                raise DataError(
                    f"{root / SPLITS} names image {int(indices.max()) + 1}, but {root / MAT} has {total}; the two files "
                    f"don't belong together: get both from {MAT_LINK} and {SPLITS_LINK}"
                )
            scenes = _scene_names(file)
        self._indices, self._validity = indices, validity
        super().__init__(root, split, [f"{index:04d}" for index in indices], [scenes[index] for index in indices])
        self._file: h5py.File | None = None
        self._process = -1

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def _sources(self) -> list[Path]:
        return [self.root / MAT, self.root / SPLITS]

    def __getitem__(self, index: int) -> Sample:
        if self._file is None or self._process != os.getpid():  # HDF5 handles must not cross a fork
            self._file, self._process = open_mat(self.root), os.getpid()
        place = int(self._indices[index])
        try:
            image, depth = self._file["images"][place], self._file["depths"][place]
            raw = self._file["rawDepths"][place] if self._validity == "raw" else depth
        except OSError as error:
            raise DataError(
                f"{self.root / MAT}: image {place} can't be read, the file is damaged; get it again from {MAT_LINK}"
            ) from error
        return {
            "image": np.ascontiguousarray(image.transpose(2, 1, 0)),
            "depth_m": np.ascontiguousarray(depth.T.astype(np.float32)),
            "valid": np.ascontiguousarray((raw > 0).T & np.isfinite(depth.T)),
            "id": self.ids[index],
        }


def open_mat(root: Path) -> h5py.File:
    """The open `.mat`; checks that it is whole and has the official axes.

    Raises:
        DataError: it is missing, truncated, of another kind, or lacks something.
    """
    path = root / MAT
    if not path.is_file():
        raise DataError(f"there is no {path}; get it (2.8 GB) from {MAT_LINK}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(
            f"{path} is truncated or no MATLAB 7.3 file; expected 2.8 GB of HDF5 from {MAT_LINK}"
        ) from error
    lacking = [name for name in ("images", "depths", "rawDepths") if name not in file]
    if lacking:
        raise DataError(f"{path} lacks {', '.join(lacking)}; it isn't the labelled dataset of {MAT_LINK}")
    images, depths, raw = (file[name].shape for name in ("images", "depths", "rawDepths"))
    if len(images) != 4 or images[1] != 3 or depths != (images[0], *images[2:]) or raw != depths:
        raise DataError(
            f"{path}: images {images}, depths {depths} and rawDepths {raw} should be (n, 3, W, H), (n, W, H), (n, W, H)"
        )
    return file


def read_splits(root: Path) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
    """0-based indices of both splits; the file counts from 1."""
    path = root / SPLITS
    if not path.is_file():
        raise DataError(f"there is no {path}; get it from {SPLITS_LINK}")
    try:
        content = scipy.io.loadmat(path)
        return {split: content[key].ravel().astype(np.int64) - 1 for split, key in _INDEX.items()}
    except (ValueError, KeyError, NotImplementedError, OSError, TypeError) as error:
        raise DataError(
            f"{path} should hold trainNdxs and testNdxs (MATLAB 5), but it doesn't; get it from {SPLITS_LINK}"
        ) from error


def _scene_names(file: h5py.File) -> list[str]:
    """Scene of every image, from the cell array `scenes`."""
    key = "scenes" if "scenes" in file else "sceneTypes"
    if key not in file:
        raise DataError(
            f"{file.filename} lacks scenes and sceneTypes, so scenes can't be kept apart; get it from {MAT_LINK}"
        )
    references = np.asarray(file[key]).ravel()
    return ["".join(map(chr, np.asarray(file[reference]).ravel())) for reference in references]


class FoldersReader(_Files):
    """MultiMAE's folders: `{train,test}/{rgb,depth,mask_valid}/<any>/<id>.png`, depth in 10/65536 m.

    Without `mask_valid` a pixel is valid where its depth isn't 0. The folders don't name scenes; official ids follow the
    recording, so runs of ten ids stand for scenes.
    """

    def __init__(self, root: Path, split: Split) -> None:
        base = root / split
        self._rgb = sorted((base / "rgb").glob("*/*.png"))
        if not self._rgb:
            raise DataError(f"{base / 'rgb'} holds no PNG in a subfolder; expected {split}/rgb/data/0000.png")
        ids = [path.relative_to(base / "rgb").with_suffix("").as_posix() for path in self._rgb]
        self._masks = (base / "mask_valid").is_dir()
        super().__init__(
            root,
            split,
            ids,
            [f"block-{int(path.stem) // 10:04d}" if path.stem.isdigit() else path.stem for path in self._rgb],
        )

    def _sources(self) -> list[Path]:
        return self._rgb

    def __getitem__(self, index: int) -> Sample:
        base, name = self.root / self.split, f"{self.ids[index]}.png"
        image = read_rgb(self._rgb[index])
        depth = read_gray(base / "depth" / name, np.uint16).astype(np.float32) * np.float32(10.0 / 65536.0)
        valid = read_gray(base / "mask_valid" / name, np.uint8) == 255 if self._masks else depth > 0
        return _consistent(
            {"image": image, "depth_m": depth, "valid": valid & (depth > 0), "id": self.ids[index]}, self._rgb[index]
        )


class BTSReader(_Files):
    """BTS's layout: `nyu_{train,test}.txt` with lines "<rgb> <depth> <focal>", depth in uint16 mm, 0 = invalid."""

    def __init__(self, root: Path, split: Split) -> None:
        self._list = root / f"nyu_{split}.txt"
        pairs = [line.split()[:2] for line in self._list.read_text(encoding="utf-8").splitlines() if line.strip()]
        if not pairs or any(len(pair) < 2 for pair in pairs):
            raise DataError(f'{self._list} should have lines "<rgb> <depth> <focal>"')
        kept = [(rgb.lstrip("/"), depth.lstrip("/")) for rgb, depth in pairs if depth != "None"]
        self._pairs = [(root / rgb, root / depth) for rgb, depth in kept]
        super().__init__(root, split, [rgb for rgb, _ in kept], [Path(rgb).parent.as_posix() for rgb, _ in kept])

    def _sources(self) -> list[Path]:
        return [self._list]

    def __getitem__(self, index: int) -> Sample:
        rgb, depth_path = self._pairs[index]
        depth = read_gray(depth_path, np.uint16).astype(np.float32) / np.float32(1000.0)
        return _consistent({"image": read_rgb(rgb), "depth_m": depth, "valid": depth > 0, "id": self.ids[index]}, rgb)


def _consistent(sample: Sample, path: Path) -> Sample:
    shapes = {name: value.shape[:2] for name, value in sample.items() if isinstance(value, np.ndarray)}
    if len(set(shapes.values())) != 1:
        raise DataError(f"{path} and its depth or mask differ in size: {shapes}")
    return sample


def layout_of(root: Path) -> Literal["mat", "bts", "folders"]:
    """Which layout lies under `root`, from its files.

    Raises:
        DataError: none of the three.
    """
    if (root / MAT).exists() or (root / SPLITS).exists():
        return "mat"
    if (root / "nyu_test.txt").exists() or (root / "nyu_train.txt").exists():
        return "bts"
    if (root / "test" / "rgb").is_dir() or (root / "train" / "rgb").is_dir():
        return "folders"
    raise DataError(
        f"{root} holds NYUv2 in no known layout; expected {MAT} and {SPLITS} ({MAT_LINK}, {SPLITS_LINK}), or nyu_train.txt "
        "and nyu_test.txt, or train/rgb and test/rgb"
    )


def open_split(root: Path, split: Split, *, validity: Validity = "raw") -> Reader:
    """The reader of a split, in whichever layout lies under `root`."""
    layout = layout_of(root)
    if layout == "mat":
        return MatReader(root, split, validity)
    if layout == "folders":
        return FoldersReader(root, split)
    if not (root / f"nyu_{split}.txt").is_file():
        raise DataError(f"there is no {root / f'nyu_{split}.txt'}; BTS's layout needs nyu_train.txt and nyu_test.txt")
    return BTSReader(root, split)
