"""Random changes of a pair of images and the flow between them, as RAFT trains with them and CroCo-Flow after it.

Samples are those of `croco_bench.data.datasets.matching.image_pairs`: `image1`, `image2` uint8, `flow_px`, `valid`.
All randomness comes from the generator that is passed in.
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
    """Scale and stretch, flips, crop, colours, in this order.

    Attributes:
        size: of the crop.
        scale: range of the scale's binary logarithm.
        stretch: largest binary logarithm by which each axis is scaled further, up or down.
        scale_prob: probability of any scaling at all; images that are smaller than the crop are enlarged anyway.
        stretch_prob: probability of a stretch, given a scale.
        hflip_prob: probability of a mirror image, left to right.
        vflip_prob: probability of a mirror image, top to bottom.
        margin: pixels by which a scaled image is larger than the crop, at least.
        jitter: colours; None: they stay.
        asymmetric_prob: probability that the two images get other colours each.
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
        """A changed copy of size `size`, with the keys named above."""
        moved = {name: sample[name] for name in _MAPS}
        moved = resize(moved, self.sample_size(moved["valid"].shape, rng))
        if rng.random() < self.hflip_prob:
            moved = mirror(moved, axis=1)
        if rng.random() < self.vflip_prob:
            moved = mirror(moved, axis=0)
        moved = crop(moved, self.size, rng)
        if self.jitter:
            moved |= self._colored(moved, self.jitter, rng)
        return moved

    def sample_size(self, old: Size, rng: np.random.Generator) -> Size:
        """Both axes are scaled by at least the factor that makes the image cover the crop."""
        if rng.random() >= self.scale_prob:
            least = max(self.size[0] / old[0], self.size[1] / old[1])
            factors = np.full(2, max(least, 1.0))
        else:
            least = max((self.size[axis] + self.margin) / old[axis] for axis in (0, 1))
            exponents = np.full(2, rng.uniform(*self.scale))
            if rng.random() < self.stretch_prob:
                exponents += rng.uniform(-self.stretch, self.stretch, 2)
            factors = np.maximum(2.0**exponents, least)
        height, width = (max(round(old[axis] * factors[axis]), self.size[axis]) for axis in (0, 1))
        return height, width

    def _colored(self, sample: Sample, jitter: ColorJitter, rng: np.random.Generator) -> Sample:
        if rng.random() < self.asymmetric_prob:
            return {name: jitter(sample[name], rng) for name in _IMAGES}
        both = jitter(np.concatenate([sample["image1"], sample["image2"]]), rng)
        return dict(zip(_IMAGES, np.split(both, 2), strict=True))


def resize(sample: Sample, size: Size) -> Sample:
    """Images bilinearly; a flow that is known everywhere too, any other point by point. Flow stays in pixels."""
    old: Size = sample["valid"].shape
    if size == old:
        return dict(sample)
    images = {name: cv2.resize(sample[name], size[::-1], interpolation=cv2.INTER_LINEAR) for name in _IMAGES}
    ratios = np.array([size[1] / old[1], size[0] / old[0]], dtype=np.float32)
    if sample["valid"].all():
        flow = cv2.resize(sample["flow_px"], size[::-1], interpolation=cv2.INTER_LINEAR) * ratios
        return {**images, "flow_px": flow, "valid": np.ones(size, dtype=np.bool_)}
    flow, valid = _scattered(sample["flow_px"] * ratios, sample["valid"], size)
    return {**images, "flow_px": flow, "valid": valid}


def _scattered(flow: Array, valid: Array, size: Size) -> tuple[Array, Array]:
    """Puts every known vector (already scaled) into the pixel that its own pixel's centre comes to lie in.

    Of several that meet in a pixel, the one nearest to its centre stays.
    """
    points = np.argwhere(valid)  # rows, columns
    places = (points + 0.5) * (np.array(size) / valid.shape)
    targets = np.minimum(places.astype(np.int64), np.array(size) - 1)
    distances = ((places - targets - 0.5) ** 2).sum(axis=1)
    order = np.argsort(-distances, kind="stable")  # the nearest are written last
    (rows, columns), (old_rows, old_columns) = targets[order].T, points[order].T
    moved, known = np.zeros((*size, 2), dtype=np.float32), np.zeros(size, dtype=np.bool_)
    moved[rows, columns], known[rows, columns] = flow[old_rows, old_columns], True
    return moved, known


def mirror(sample: Sample, *, axis: int) -> Sample:
    """Mirrors all maps along an axis of (H, W), and the flow's component along it with them."""
    signs = np.array([-1, 1] if axis else [1, -1], dtype=np.float32)
    moved = {name: np.flip(value, axis) for name, value in sample.items()}
    return {**moved, "flow_px": moved["flow_px"] * signs}


def crop(sample: Sample, size: Size, rng: np.random.Generator) -> Sample:
    """A window of all maps, one of them `valid` (H, W), at a uniformly drawn place, the last row and column included."""
    whole = sample["valid"].shape
    top, left = (int(rng.integers(0, whole[axis] - size[axis], endpoint=True)) for axis in (0, 1))
    window = np.s_[top : top + size[0], left : left + size[1]]
    return {name: np.ascontiguousarray(value[window]) for name, value in sample.items()}
