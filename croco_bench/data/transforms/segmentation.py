"""Geometry and colour of images with label maps, as mmsegmentation and MultiMAE change them. numpy and OpenCV only.

Samples have `image` (H, W, 3) uint8 and `label` (H, W) uint8, of which 255 is no class.
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
# Zero after the normalisation that most networks use, as mmsegmentation pads; MultiMAE's grey.
MEAN_COLOR: Color = (124, 116, 104)
GRAY: Color = (128, 128, 128)
# The longer side is at most so many windows long: mmsegmentation's (2048, 512).
_LONGEST = 4


def rescale(sample: Sample, factor: float) -> Sample:
    """Every map, `factor` times as large, but at least a pixel."""
    height, width = sample["image"].shape[:2]
    return geometry.resize(sample, (max(round(height * factor), 1), max(round(width * factor), 1)))


def covering(size: Size, window: Size) -> float:
    """The factor that makes an image of `size` just cover a window; less where a side would exceed four windows."""
    (height, width), (tall, wide) = size, window
    return min(max(tall / height, wide / width), _LONGEST * max(window) / max(size))


def fitting(size: Size, window: Size) -> float:
    """The factor that makes an image of `size` just fit into a window."""
    return min(window[0] / size[0], window[1] / size[1])


def pad(sample: Sample, size: Size, color: Color) -> Sample:
    """Adds to the bottom and to the right, up to `size`: `color` to the image, no class to the label."""
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
    """A random window of at most `size` with two classes or more, none above the share `max_share` of its labelled pixels.

    After `tries` windows without success, the last one.
    """
    height, width = sample["image"].shape[:2]
    window = min(size[0], height), min(size[1], width)
    for _ in range(tries):
        found = geometry.random_crop(sample, window, rng)
        areas = np.bincount(found["label"].ravel(), minlength=NO_CLASS + 1)[:NO_CLASS]
        if np.count_nonzero(areas) > 1 and areas.max() < max_share * areas.sum():
            break
    return found


def distort(image: Image, rng: np.random.Generator) -> Image:
    """mmsegmentation's photometric distortion: brightness, saturation, hue, and contrast first or last, half the time each."""
    changed = image
    if rng.random() < 0.5:
        changed = _clipped(changed + np.float32(rng.uniform(-32, 32)))
    early = rng.random() < 0.5
    if early:
        changed = _contrast(changed, rng)
    if rng.random() < 0.5:
        hsv = cv2.cvtColor(changed, cv2.COLOR_RGB2HSV)
        hsv[:, :, 1] = _clipped(hsv[:, :, 1] * np.float32(rng.uniform(0.5, 1.5)))
        changed = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if rng.random() < 0.5:
        hsv = cv2.cvtColor(changed, cv2.COLOR_RGB2HSV)
        # OpenCV counts hue in steps of two degrees.
        hsv[:, :, 0] = (hsv[:, :, 0].astype(np.int16) + int(rng.integers(-18, 18))) % 180
        changed = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return changed if early else _contrast(changed, rng)


def _contrast(image: Image, rng: np.random.Generator) -> Image:
    if rng.random() < 0.5:
        return _clipped(image * np.float32(rng.uniform(0.5, 1.5)))
    return image


def _clipped(values: NDArray[np.float32]) -> Image:
    return np.clip(values, 0, 255).astype(np.uint8)
