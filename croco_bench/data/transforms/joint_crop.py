"""Random crops of color, depth and classes with the same window, and depth standardised within a crop."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from croco_bench.data.transforms.color import to_unit
from croco_bench.types import Array, Sample

Window = tuple[int, int, int, int]  # top, left, height, width
# Known pixels without which a crop's depth can't be standardised.
_LEAST_KNOWN = 16


@dataclass(frozen=True)
class JointCrop:
    """A random crop, resized to a square and mirrored at random, with the same window for color, depth and classes.

    Attributes:
        side: height and width of the result in pixels.
        area: range of the crop's share of the image, drawn uniformly.
        aspect: range of the crop's width / height, drawn log-uniformly.
        flip: probability of mirroring.
        mean: RGB mean of the network's training images, in [0, 1].
        std: RGB standard deviation of the network's training images.
        unknown: value of unknown depth; -1: all depths are known.

    Area and aspect (1, 1) with flip 0 give the largest centered square, for held-out images and pictures.
    """

    side: int = 224
    area: tuple[float, float] = (0.2, 1.0)
    aspect: tuple[float, float] = (0.75, 1.3333)
    flip: float = 0.5
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    unknown: int = -1

    def __call__(self, sample: Sample, rng: np.random.Generator) -> dict[str, Tensor]:
        """`view1` (3, side, side) normalised, `depth` (1, side, side) standardised, `semseg` (side, side) int64.

        With a value of unknown depth also `depth_known` (1, side, side) bool; depth is 0, its mean, where it is False.
        """
        window = self.window(sample["depth"].shape, rng)
        mirror = bool(rng.random() < self.flip)
        return self.cut(sample, window, mirror=mirror)

    def window(self, size: tuple[int, int], rng: np.random.Generator) -> Window:
        """A random window in an image (H, W): ten attempts, then the largest centered window of an allowed aspect."""
        height, width = size
        for _ in range(10):
            area = height * width * rng.uniform(*self.area)
            aspect = math.exp(rng.uniform(*np.log(self.aspect)))
            tall, wide = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
            if 0 < tall <= height and 0 < wide <= width:
                top = int(rng.integers(height - tall, endpoint=True))
                left = int(rng.integers(width - wide, endpoint=True))
                return top, left, tall, wide
        aspect = min(max(width / height, self.aspect[0]), self.aspect[1])
        tall, wide = min(round(width / aspect), height), min(round(height * aspect), width)
        return (height - tall) // 2, (width - wide) // 2, tall, wide

    def cut(self, sample: Sample, window: Window, *, mirror: bool) -> dict[str, Tensor]:
        """Crops all three to one window: color and depth resized bicubically by Pillow, ids by nearest neighbour."""
        image = self._resized(sample["image"], window, Image.Resampling.BICUBIC, mirror)
        depth = sample["depth"]
        wide = depth if depth.dtype == np.uint8 else depth.astype(np.int32)  # a mode that Pillow resizes bicubically
        depth = self._resized(wide, window, Image.Resampling.BICUBIC, mirror)
        known = None if self.unknown < 0 else self._known(sample["depth"], window, mirror)
        ids = self._resized(sample["semseg"], window, Image.Resampling.NEAREST, mirror)
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return {
            "view1": (to_unit(image) - mean) / std,
            "depth": torch.from_numpy(standardised(depth, known))[None],
            "semseg": torch.from_numpy(ids.astype(np.int64)),
            **({} if known is None else {"depth_known": torch.from_numpy(known)[None]}),
        }

    def _known(self, depth: Array, window: Window, mirror: bool) -> NDArray[np.bool_]:
        """Where the resized depth (side, side) is made of known pixels only."""
        known = (depth != self.unknown).astype(np.float32)
        resized = self._resized(known, window, Image.Resampling.BICUBIC, mirror)
        sure: NDArray[np.bool_] = np.abs(resized - 1) < 1e-3
        return sure

    def _resized(self, values: Array, window: Window, how: Image.Resampling, mirror: bool) -> Array:
        top, left, tall, wide = window
        part = Image.fromarray(np.ascontiguousarray(values[top : top + tall, left : left + wide]))
        resized = np.array(part.resize((self.side, self.side), how))
        return np.ascontiguousarray(resized[:, ::-1] if mirror else resized)


def standardised(depth: Array, known: Array | None = None) -> NDArray[np.float32]:
    """Integer depth (H, W) -> zero mean and unit variance of its middle 80 % (between the first and the last decile).

    Scale and offset of the file's units cancel, except for the 1e-6 added to the variance of depth / 65536. Of pixels that
    aren't `known` (H, W) nothing is used, and their value is 0.
    """
    if known is None or known.all():
        return _standardised(depth)
    result = np.zeros(depth.shape, dtype=np.float32)
    if known.sum() >= _LEAST_KNOWN:
        result[known] = _standardised(depth[known])
    return result


def _standardised(depth: Array) -> NDArray[np.float32]:
    unit = depth / np.float64(2**16)
    first, last = int(0.1 * unit.size), int(0.9 * unit.size)
    middle = np.partition(unit.ravel(), (first, last - 1))[first:last]
    standard: NDArray[np.float32] = ((unit - middle.mean()) / np.sqrt(middle.var(ddof=1) + 1e-6)).astype(np.float32)
    return standard
