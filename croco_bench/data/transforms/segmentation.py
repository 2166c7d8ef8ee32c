"""Geometric and photometric augmentation of images with label maps, as in mmsegmentation and MultiMAE. numpy and OpenCV only.

Samples have `image` (H, W, 3) uint8 and `label` (H, W) uint8; 255 is unlabelled.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from croco_bench.data.transforms import geometry
from croco_bench.types import Sample, Size

Image = NDArray[np.uint8]
Color = tuple[int, int, int]
NO_CLASS = 255
# Padding of mmsegmentation: the mean colour, zero after the usual normalisation.
MEAN_COLOR: Color = (124, 116, 104)
# Padding of MultiMAE.
GRAY: Color = (128, 128, 128)
# Maximum ratio of an image's longer side and the window's: mmsegmentation's scale (2048, 512).
_MAX_RATIO = 4


def rescale(sample: Sample, factor: float) -> Sample:
    """Scales every map by `factor`, to at least one pixel."""
    height, width = sample["image"].shape[:2]
    return geometry.resize(sample, (max(round(height * factor), 1), max(round(width * factor), 1)))


def covering(size: Size, window: Size) -> float:
    """The factor that makes an image of `size` just cover a window, limited to a longer side of four windows."""
    return min(max(window[0] / size[0], window[1] / size[1]), _MAX_RATIO * max(window) / max(size))


def fitting(size: Size, window: Size) -> float:
    """The factor that makes an image of `size` just fit into a window."""
    return min(window[0] / size[0], window[1] / size[1])


def pad(sample: Sample, size: Size, color: Color) -> Sample:
    """Pads at the bottom and right to at least `size`: the image with `color`, the label with 255."""
    height, width = sample["image"].shape[:2]
    edges = (0, max(size[0] - height, 0), 0, max(size[1] - width, 0))
    fills = {"image": color, "label": NO_CLASS}
    padded = {
        name: cv2.copyMakeBorder(sample[name], *edges, cv2.BORDER_CONSTANT, value=fill)
        for name, fill in fills.items()
        if name in sample
    }
    return {**sample, **padded}


def varied_crop(sample: Sample, size: Size, rng: np.random.Generator, *, max_share: float, tries: int = 10) -> Sample:
    """A random crop of at most `size` with two or more classes, none above `max_share` of the labelled pixels.

    After `tries` crops without success, the last one.
    """
    height, width = sample["image"].shape[:2]
    window = min(size[0], height), min(size[1], width)
    for _ in range(tries):
        cropped = geometry.random_crop(sample, window, rng)
        areas = np.bincount(cropped["label"].ravel(), minlength=NO_CLASS + 1)[:NO_CLASS]
        if np.count_nonzero(areas) > 1 and areas.max() < max_share * areas.sum():
            break
    return cropped


def distort(image: Image, rng: np.random.Generator) -> Image:
    """mmsegmentation's photometric distortion: brightness, contrast (before or after), saturation, hue, each with 50 %."""
    changed = image
    if rng.random() < 0.5:
        changed = _clip(changed + np.float32(rng.uniform(-32, 32)))
    early = rng.random() < 0.5
    if early:
        changed = _contrast(changed, rng)
    if rng.random() < 0.5:
        hsv = cv2.cvtColor(changed, cv2.COLOR_RGB2HSV)
        hsv[:, :, 1] = _clip(hsv[:, :, 1] * np.float32(rng.uniform(0.5, 1.5)))
        changed = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if rng.random() < 0.5:
        hsv = cv2.cvtColor(changed, cv2.COLOR_RGB2HSV)
        # OpenCV counts hue in steps of two degrees.
        hsv[:, :, 0] = (hsv[:, :, 0].astype(np.int16) + int(rng.integers(-18, 18))) % 180
        changed = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return changed if early else _contrast(changed, rng)


def _contrast(image: Image, rng: np.random.Generator) -> Image:
    if rng.random() < 0.5:
        return _clip(image * np.float32(rng.uniform(0.5, 1.5)))
    return image


def _clip(values: NDArray[np.float32]) -> Image:
    return np.clip(values, 0, 255).astype(np.uint8)
