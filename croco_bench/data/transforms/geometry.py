"""Resizing, cropping and flipping of an image together with its target maps. numpy and OpenCV only.

A sample is a dict. Arrays whose first two axes equal the image's (H, W) are moved together: names that begin with `image` by
bilinear interpolation, all others by nearest neighbour, which creates no new depths or labels. Of maps called `normals` a flip
changes the sign of the first component, x.
"""

from __future__ import annotations

import cv2
import numpy as np

from croco_bench.types import Array, Sample, Size


def _is_map(value: object, size: Size) -> bool:
    return isinstance(value, np.ndarray) and value.ndim >= 2 and value.shape[:2] == size


def _size(sample: Sample) -> Size:
    height, width = sample["image"].shape[:2]
    return int(height), int(width)


def _resize_map(name: str, value: Array, size: Size) -> Array:
    interpolation = cv2.INTER_LINEAR if name.startswith("image") else cv2.INTER_NEAREST
    numbers = value.astype(np.uint8) if value.dtype == np.bool_ else value
    resized: Array = cv2.resize(numbers, (size[1], size[0]), interpolation=interpolation)
    return resized.astype(value.dtype)


def resize(sample: Sample, size: Size) -> Sample:
    """Resizes every map to `size`."""
    old = _size(sample)
    if old == size:
        return dict(sample)
    return {name: _resize_map(name, value, size) if _is_map(value, old) else value for name, value in sample.items()}


def smallest_side(sample: Sample, size: Size) -> Sample:
    """Scales every map to the smallest size that covers `size`, keeping the aspect ratio."""
    height, width = _size(sample)
    scale = max(size[0] / height, size[1] / width)
    return resize(sample, (max(round(height * scale), size[0]), max(round(width * scale), size[1])))


def crop(sample: Sample, top: int, left: int, size: Size) -> Sample:
    """Crops every map to `size` at (top, left)."""
    old = _size(sample)
    window = np.s_[top : top + size[0], left : left + size[1]]
    return {name: value[window] if _is_map(value, old) else value for name, value in sample.items()}


def center_crop(sample: Sample, size: Size) -> Sample:
    """Crops the centre of every map."""
    height, width = _size(sample)
    return crop(sample, (height - size[0]) // 2, (width - size[1]) // 2, size)


def random_crop(sample: Sample, size: Size, rng: np.random.Generator) -> Sample:
    """Crops every map at one uniformly drawn position."""
    height, width = _size(sample)
    top = int(rng.integers(0, height - size[0], endpoint=True))
    left = int(rng.integers(0, width - size[1], endpoint=True))
    return crop(sample, top, left, size)


def flip(sample: Sample) -> Sample:
    """Flips every map horizontally."""
    old = _size(sample)
    return {name: _flip_map(name, value) if _is_map(value, old) else value for name, value in sample.items()}


def _flip_map(name: str, value: Array) -> Array:
    flipped = value[:, ::-1]
    if name == "normals":
        flipped = flipped * np.array([-1, 1, 1], value.dtype)
    return np.ascontiguousarray(flipped)
