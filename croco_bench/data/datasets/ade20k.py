"""ADE20K's scene parsing benchmark, in its official layout.

Samples: `image` (H, W, 3) uint8 RGB, `label` (H, W) uint8 with classes 0 to 149 and 255 where unlabelled, `id` str.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from croco_bench.data.catalogue import is_miniature
from croco_bench.data.datasets.ade20k_classes import NAMES
from croco_bench.data.formats.images import read_gray, read_rgb
from croco_bench.errors import DataError
from croco_bench.types import Sample

Split = Literal["train", "test"]
FOLDER = "ADEChallengeData2016"
LINK = "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip"
UNLABELED = 255
# What the layout calls the splits: it has no labels for its own "testing" images.
PARTS: dict[Split, str] = {"train": "training", "test": "validation"}


class ADE20KReader:
    """`{images,annotations}/{training,validation}/ADE_*.{jpg,png}`; the file's 0 is unlabelled, its k is class k - 1.

    The photographs show independent scenes, so each is a group of its own.
    """

    dataset = "ade20k"

    def __init__(self, root: Path, split: Split) -> None:
        base = base_of(root)
        self._images, self._labels = (base / kind / PARTS[split] for kind in ("images", "annotations"))
        images, labels = _sizes(self._images, ".jpg"), _sizes(self._labels, ".png")
        without = images.keys() ^ labels.keys()
        if without:
            name = min(without)
            lacking = self._labels / f"{name}.png" if name in images else self._images / f"{name}.jpg"
            raise DataError(
                f"there is no {lacking}, and {len(without)} in all are without image or annotation",
                f"unpack {LINK} again",
            )
        self.split, self.ids = PARTS[split], sorted(images)
        self.miniature, self.available = is_miniature(root), len(images)
        text = "\n".join([self.split, *(f"{name}:{images[name]}:{labels[name]}" for name in self.ids)])
        self._fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def groups(self) -> Sequence[str]:
        """The ids."""
        return self.ids

    def fingerprint(self) -> str:
        """Of the names and sizes of all files."""
        return self._fingerprint

    def __getitem__(self, index: int) -> Sample:
        name = self.ids[index]
        path = self._labels / f"{name}.png"
        image, numbers = read_rgb(self._images / f"{name}.jpg"), read_gray(path, np.uint8)
        if image.shape[:2] != numbers.shape:
            (height, width), (tall, wide) = image.shape[:2], numbers.shape
            raise DataError(
                f"{path} is {tall}x{wide}, but its image is {height}x{width}",
                f"the two should be of one size: unpack {LINK} again",
            )
        if numbers.max(initial=0) > len(NAMES):
            raise DataError(
                f"{path} has class {numbers.max()}, expected 0 (unlabelled) to {len(NAMES)}",
                f"use the annotations of {LINK}",
            )
        # In uint8, 0 - 1 is 255.
        return {"image": image, "label": numbers - np.uint8(1), "id": name}


def base_of(root: Path) -> Path:
    """The folder with `images` and `annotations`: `root`, or `ADEChallengeData2016` in it.

    Raises:
        DataError: neither is.
    """
    for base in (root / FOLDER, root):
        if (base / "images").is_dir() and (base / "annotations").is_dir():
            return base
    raise DataError(f"{root} holds neither {FOLDER} nor images and annotations", f"unpack {LINK} (923 MB) there")


def _sizes(folder: Path, suffix: str) -> dict[str, int]:
    """Name without suffix -> bytes, of the files in a folder."""
    try:
        with os.scandir(folder) as entries:
            found = {item.name[: -len(suffix)]: item.stat().st_size for item in entries if item.name.endswith(suffix)}
    except OSError as error:
        raise DataError(f"there is no readable {folder} ({error.strerror})", f"unpack {LINK} again") from error
    if not found:
        raise DataError(f"{folder} holds no {suffix} file", f"unpack {LINK} again")
    return found
