"""Geometry of training and evaluation: image and targets go through the same crop and resize. numpy and OpenCV only.

A sample is a dict; arrays whose first two axes are (H, W) are moved together: `image` bilinearly, all others by nearest
neighbour, which keeps depths and labels true.
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
    way = cv2.INTER_LINEAR if name.startswith("image") else cv2.INTER_NEAREST
    plain = value.astype(np.uint8) if value.dtype == np.bool_ else value
    resized: Array = cv2.resize(plain, (size[1], size[0]), interpolation=way)
    return resized.astype(value.dtype)


def resize(sample: Sample, size: Size) -> Sample:
    """Every map to `size`."""
    old = _size(sample)
    if old == size:
        return dict(sample)
    return {name: _resize_map(name, value, size) if _is_map(value, old) else value for name, value in sample.items()}


def smallest_side(sample: Sample, size: Size) -> Sample:
    """Scales, keeping the aspect ratio, to the smallest maps that still cover `size`."""
    height, width = _size(sample)
    scale = max(size[0] / height, size[1] / width)
    return resize(sample, (max(round(height * scale), size[0]), max(round(width * scale), size[1])))


def crop(sample: Sample, top: int, left: int, size: Size) -> Sample:
    """The window `size` at (top, left) of every map."""
    old = _size(sample)
    window = np.s_[top : top + size[0], left : left + size[1]]
    return {name: value[window] if _is_map(value, old) else value for name, value in sample.items()}


def center_crop(sample: Sample, size: Size) -> Sample:
    """The middle window of every map."""
    height, width = _size(sample)
    return crop(sample, (height - size[0]) // 2, (width - size[1]) // 2, size)


def random_crop(sample: Sample, size: Size, rng: np.random.Generator) -> Sample:
    """A window at a uniformly drawn place, the last row and column included."""
    height, width = _size(sample)
    top = int(rng.integers(0, height - size[0], endpoint=True))
    left = int(rng.integers(0, width - size[1], endpoint=True))
    return crop(sample, top, left, size)


def flip(sample: Sample) -> Sample:
    """Mirrors every map left to right."""
    old = _size(sample)
    return {
        name: np.ascontiguousarray(value[:, ::-1]) if _is_map(value, old) else value for name, value in sample.items()
    }
