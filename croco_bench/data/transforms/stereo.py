"""Random changes of a rectified pair and its disparity, as CroCo-Stereo trains with them (stereoflow/augmentor.py).

Samples are those of `croco_bench.data.datasets.matching.image_pairs`: `image1`, `image2` uint8, `disparity_px`, `valid`.
All randomness comes from the generator that is passed in. Unlike there, an image that is lower than the crop is stretched too,
the small rotation is about a point inside the image, and the right view's saturation stays within 0.8 to 1.2 (there, its lower
end is -0.8).
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
# Each with the range of its amount; in CroCo-Stereo's order.
_COLORS: tuple[tuple[Callable[..., Any], float, float], ...] = (
    (color.adjust_contrast, 0.8, 1.2),
    (color.adjust_gamma, 0.7, 1.5),
    (color.adjust_brightness, 0.5, 2.0),
    (color.adjust_hue, -0.1, 0.1),
    (color.adjust_saturation, 0.8, 1.2),
)


@dataclass(frozen=True)
class StereoAugment:
    """Stretch along rows, crop, flip, a right camera that is a little off, colours, in this order.

    Attributes:
        size: of the crop.
        stretch_prob: probability of a stretch; images that the crop hardly fits in are enlarged anyway.
        stretch_small: range of the stretch's binary logarithm, of images whose shorter side is below `large_from_px` pixels.
        stretch_large: the same of others.
        large_from_px: see above.
        margin: pixels by which an image is wider than the crop, at least.
        vflip_prob: probability of a mirror image, top to bottom; left and right can't be exchanged.
        jitter_pose_prob: probability that the right view is shifted and rotated.
        max_shift_px: by at most so much, up or down.
        max_rotation_deg: by at most so much.
        color_prob: probability that a colour change in turn is made; 0: colours stay.
        single_color_prob: probability that one kind of change alone is tried, instead of all in random order.
        asymmetric_color_prob: probability that the right view gets another amount of a change.
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
        """A changed copy of size `size`, with the keys named above."""
        moved = {name: sample[name] for name in _MAPS}
        moved = _stretch(moved, self.sample_size(moved["valid"].shape, rng))
        moved = crop(moved, self.size, rng)
        if rng.random() < self.vflip_prob:
            moved = {name: np.ascontiguousarray(value[::-1]) for name, value in moved.items()}
        if rng.random() < self.jitter_pose_prob:
            moved["image2"] = self._shaken(moved["image2"], rng)
        if self.color_prob:
            moved |= self._colored(moved, rng)
        return moved

    def sample_size(self, old: Size, rng: np.random.Generator) -> Size:
        """Draws the size (H, W) to which a pair of size `old` is stretched before the crop."""
        height = max(old[0], self.size[0])
        wide = old[1]
        if rng.random() < self.stretch_prob:
            exponents = self.stretch_small if min(old) < self.large_from_px else self.stretch_large
            wide = round(wide * 2.0 ** rng.uniform(*exponents))
        return height, max(wide, self.size[1] + self.margin)

    def _shaken(self, image: Array, rng: np.random.Generator) -> Array:
        """A right view that is shifted along columns and rotated about a random point; what comes in is black."""
        height, width = image.shape[:2]
        center = (float(rng.uniform(0, width)), float(rng.uniform(0, height)))
        motion = cv2.getRotationMatrix2D(center, float(rng.uniform(-self.max_rotation_deg, self.max_rotation_deg)), 1.0)
        motion[1, 2] += rng.uniform(-self.max_shift_px, self.max_shift_px)
        return np.asarray(cv2.warpAffine(image, motion, (width, height), flags=cv2.INTER_LINEAR))

    def _colored(self, sample: Sample, rng: np.random.Generator) -> Sample:
        images = [to_tensor(sample[name]) for name in _IMAGES]
        order = rng.permutation(len(_COLORS))
        if rng.random() < self.single_color_prob:
            order = order[:1]
        for change, low, high in (_COLORS[place] for place in order):
            if rng.random() >= self.color_prob:
                continue
            draw = partial(rng.uniform, low, high)
            left = draw()
            right = draw() if rng.random() < self.asymmetric_color_prob else left
            images = [change(image, amount) for image, amount in zip(images, (left, right), strict=True)]
        return {
            name: np.ascontiguousarray(image.permute(1, 2, 0).numpy())
            for name, image in zip(_IMAGES, images, strict=True)
        }


def _stretch(sample: Sample, size: Size) -> Sample:
    """Images bilinearly; of disparity the nearest value, in pixels of the new width."""
    old: Size = sample["valid"].shape
    if size == old:
        return dict(sample)
    images = {name: cv2.resize(sample[name], size[::-1], interpolation=cv2.INTER_LINEAR) for name in _IMAGES}
    nearest = partial(cv2.resize, dsize=size[::-1], interpolation=cv2.INTER_NEAREST)
    disparity = nearest(sample["disparity_px"]) * np.float32(size[1] / old[1])
    return {**images, "disparity_px": disparity, "valid": nearest(sample["valid"].astype(np.uint8)) > 0}
