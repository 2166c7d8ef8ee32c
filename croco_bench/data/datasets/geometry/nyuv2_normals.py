"""Surface normals of the labelled NYU Depth v2, by two ground truths that disagree: GeoNet's and Ladicky's.

GeoNet's (Qi et al. 2018) are fitted to depth. Bae and Davison offer the official images with them, `000000_img.png` and
`000000_normal.png`, in the data of DSINE. Ladicky's (2014) are smoother; Eigen's archive `normals_gt.tgz` has them for the images
of the official `.mat`.

Samples: `image` (H, W, 3) uint8 RGB, `normals` (H, W, 3) float32 of unit length, `valid` (H, W) bool, `id` str. Axes are those of
the files: the first is horizontal in both, the others differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from croco_bench.data.checks.run_check import Finding, optional, run_check
from croco_bench.data.datasets.nyuv2 import MatReader
from croco_bench.data.datasets.nyuv2_files import FilesReader, block_of, consistent
from croco_bench.data.datasets.nyuv2_mat import IMAGES, MAT, MAT_LINK, Split
from croco_bench.data.formats.images import read_any, read_gray, read_rgb
from croco_bench.data.formats.layout import is_litter, kinds_of, require
from croco_bench.data.splitting import spread_indices
from croco_bench.errors import AbsentError, DataError
from croco_bench.types import Array, Sample

if TYPE_CHECKING:
    from croco_bench.contracts import Reader

Truth = Literal["geonet", "ladicky"]
GEONET_LINK = "https://github.com/baegwangbin/DSINE (data: dsine_eval.zip)"
LADICKY_LINK = "https://cs.nyu.edu/~deigen/dnl/normals_gt.tgz"
# Where the folders train/ and test/ may lie, and where Ladicky's maps and the official file may.
_GEONET_FOLDERS = (".", "nyuv2", "dsine_eval/nyuv2")
_MAPS, _MAT_FOLDERS = "normals_gt", (".", "../nyuv2")
_IMAGE, _NORMALS = "_img.png", "_normal.png"
# Decoded vectors shorter than this are no normals, but gray pixels that stand for none.
_SHORTEST = 0.5
_LOOKED_AT = 5


class GeoNetReader(FilesReader):
    """DSINE's files: `{train,test}/000000_img.png` and `000000_normal.png`, black where no normal is known.

    Names number the images of the official file from 0. Scenes aren't named: blocks of ten stand for them.
    """

    dataset = "nyuv2_normals"
    usual: ClassVar = {}

    def __init__(self, root: Path, split: Split) -> None:
        self._folder = _geonet_folder(root, split)
        present = {path.name for path in self._folder.iterdir() if not is_litter(path.name)}
        ids = sorted(name.removesuffix(_IMAGE) for name in present if name.endswith(_IMAGE))
        require(self._folder, [f"{name}{_NORMALS}" for name in ids], present, GEONET_LINK)
        super().__init__(root, split, ids, [block_of(name) for name in ids])
        self.assumptions = ("the ground truth is GeoNet's normals, known where their files aren't black",)

    def _sources(self) -> list[Path]:
        return [self._folder / f"{name}{_NORMALS}" for name in self.ids]

    def __getitem__(self, index: int) -> Sample:
        path = self._folder / f"{self.ids[index]}{_IMAGE}"
        normals, known = decoded(self._folder / f"{self.ids[index]}{_NORMALS}")
        return consistent({"image": read_rgb(path), "normals": normals, "valid": known, "id": self.ids[index]}, path)


class LadickyReader(FilesReader):
    """Images of the official `.mat`, with Eigen's `normals_gt/normals/0000.png` and `masks/0000.png`, numbered from 0."""

    dataset = "nyuv2_normals"
    usual: ClassVar = {}

    def __init__(self, root: Path, split: Split) -> None:
        self._maps = root / _MAPS
        if not (self._maps / "normals").is_dir():
            raise AbsentError(f"there is no folder {self._maps / 'normals'}", f"unpack {LADICKY_LINK} into {root}")
        self._images = MatReader(_mat_folder(root), split, "all")
        ids = self._images.ids
        for kind in ("normals", "masks"):
            folder = self._maps / kind
            present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
            require(folder, [f"{name}.png" for name in ids], present, LADICKY_LINK)
        super().__init__(root, split, ids, self._images.groups)
        self.assumptions = ("the ground truth is Ladicky's normals, known where normals_gt/masks says so",)

    def _sources(self) -> list[Path]:
        return [self._maps / "normals" / f"{name}.png" for name in self.ids]

    def _facts(self) -> list[str]:
        return [self._images.fingerprint()]

    def __getitem__(self, index: int) -> Sample:
        name = f"{self.ids[index]}.png"
        path = self._maps / "normals" / name
        normals, known = decoded(path)
        mask = read_gray(self._maps / "masks" / name, np.uint8) > 0
        sample = {"image": self._images[index]["image"], "normals": normals, "valid": known, "mask": mask}
        checked = consistent({**sample, "id": self.ids[index]}, path)
        return {**{key: checked[key] for key in ("image", "normals", "id")}, "valid": known & mask}


def decoded(path: Path) -> tuple[NDArray[np.float32], Array]:
    """Unit normals (H, W, 3) of 8-bit red, green and blue from -1 to 1, zeros where none is known, and where they are known.

    Raises:
        DataError: the file is no such image.
    """
    numbers = read_any(path)
    if numbers.dtype != np.uint8 or numbers.ndim != 3 or numbers.shape[2] != 3:
        raise DataError(f"{path} is {numbers.dtype} of shape {numbers.shape}", "normals are in 8-bit color images")
    vectors = numbers.astype(np.float32) * np.float32(2 / 255) - np.float32(1)
    lengths = np.linalg.norm(vectors, axis=2)
    known: Array = numbers.any(axis=2) & (lengths > _SHORTEST)
    normals = vectors / np.maximum(lengths, _SHORTEST)[:, :, None]
    return np.where(known[:, :, None], normals, np.float32(0)), known


def _geonet_folder(root: Path, split: Split) -> Path:
    folders = [root / base / split for base in _GEONET_FOLDERS]
    for folder in folders:
        if folder.is_dir() and any(folder.glob(f"*{_IMAGE}")):
            return folder
    other = next((kinds_of(folder) for folder in folders if folder.is_dir()), "")
    raise AbsentError(
        f"{root} holds no {split}/*{_IMAGE}, directly or in {' or '.join(_GEONET_FOLDERS[1:])}{other}",
        f"get it from {GEONET_LINK}",
    )


def _mat_folder(root: Path) -> Path:
    """The folder of the official file: this dataset's own or that of `nyuv2`."""
    found = next((root / base for base in _MAT_FOLDERS if (root / base / MAT).is_file()), None)
    if found is None:
        raise DataError(f"there is no {root / MAT}, nor is it in nyuv2/ beside", f"get it (2.8 GB) from {MAT_LINK}")
    return found


_READERS: dict[Truth, Callable[[Path, Split], Reader]] = {"geonet": GeoNetReader, "ladicky": LadickyReader}


def open_split(root: Path, split: Split, *, truth: Truth = "geonet") -> Reader:
    """The reader of a split with one of the ground truths.

    Raises:
        DataError: files are missing or damaged.
    """
    return _READERS[truth](root, split)


def check(root: Path) -> list[Finding]:
    """Findings on both splits with either ground truth, and on a few images of each; one ground truth may be absent."""
    looks = (partial(_look_at, split=split, truth=truth) for truth in get_args(Truth) for split in IMAGES)
    return run_check(root, *map(optional, looks))


def _look_at(root: Path, *, split: Split, truth: Truth) -> Iterator[Finding]:
    reader = open_split(root, split, truth=truth)
    right = reader.miniature or len(reader) == IMAGES[split]
    yield Finding.count(right, f"{truth}, {split}: {len(reader)} images", f"the release has {IMAGES[split]}", reader)
    for i in spread_indices(len(reader), _LOOKED_AT):
        sample = reader[i]
        share = float(sample["valid"].mean())
        yield Finding(
            share > 0.2 and float(sample["image"].std()) > 1,
            f"{truth}, {split} {sample['id']}: {share:.0%} valid",
            "expected more than 20 %, and an image that isn't blank",
            stops=False,
        )
