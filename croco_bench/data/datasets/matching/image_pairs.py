"""Two views and what leads from one to the other: what readers of optical flow and of stereo share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from croco_bench.data.formats.images import read_gray, read_rgb
from croco_bench.errors import DataError
from croco_bench.types import Array, Sample

# Files of so many pairs, spread over the split, give their sizes to the fingerprint.
_WEIGHED = 64


class ViewPair(NamedTuple):
    """Where one pair lies: paths are below the dataset's folder. There is no `truth` where it is withheld.

    `group` is what the pair must not be separated from (its scene). `occluded` and `invalid` are masks of the first view.
    """

    id: str
    group: str
    image1: str
    image2: str
    truth: str | None = None
    occluded: str | None = None
    invalid: str | None = None


# (folder, pair) -> what its files say, under the keys of a sample.
Truth = Callable[[Path, ViewPair], Sample]


class MatchingReader:
    """Pairs of one split. Samples: `image1`, `image2` (H, W, 3) uint8 RGB, `id` str, and what `truth` reads."""

    def __init__(
        self, dataset: str, split: str, base: Path, pairs: Sequence[ViewPair], truth: Truth, *, miniature: bool
    ) -> None:
        if not pairs:
            raise DataError(
                f"the {split} split of {dataset} in {base} is empty", f"croco-bench data check {dataset} says more"
            )
        self.dataset, self.split, self.miniature, self.available = dataset, split, miniature, len(pairs)
        self._base, self._pairs, self._truth = base, list(pairs), truth

    def __len__(self) -> int:
        return len(self._pairs)

    @property
    def groups(self) -> Sequence[str]:
        """The scenes."""
        return [pair.group for pair in self._pairs]

    @property
    def ids(self) -> Sequence[str]:
        """Names of all pairs."""
        return [pair.id for pair in self._pairs]

    def fingerprint(self) -> str:
        """Of the names of all pairs, and the sizes of a few pairs' files."""
        chosen = np.unique(np.linspace(0, len(self) - 1, _WEIGHED).astype(int))
        paths = [self._base / name for index in chosen for name in self._pairs[index][2:] if name is not None]
        sizes = [str(path.stat().st_size if path.is_file() else "absent") for path in paths]
        text = "\n".join([self.dataset, self.split, *sizes, *self.ids])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __getitem__(self, index: int) -> Sample:
        pair = self._pairs[index]
        sample = {"image1": read_rgb(self._base / pair.image1), "image2": read_rgb(self._base / pair.image2)}
        if pair.truth is not None:
            sample |= self._truth(self._base, pair)
        height, width = sample["image1"].shape[:2]
        for key, array in sample.items():
            if array.shape[:2] != (height, width):
                files = {"image2": pair.image2, "occluded": pair.occluded, "invalid": pair.invalid}
                tall, wide = array.shape[:2]
                raise DataError(
                    f"{self._base / (files.get(key) or str(pair.truth))} belongs to an image of {tall}x{wide}, but "
                    f"{self._base / pair.image1} is {height}x{width} (height x width)",
                    "get both again",
                )
        return {**sample, "id": pair.id}


def plain(key: str, read: Callable[[Path], tuple[Array, Array]]) -> Truth:
    """Truth in a file of one format, stored under `key` beside `valid`; masks in 8-bit images."""
    return partial(_plain, key, read)


def _plain(key: str, read: Callable[[Path], tuple[Array, Array]], base: Path, pair: ViewPair) -> Sample:
    values, valid = read(base / str(pair.truth))
    sample: Sample = {key: values, "valid": valid}
    for mask, path in (("occluded", pair.occluded), ("invalid", pair.invalid)):
        if path is not None:
            sample[mask] = read_mask(base / path)
    return sample


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Where an 8-bit image of one channel isn't 0, (H, W).

    Raises:
        DataError: it is missing, can't be decoded, or is of another kind.
    """
    mask: Array = read_gray(path, np.uint8) > 0
    return mask
