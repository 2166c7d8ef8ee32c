"""Augmentation of image pairs with optical flow, as in RAFT and CroCo-Flow.

Samples have the keys of `data.datasets.matching.image_pairs`: `image1`, `image2` (H, W, 3) uint8, `flow_px` (H, W, 2),
`valid` (H, W) bool.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from croco_bench.data.transforms.color import ColorJitter
from croco_bench.types import Array, Sample, Size

_IMAGES = ("image1", "image2")
_MAPS = (*_IMAGES, "flow_px", "valid")
JITTER = ColorJitter((0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.5 / 3.14, 0.5 / 3.14))


@dataclass(frozen=True)
class FlowAugment:
    """Scale and stretch, flips, crop, colour jitter, in this order.

    Attributes:
        size: (H, W) of the crop.
        scale: range of log2 of the scale.
        stretch: maximum of |log2| of the additional scale of each axis.
        scale_prob: probability of scaling; without it, only images smaller than the crop are enlarged.
        stretch_prob: probability of a stretch, given that the pair is scaled.
        hflip_prob: probability of a horizontal flip.
        vflip_prob: probability of a vertical flip.
        margin: minimum excess of a scaled image over the crop, in pixels.
        jitter: colour jitter; None disables it.
        asymmetric_prob: probability of independent jitter of the two images.
    """

    size: Size
    scale: tuple[float, float] = (-0.2, 0.5)
    stretch: float = 0.2
    scale_prob: float = 0.8
    stretch_prob: float = 0.8
    hflip_prob: float = 0.5
    vflip_prob: float = 0.1
    margin: int = 8
    jitter: ColorJitter | None = JITTER
    asymmetric_prob: float = 0.2

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """An augmented copy of size `size`, with the four keys of the module docstring."""
        moved = {name: sample[name] for name in _MAPS}
        moved = resize(moved, self.sample_size(moved["valid"].shape, rng))
        if rng.random() < self.hflip_prob:
            moved = mirror(moved, axis=1)
        if rng.random() < self.vflip_prob:
            moved = mirror(moved, axis=0)
        moved = crop(moved, self.size, rng)
        if self.jitter:
            moved |= self._jittered(moved, self.jitter, rng)
        return moved

    def sample_size(self, old: Size, rng: np.random.Generator) -> Size:
        """Draws the size (H, W) to which a pair of size `old` is scaled; it covers the crop."""
        if rng.random() >= self.scale_prob:
            min_factor = max(self.size[0] / old[0], self.size[1] / old[1])
            factors = np.full(2, max(min_factor, 1.0))
        else:
            min_factor = max((self.size[axis] + self.margin) / old[axis] for axis in (0, 1))
            exponents = np.full(2, rng.uniform(*self.scale))
            if rng.random() < self.stretch_prob:
                exponents += rng.uniform(-self.stretch, self.stretch, 2)
            factors = np.maximum(2.0**exponents, min_factor)
        height, width = (max(round(old[axis] * factors[axis]), self.size[axis]) for axis in (0, 1))
        return height, width

    def _jittered(self, sample: Sample, jitter: ColorJitter, rng: np.random.Generator) -> Sample:
        if rng.random() < self.asymmetric_prob:
            return {name: jitter(sample[name], rng) for name in _IMAGES}
        both = jitter(np.concatenate([sample["image1"], sample["image2"]]), rng)
        return dict(zip(_IMAGES, np.split(both, 2), strict=True))


def resize(sample: Sample, size: Size) -> Sample:
    """Resizes all maps. Images and dense flow are interpolated bilinearly, sparse flow is moved point by point.

    Flow is scaled to pixels of the new size.
    """
    old: Size = sample["valid"].shape
    if size == old:
        return dict(sample)
    images = {name: cv2.resize(sample[name], size[::-1], interpolation=cv2.INTER_LINEAR) for name in _IMAGES}
    ratios = np.array([size[1] / old[1], size[0] / old[0]], dtype=np.float32)
    if sample["valid"].all():
        flow = cv2.resize(sample["flow_px"], size[::-1], interpolation=cv2.INTER_LINEAR) * ratios
        return {**images, "flow_px": flow, "valid": np.ones(size, dtype=np.bool_)}
    flow, valid = _scatter(sample["flow_px"] * ratios, sample["valid"], size)
    return {**images, "flow_px": flow, "valid": valid}


def _scatter(flow: Array, valid: Array, size: Size) -> tuple[Array, Array]:
    """Moves each known vector (already scaled) to the pixel of the new grid that contains the centre of its pixel.

    Of several vectors in one pixel, the one nearest to the pixel's centre is kept.
    """
    points = np.argwhere(valid)  # rows, columns
    moved_centers = (points + 0.5) * (np.array(size) / valid.shape)
    targets = np.minimum(moved_centers.astype(np.int64), np.array(size) - 1)
    distances = ((moved_centers - targets - 0.5) ** 2).sum(axis=1)
    order = np.argsort(-distances, kind="stable")  # the nearest are written last
    (rows, columns), (old_rows, old_columns) = targets[order].T, points[order].T
    moved, known = np.zeros((*size, 2), dtype=np.float32), np.zeros(size, dtype=np.bool_)
    moved[rows, columns], known[rows, columns] = flow[old_rows, old_columns], True
    return moved, known


def mirror(sample: Sample, *, axis: int) -> Sample:
    """Flips all maps along an axis of (H, W) and negates the flow's component along it."""
    signs = np.array([-1, 1] if axis else [1, -1], dtype=np.float32)
    moved = {name: np.flip(value, axis) for name, value in sample.items()}
    return {**moved, "flow_px": moved["flow_px"] * signs}


def crop(sample: Sample, size: Size, rng: np.random.Generator) -> Sample:
    """A crop of all maps, among them `valid` (H, W), at a uniformly drawn position."""
    whole = sample["valid"].shape
    top, left = (int(rng.integers(0, whole[axis] - size[axis], endpoint=True)) for axis in (0, 1))
    window = np.s_[top : top + size[0], left : left + size[1]]
    return {name: np.ascontiguousarray(value[window]) for name, value in sample.items()}
