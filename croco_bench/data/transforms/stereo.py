"""Augmentation of rectified pairs with disparity, as in CroCo-Stereo (stereoflow/augmentor.py).

Samples have the keys of `data.datasets.matching.image_pairs`: `image1`, `image2` (H, W, 3) uint8, `disparity_px` and
`valid` (H, W). Differences from CroCo-Stereo: images lower than the crop are stretched too; the centre of the small rotation
is inside the image; the right view's saturation factor is drawn from 0.8 to 1.2 (there from -0.8).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from torchvision.transforms.v2 import functional as color

from croco_bench.data.transforms.color import to_tensor
from croco_bench.data.transforms.flow import crop
from croco_bench.types import Array, Sample, Size

_IMAGES = ("image1", "image2")
_MAPS = (*_IMAGES, "disparity_px", "valid")
# Functions and ranges of their amounts, in CroCo-Stereo's order.
_COLORS: tuple[tuple[Callable[..., Any], float, float], ...] = (
    (color.adjust_contrast, 0.8, 1.2),
    (color.adjust_gamma, 0.7, 1.5),
    (color.adjust_brightness, 0.5, 2.0),
    (color.adjust_hue, -0.1, 0.1),
    (color.adjust_saturation, 0.8, 1.2),
)


@dataclass(frozen=True)
class StereoAugment:
    """Horizontal stretch, crop, vertical flip, small pose error of the right view, colours, in this order.

    Attributes:
        size: (H, W) of the crop.
        stretch_prob: probability of a stretch; without it, only images narrower than the crop are enlarged.
        stretch_small: range of log2 of the stretch, for images with a shorter side below `large_from_px`.
        stretch_large: range of log2 of the stretch, for larger images.
        large_from_px: shorter side from which an image counts as large.
        margin: minimum excess of an image's width over the crop, in pixels.
        vflip_prob: probability of a vertical flip. There is no horizontal flip, as it would exchange the views.
        jitter_pose_prob: probability of a shift and rotation of the right view.
        max_shift_px: maximum vertical shift.
        max_rotation_deg: maximum rotation.
        color_prob: probability of each colour change; 0 disables all.
        single_color_prob: probability of trying one colour change only, instead of all in random order.
        asymmetric_color_prob: probability of another amount of a colour change in the right view.
    """

    size: Size
    stretch_prob: float = 0.5
    stretch_small: tuple[float, float] = (0.0, 1.0)
    stretch_large: tuple[float, float] = (-0.2, 0.4)
    large_from_px: int = 800
    margin: int = 8
    vflip_prob: float = 0.5
    jitter_pose_prob: float = 0.5
    max_shift_px: float = 2.0
    max_rotation_deg: float = 0.1
    color_prob: float = 0.5
    single_color_prob: float = 0.5
    asymmetric_color_prob: float = 0.5

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """An augmented copy of size `size`, with the four keys of the module docstring."""
        moved = {name: sample[name] for name in _MAPS}
        moved = _stretch(moved, self.sample_size(moved["valid"].shape, rng))
        moved = crop(moved, self.size, rng)
        if rng.random() < self.vflip_prob:
            moved = {name: np.ascontiguousarray(value[::-1]) for name, value in moved.items()}
        if rng.random() < self.jitter_pose_prob:
            moved["image2"] = self._jitter_pose(moved["image2"], rng)
        if self.color_prob:
            moved |= self._jitter_colors(moved, rng)
        return moved

    def sample_size(self, old: Size, rng: np.random.Generator) -> Size:
        """Draws the size (H, W) to which a pair of size `old` is stretched before the crop."""
        height, width = max(old[0], self.size[0]), old[1]
        if rng.random() < self.stretch_prob:
            exponents = self.stretch_small if min(old) < self.large_from_px else self.stretch_large
            width = round(width * 2.0 ** rng.uniform(*exponents))
        return height, max(width, self.size[1] + self.margin)

    def _jitter_pose(self, image: Array, rng: np.random.Generator) -> Array:
        """Shifts the right view vertically and rotates it about a random point; uncovered pixels are black."""
        height, width = image.shape[:2]
        center = (float(rng.uniform(0, width)), float(rng.uniform(0, height)))
        motion = cv2.getRotationMatrix2D(center, float(rng.uniform(-self.max_rotation_deg, self.max_rotation_deg)), 1.0)
        motion[1, 2] += rng.uniform(-self.max_shift_px, self.max_shift_px)
        return np.asarray(cv2.warpAffine(image, motion, (width, height), flags=cv2.INTER_LINEAR))

    def _jitter_colors(self, sample: Sample, rng: np.random.Generator) -> Sample:
        images = [to_tensor(sample[name]) for name in _IMAGES]
        order = rng.permutation(len(_COLORS))
        if rng.random() < self.single_color_prob:
            order = order[:1]
        for change, min_amount, max_amount in (_COLORS[i] for i in order):
            if rng.random() >= self.color_prob:
                continue
            draw = partial(rng.uniform, min_amount, max_amount)
            left = draw()
            right = draw() if rng.random() < self.asymmetric_color_prob else left
            images = [change(image, amount) for image, amount in zip(images, (left, right), strict=True)]
        return {
            name: np.ascontiguousarray(image.permute(1, 2, 0).numpy())
            for name, image in zip(_IMAGES, images, strict=True)
        }


def _stretch(sample: Sample, size: Size) -> Sample:
    """Resizes images bilinearly, disparity by nearest neighbour; disparity is scaled to pixels of the new width."""
    old: Size = sample["valid"].shape
    if size == old:
        return dict(sample)
    images = {name: cv2.resize(sample[name], size[::-1], interpolation=cv2.INTER_LINEAR) for name in _IMAGES}
    nearest = partial(cv2.resize, dsize=size[::-1], interpolation=cv2.INTER_NEAREST)
    disparity = nearest(sample["disparity_px"]) * np.float32(size[1] / old[1])
    return {**images, "disparity_px": disparity, "valid": nearest(sample["valid"].astype(np.uint8)) > 0}
