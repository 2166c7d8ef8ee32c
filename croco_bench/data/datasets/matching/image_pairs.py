"""Image pairs with optical flow or disparity: the reader of all datasets of optical flow and stereo.

Samples of optical flow: `image1`, `image2` (H, W, 3) uint8 RGB; `flow_px` (H, W, 2) float32 from the first to the second, u
right, v down, 0 where unknown; `valid` (H, W) bool, where it is known; `id` str.

Samples of stereo: `image1` left and `image2` right; `disparity_px` (H, W) float32: what the left view shows at x, the right
one shows at x - d; 0 where unknown; `valid` and `id`.

Some datasets add `occluded` (H, W) bool, pixels that the second image doesn't show, and `invalid` (H, W) bool, pixels with
unreliable truth. A split with withheld truth has `image1`, `image2` and `id` only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from croco_bench.data.formats.images import read_gray, read_rgb
from croco_bench.data.splitting import spread_indices
from croco_bench.errors import DataError
from croco_bench.files import fingerprint
from croco_bench.types import Array, Sample

# The fingerprint includes the file sizes of this many pairs, spread over the split.
_PAIRS_WITH_SIZES = 64


class PairPaths(NamedTuple):
    """The files of one pair: paths are below the dataset's folder. `truth` is None where it is withheld.

    `group` is the scene: pairs of one group must not be separated. `occluded` and `invalid` are masks of the first image.
    """

    id: str
    group: str
    image1: str
    image2: str
    truth: str | None = None
    occluded: str | None = None
    invalid: str | None = None


# (folder, pair) -> the content of the pair's truth and masks, under the keys of a sample.
ReadTruth = Callable[[Path, PairPaths], Sample]


class MatchingReader:
    """The pairs of one split; `read_truth` is called with `base` and a pair that has truth.

    `assumptions` are what results should say about the files.

    `released` is the number of pairs in the release, if it is known; a miniature is whole, whatever its size.

    Raises:
        DataError: there are no pairs.
    """

    def __init__(
        self,
        dataset: str,
        split: str,
        base: Path,
        pairs: Sequence[PairPaths],
        read_truth: ReadTruth,
        *,
        miniature: bool,
        released: int = 0,
    ) -> None:
        if not pairs:
            raise DataError(
                f"the {split} split of {dataset} in {base} is empty", f"croco-bench data check {dataset} says more"
            )
        self.dataset, self.split, self.miniature = dataset, split, miniature
        self.available = len(pairs) if miniature else max(len(pairs), released)
        self.base, self.pairs, self.read_truth = base, list(pairs), read_truth
        self.assumptions: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def groups(self) -> Sequence[str]:
        """The scenes."""
        return [pair.group for pair in self.pairs]

    @property
    def ids(self) -> Sequence[str]:
        """Names of all pairs."""
        return [pair.id for pair in self.pairs]

    def fingerprint(self) -> str:
        """Hash of the names of all pairs and of the file sizes of a few."""
        pairs = [self.pairs[i] for i in spread_indices(len(self), _PAIRS_WITH_SIZES)]
        paths = [self.base / name for pair in pairs for name in pair[2:] if name is not None]
        sizes = [str(path.stat().st_size if path.is_file() else "absent") for path in paths]
        return fingerprint("\n".join([self.dataset, self.split, *sizes, *self.ids]))

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        sample = {"image1": read_rgb(self.base / pair.image1), "image2": read_rgb(self.base / pair.image2)}
        if pair.truth is not None:
            sample |= self.read_truth(self.base, pair)
        self._check_sizes(sample, pair)
        return {**sample, "id": pair.id}

    def _check_sizes(self, sample: Sample, pair: PairPaths) -> None:
        height, width = sample["image1"].shape[:2]
        for key, array in sample.items():
            if array.shape[:2] != (height, width):
                files = {"image2": pair.image2, "occluded": pair.occluded, "invalid": pair.invalid}
                other_height, other_width = array.shape[:2]
                raise DataError(
                    f"{self.base / (files.get(key) or str(pair.truth))} belongs to an image of {other_height}x{other_width}, "
                    f"but {self.base / pair.image1} is {height}x{width} (height x width)",
                    "one of them was resized, or belongs to another pair: take both from one copy of the release",
                )


def read_truth_file(key: str, read: Callable[[Path], tuple[Array, Array]], base: Path, pair: PairPaths) -> Sample:
    """Truth of one file format under `key` and `valid`, and masks. `partial` with `key` and `read` makes it a `ReadTruth`."""
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
