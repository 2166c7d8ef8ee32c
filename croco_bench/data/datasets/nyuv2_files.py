"""NYU Depth v2 as image files and lists: MultiMAE's folders, BTS's lists, Kaggle's tables, Eigen's test images in NumPy files."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from croco_bench.data.datasets.nyuv2_mat import IMAGES, Split
from croco_bench.data.folders import is_miniature, size_of_release
from croco_bench.data.formats.images import read_any, read_gray, read_rgb
from croco_bench.data.formats.layout import is_litter, kinds_in
from croco_bench.errors import AbsentError, DataError
from croco_bench.files import fingerprint
from croco_bench.types import Array, Sample

Validity = Literal["raw", "all"]
# Names of BTS's lists: its own, which AdaBins and NeWCRFs have too, and those of later toolboxes.
LISTS = ("nyudepthv2_{}_files_with_gt.txt", "nyu_{}.txt")
_LIST_FOLDERS = (".", "train_test_inputs", "data_splits")
TABLE = "nyu2_{}.csv"
_TABLE_FOLDERS = (".", "data", "nyu_data", "nyu_data/data")
CROPS = ("eigen_test_rgb.npy", "eigen_test_depth.npy")
_CROP_FOLDERS = (".", "nyu_test")
# MultiMAE's training reads the first, its own script writes the second.
_MASK_FOLDERS = ("mask_valid", "mask")
# Kaggle's training depths: 255 steps of 8 bits up to 10 m.
_KAGGLE_M = np.float32(10 / 255)


class FilesReader:
    """Base of all readers: a list of items under a root. `assumptions` are notes for the result."""

    dataset = "nyuv2"
    split: str
    groups: Sequence[str]
    assumptions: tuple[str, ...] = ()
    # The official images have 2.5 m.
    usual: ClassVar = {"depth_m": (0.8, 8.0)}

    def __init__(self, root: Path, split: Split, ids: Sequence[str], groups: Sequence[str]) -> None:
        if not ids:
            raise DataError(
                f"the {split} split of NYUv2 in {root} is empty", f"croco-bench data check {self.dataset} says more"
            )
        self.root, self.split, self.ids, self.groups = root, split, list(ids), list(groups)
        # Training lists are of raw recordings, of which users keep different frames.
        self.miniature = is_miniature(root)
        self.available = size_of_release(root, len(ids), IMAGES["test"] if split == "test" else None)

    def __len__(self) -> int:
        return len(self.ids)

    def _sources(self) -> list[Path]:
        raise NotImplementedError

    def _facts(self) -> list[str]:
        """What distinguishes readers of the same files."""
        return []

    def fingerprint(self) -> str:
        """Hash of the names and scenes of all items, and the sizes of their files."""
        sizes = [f"{path.relative_to(self.root)}:{path.stat().st_size}" for path in self._sources()]
        return fingerprint("\n".join([self.split, *self._facts(), *sizes, *self.ids, *self.groups]))


def room_of(scene: str) -> str:
    """`kitchen_0028b` -> `kitchen_0028`: the letter numbers recordings of one room, which must not be separated."""
    return re.sub(r"(?<=\d)[a-z]$", "", scene)


def block_of(stem: str) -> str:
    """The scene of an image without one: official ids are in the order of recording, so runs of ten stand for scenes."""
    number = re.match(r"\d+", stem)
    return f"block-{int(number[0]) // 10:04d}" if number else stem


class FoldersReader(FilesReader):
    """MultiMAE's folders: `{train,test}/{rgb,depth,mask_valid}/<any>/<id>.png`, depth in 10/65536 m.

    A pixel is valid where its depth isn't 0 and, with `validity="raw"`, where the mask is 255: in `mask_valid`, or in `mask`,
    which MultiMAE's script writes. The folders don't name scenes; blocks of ten ids serve as scenes.
    """

    def __init__(self, root: Path, split: Split, validity: Validity) -> None:
        base = root / split
        found = [path for path in (base / "rgb").glob("*/*") if not is_litter(path.name)]
        self._rgb = sorted(path for path in found if path.suffix == ".png")
        others = kinds_in(path.name for path in found if path.suffix != ".png" and path.is_file())
        if not self._rgb:
            but = f", but {others}" if others else ""
            raise DataError(f"{base / 'rgb'} holds no PNG in a subfolder{but}", f"expected {split}/rgb/data/0000.png")
        ids = [path.relative_to(base / "rgb").with_suffix("").as_posix() for path in self._rgb]
        present = next((name for name in _MASK_FOLDERS if (base / name).is_dir()), None)
        self._masks = present if validity == "raw" else None
        self._unmasked = validity == "raw" and present is None
        super().__init__(root, split, ids, [block_of(path.stem) for path in self._rgb])
        if self._masks:
            self.assumptions = (f"valid pixels are those that {self._masks}/ marks",)
        elif self._unmasked:
            self.assumptions = (
                "there are no masks (mask_valid/ or mask/), so every depth above 0 counts, in-painted ones too",
            )
        else:
            self.assumptions = ("every depth above 0 counts, in-painted ones too (validity=all)",)
        if others:
            self.assumptions += (f"files of {split}/rgb that aren't .png are left out: {others}",)

    def _sources(self) -> list[Path]:
        return self._rgb

    def _facts(self) -> list[str]:
        return ["no masks"] if self._unmasked else []

    def __getitem__(self, index: int) -> Sample:
        base, name = self.root / self.split, f"{self.ids[index]}.png"
        image = read_rgb(self._rgb[index])
        depth = read_gray(base / "depth" / name, np.uint16).astype(np.float32) * np.float32(10.0 / 65536.0)
        valid = read_gray(base / self._masks / name, np.uint8) == 255 if self._masks else depth > 0
        sample = consistent({"image": image, "depth_m": depth, "valid": valid, "id": self.ids[index]}, self._rgb[index])
        return {**sample, "valid": valid & (depth > 0)}


class ListReader(FilesReader):
    """Images and depth maps that a list names; a depth called None is left out.

    Depth of 16 bits is in millimetres. Kaggle's tables (.csv) may have depth of 8 bits, too, in 10/255 m. 0 is unknown.
    """

    def __init__(self, root: Path, split: Split, listing: Path, pairs: Sequence[tuple[str, str]]) -> None:
        kept = [(rgb.lstrip("/"), depth.lstrip("/")) for rgb, depth in pairs if depth != "None"]
        base = _base(root, split, listing, kept)
        self._list, self._pairs = listing, [(base / rgb, base / depth) for rgb, depth in kept]
        self._eight_bits = listing.suffix == ".csv"
        super().__init__(root, split, [rgb for rgb, _ in kept], [_scene(rgb, self._eight_bits) for rgb, _ in kept])
        require_listed([path for pair in self._pairs for path in pair], listing)
        note = "valid pixels are those whose depth isn't 0"
        if self._eight_bits:
            note += "; this copy's depth is in-painted, and that of training images has 8 bits (steps of 39 mm)"
        self.assumptions = (note,)

    def _sources(self) -> list[Path]:
        return [self._list]

    def __getitem__(self, index: int) -> Sample:
        rgb, path = self._pairs[index]
        depth = _depth_m(path) if self._eight_bits else _millimeters(read_gray(path, np.uint16))
        return consistent({"image": read_rgb(rgb), "depth_m": depth, "valid": depth > 0, "id": self.ids[index]}, rgb)


def require_listed(paths: Sequence[Path], listing: Path) -> None:
    """Refuses files that a list names, but that aren't there.

    Raises:
        DataError: a file is missing.
    """
    present: dict[Path, set[str]] = {}
    absent = []
    for path in paths:
        parent = path.parent
        if parent not in present:
            present[parent] = {entry.name for entry in parent.iterdir()} if parent.is_dir() else set()
        if path.name not in present[parent]:
            absent.append(path)
    if absent:
        raise DataError(
            f"there is no readable {absent[0]}; {len(absent)} of {len(paths)} files that {listing} names are absent",
            "unpack the rest, or take a list of what is there",
        )


def _millimeters(numbers: Array) -> NDArray[np.float32]:
    return numbers.astype(np.float32) / np.float32(1000.0)


def _depth_m(path: Path) -> NDArray[np.float32]:
    """Depth of 16 bits in millimetres, or of 8 bits in 10/255 m."""
    numbers = read_any(path)
    return (
        numbers.astype(np.float32) * _KAGGLE_M
        if numbers.dtype == np.uint8
        else _millimeters(read_gray(path, np.uint16))
    )


def _scene(rgb: str, table: bool) -> str:
    """The room of a listed image: its folder; test images of Kaggle's table lie in one folder and have official ids."""
    folder, name = Path(rgb).parent, Path(rgb).name
    if table:
        return block_of(name) if folder.name == "nyu2_test" else room_of(folder.name.removesuffix("_out"))
    return room_of(folder.as_posix())


def _base(root: Path, split: Split, listing: Path, pairs: Sequence[tuple[str, str]]) -> Path:
    """The folder that the paths of a list are relative to."""
    bases = [root, listing.parent, listing.parent.parent, root / "sync", root / "official_splits" / split]
    if not pairs:
        return root
    first = pairs[0][0]
    found = next((base for base in bases if (base / first).is_file()), None)
    if found is None:
        raise DataError(
            f"there is no readable {root / first}, which {listing} names, nor is it in sync/ or official_splits/{split}/",
            "paths of the list must be relative to one of these folders",
        )
    return found


def find_list(root: Path, split: Split) -> Path | None:
    """BTS's list of a split, under one of its names."""
    names = [name.format(split) for name in LISTS]
    return next((p for folder in _LIST_FOLDERS for name in names if (p := root / folder / name).is_file()), None)


def find_table(root: Path, split: Split) -> Path | None:
    """Kaggle's table of a split."""
    return next((p for folder in _TABLE_FOLDERS if (p := root / folder / TABLE.format(split)).is_file()), None)


def read_list(root: Path, split: Split) -> ListReader:
    """BTS's layout: lines "<rgb> <depth> <focal>", paths below the root, `sync/` or `official_splits/<split>/`.

    Raises:
        DataError: there is no list, a line is malformed, or files are absent.
    """
    path = find_list(root, split)
    if path is None:
        names = " or ".join(name.format(split) for name in LISTS)
        raise DataError(f"there is no {root / LISTS[1].format(split)}", f"BTS's layout needs {names}")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    pairs = [line.split()[:2] for line in lines if line.strip()]
    wrong = next((pair for pair in pairs if len(pair) < 2), None)
    if wrong:
        raise DataError(f'{path} has a line "{wrong[0][:60]}", expected "<rgb> <depth> <focal>"')
    return ListReader(root, split, path, [(rgb, depth) for rgb, depth in pairs])


def read_table(root: Path, split: Split) -> ListReader:
    """Kaggle's layout: rows "<rgb>,<depth>" of nyu2_train.csv and nyu2_test.csv.

    Raises:
        DataError: there is no table, a row is malformed, or files are absent.
    """
    path = find_table(root, split)
    if path is None:
        raise DataError(f"there is no {root / 'data' / TABLE.format(split)}", "it belongs to the same archive")
    try:
        rows = [row for row in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} can't be read as CSV ({error})", "it should have rows <rgb>,<depth>") from error
    wrong = next((row for row in rows if len(row) != 2), None)
    if wrong:
        raise DataError(f'{path} has a row "{",".join(wrong)[:60]}", expected "<rgb>,<depth>"')
    return ListReader(root, split, path, [(rgb, depth) for rgb, depth in rows])


def find_crops(root: Path) -> tuple[Path, Path] | None:
    """Images and depth of Eigen's test images in NumPy files."""
    for folder in _CROP_FOLDERS:
        image, depth = (root / folder / name for name in CROPS)
        if image.is_file() and depth.is_file():
            return image, depth
    return None


class CropsReader(FilesReader):
    """Eigen's 654 test images in two NumPy files: (n, H, W, 3) uint8 and depth (n, H, W) floats in metres, 0 unknown."""

    def __init__(self, root: Path, split: Split) -> None:
        files = find_crops(root)
        if split == "train" or files is None:
            raise AbsentError(
                f"{root} holds {' and '.join(CROPS)}, which have test images, but no training images",
                "take another layout to train on; --eval-only and classical methods do without",
            )
        self._files = files
        images, depth = self._arrays()
        if images.dtype != np.uint8 or images.shape[3:] != (3,) or depth.dtype.kind != "f":
            raise DataError(
                f"{files[0]} is {images.dtype} of shape {images.shape} and {files[1]} is {depth.dtype} of shape {depth.shape}",
                "expected uint8 (n, H, W, 3) and floats (n, H, W)",
            )
        if depth.shape[:3] != images.shape[:3]:
            raise DataError(
                f"{files[0]} has shape {images.shape}, but {files[1]} {depth.shape}", "they don't belong together"
            )
        ids = [f"{index:04d}" for index in range(len(images))]
        super().__init__(root, split, ids, ids)
        self.assumptions = (
            "valid pixels are those whose depth isn't 0; these files don't say which depths are in-painted",
        )

    def _arrays(self) -> tuple[Array, Array]:
        try:
            images, depth = (np.load(path, mmap_mode="r", allow_pickle=False) for path in self._files)
        except (OSError, ValueError) as error:
            raise DataError(f"{' or '.join(map(str, self._files))} is truncated or no .npy file", str(error)) from error
        return images, depth

    def _sources(self) -> list[Path]:
        return list(self._files)

    def __getitem__(self, index: int) -> Sample:
        images, depths = self._arrays()
        depth = np.array(depths[index], dtype=np.float32).reshape(images.shape[1:3])
        known = np.isfinite(depth) & (depth > 0)
        return {
            "image": np.array(images[index]),
            "depth_m": np.where(known, depth, np.float32(0)),
            "valid": known,
            "id": self.ids[index],
        }


def consistent(sample: Sample, path: Path) -> Sample:
    """The sample, whose maps have one size (H, W).

    Raises:
        DataError: they haven't; `path` is the image.
    """
    shapes = {name: value.shape[:2] for name, value in sample.items() if isinstance(value, np.ndarray)}
    if len(set(shapes.values())) != 1:
        sizes = ", ".join(f"{name} {shape[0]}x{shape[1]}" for name, shape in shapes.items())
        raise DataError(
            f"{path} and its targets differ in size ({sizes})",
            "one of them was resized or cropped: take all from one copy",
        )
    return sample
