"""An image and its maps at the network's size: MultiMAE's augmentation for NYUv2, and centre crops."""

from __future__ import annotations

import numpy as np

from croco_bench.data.transforms import geometry
from croco_bench.data.transforms.color import ColorJitter, to_gray, to_unit
from croco_bench.types import Sample, Size

_JITTER = ColorJitter(brightness=(0.8745, 1.1255), contrast=(0.6, 1.4), saturation=(0.5, 1.5), hue=(-0.2, 0.2))


def augmented(sample: Sample, size: Size, rng: np.random.Generator, *, color: bool) -> Sample:
    """Shorter side to the network's, flip, with `color` also jitter and grayscale, random crop; the image as a tensor."""
    moved = geometry.smallest_side(sample, size)
    if rng.random() < 0.5:
        moved = geometry.flip(moved)
    if color:
        if rng.random() < 0.5:
            moved["image"] = _JITTER(moved["image"], rng)
        if rng.random() < 0.3:
            moved["image"] = to_gray(moved["image"])
    moved = geometry.random_crop(moved, size, rng)
    return {**moved, "image": to_unit(moved["image"])}


def centered(sample: Sample, size: Size) -> Sample:
    """Shorter side to the network's, centre crop; the image as a tensor."""
    moved = geometry.center_crop(geometry.smallest_side(sample, size), size)
    return {**moved, "image": to_unit(moved["image"])}
