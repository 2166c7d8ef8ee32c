"""KITTI's depth on Eigen's split, by the lists of BTS: raw images and the annotated depth of KITTI's depth benchmark.

Samples: `image` (H, W, 3) uint8 RGB, `depth_m` (H, W) float32, `valid` (H, W) bool, `id` str.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from croco_bench.data.checks.run_check import Finding, optional, run_check
from croco_bench.data.datasets.nyuv2_files import consistent, require_listed
from croco_bench.data.folders import is_miniature, size_of_release
from croco_bench.data.formats.images import read_gray, read_rgb
from croco_bench.data.splitting import spread_indices
from croco_bench.errors import AbsentError, DataError
from croco_bench.files import fingerprint
from croco_bench.types import Sample

Split = Literal["train", "test"]
LINK = "https://www.cvlibs.net/datasets/kitti/eval_depth.php"
LISTS_LINK = "https://github.com/cleinc/bts (train_test_inputs)"
# Images with depth: the 23,488 and 697 of the lists less those that KITTI's annotation lacks.
IMAGES: dict[Split, int] = {"train": 23158, "test": 652}
LIST = "eigen_{}_files_with_gt.txt"
_LIST_FOLDERS = (".", "train_test_inputs", "data_splits")
_IMAGE_FOLDERS = (".", "raw", "kitti_raw", "raw_data")
_DEPTH_FOLDERS = (
    ".",
    "data_depth_annotated",
    "gts",
    "train",
    "val",
    "data_depth_annotated/train",
    "data_depth_annotated/val",
)
# Metres are 256 units of the 16-bit files.
_UNITS_PER_M = np.float32(256)
_LOOKED_AT = 5


class KITTIDepthReader:
    """Listed images that have depth: a `croco_bench.contracts.Reader`. Depth is that of a laser scanner, 0 where unknown.

    Raises:
        DataError: there is no list, a line is malformed, or files are missing.
    """

    dataset = "kitti_depth"
    split: str
    assumptions: tuple[str, ...]
    usual: ClassVar = {"depth_m": (3.0, 60.0)}

    def __init__(self, root: Path, split: Split) -> None:
        self.root, self.split, self.miniature = root, split, is_miniature(root)
        self._list = _find_list(root, split)
        pairs = _read_list(self._list)
        kept = [pair for pair in pairs if pair[1] != "None"]
        if not kept:
            raise DataError(f"{self._list} names no image with depth", f"get the list from {LISTS_LINK}")
        self.ids = [image for image, _ in kept]
        self.groups: Sequence[str] = [_drive(image) for image in self.ids]
        images, depths = _Places(root, _IMAGE_FOLDERS), _Places(root, _DEPTH_FOLDERS)
        self._pairs = [(images.path(image), depths.path(depth)) for image, depth in kept]
        require_listed([path for pair in self._pairs for path in pair], self._list)
        self.available = size_of_release(root, len(self), IMAGES["test"] if split == "test" else None)
        self.assumptions = ("valid pixels are those whose depth isn't 0: several laser scans, accumulated by KITTI",)
        if len(kept) < len(pairs):
            self.assumptions += (f"{len(pairs) - len(kept)} listed images of {split} have no depth and are left out",)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        image, path = self._pairs[index]
        depth = read_gray(path, np.uint16).astype(np.float32) / _UNITS_PER_M
        return consistent(
            {"image": read_rgb(image), "depth_m": depth, "valid": depth > 0, "id": self.ids[index]}, image
        )

    def fingerprint(self) -> str:
        """Hash of the names of all items, and of the sizes of their depth files."""
        sizes = [str(path.stat().st_size) for _, path in self._pairs]
        return fingerprint("\n".join([self.dataset, self.split, *self.ids, *sizes]))


class _Places:
    """Where the drives of a list lie: each below one of several folders."""

    def __init__(self, root: Path, folders: Sequence[str]) -> None:
        self._bases, self._known = [root / folder for folder in folders], dict[str, Path]()

    def path(self, name: str) -> Path:
        """The file of a listed name; where its folder isn't found, that in the first place. Images may be .jpg, too."""
        folder = name.rpartition("/")[0]
        if folder not in self._known:
            self._known[folder] = next((base for base in self._bases if (base / folder).is_dir()), self._bases[0])
        path = self._known[folder] / name
        return other if not path.is_file() and (other := path.with_suffix(".jpg")).is_file() else path


def _find_list(root: Path, split: Split) -> Path:
    name = LIST.format(split)
    found = next((path for folder in _LIST_FOLDERS if (path := root / folder / name).is_file()), None)
    if found is None:
        raise AbsentError(f"there is no {root / name}", f"get it from {LISTS_LINK}")
    return found


def _read_list(path: Path) -> list[tuple[str, str]]:
    """Lines "<image> <depth> <focal length>"."""
    rows = [
        line.split()[:2] for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
    ]
    wrong = next((row for row in rows if len(row) < 2 or ".." in row[0] + row[1]), None)
    if wrong is not None:
        raise DataError(f'{path} has a line "{" ".join(wrong)[:60]}"', 'expected "<image> <depth> <focal length>"')
    return [(image.lstrip("/"), depth.lstrip("/")) for image, depth in rows]


def _drive(image: str) -> str:
    """The recording of a listed image, such as 2011_09_26_drive_0002_sync."""
    return next((part for part in image.split("/") if "drive" in part), image.partition("/")[0])


def open_split(root: Path, split: Split) -> KITTIDepthReader:
    """The reader of a split."""
    return KITTIDepthReader(root, split)


def check(root: Path) -> list[Finding]:
    """Findings on both lists, their files, and a few images of each; one split may be absent."""
    return run_check(root, *(optional(partial(_look_at, split=split)) for split in IMAGES))


def _look_at(root: Path, *, split: Split) -> Iterator[Finding]:
    reader = open_split(root, split)
    right = reader.miniature or len(reader) == IMAGES[split]
    what = f"{split}: {len(reader)} images with depth in {len(set(reader.groups))} drives"
    yield Finding.count(right, what, f"the release has {IMAGES[split]} ({LINK})", reader)
    for i in spread_indices(len(reader), _LOOKED_AT):
        sample = reader[i]
        depth, share = sample["depth_m"][sample["valid"]], float(sample["valid"].mean())
        near, far = (float(depth.min()), float(depth.max())) if depth.size else (np.nan, np.nan)
        yield Finding(
            share > 0.01 and near > 0 and far < 150,
            f"{split} {sample['id']}: depth {near:.1f} to {far:.1f} m, {share:.0%} valid",
            "expected 0 to 150 m, more than 1 % valid",
            stops=False,
        )
