"""From a pair of images to the sample of an objective: cropped, jittered, normalised views and a mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from croco_bench.data.pairs import Pair
from croco_bench.data.transforms.color import ColorJitter, to_unit
from croco_bench.data.transforms.joint_crop import JointCrop
from croco_bench.errors import DataError
from croco_bench.pretraining.objective import Objective
from croco_bench.types import Sample, Size

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Augmentation:
    """Random change of one view, independent of the other view's, as in CroCo's `crop224+acolor`.

    Attributes:
        size: of the random crop (H, W), pixels.
        resize: side of the square that an image is first brought to, by resizing its short side and a central crop; 0:
            keep the image's size.
        color: brightness, contrast and saturation factors lie within 1 ± this; hue is constant.
        homography: the corners of the crop move by up to this share of half its side.
        rotation_deg: the crop turns by up to this angle in either direction.
    """

    size: Size
    resize: int = 0
    color: float = 0.4
    homography: float = 0.0
    rotation_deg: float = 0.0

    def __call__(self, image: Image, rng: np.random.Generator) -> Image:
        """(H, W, 3) -> a random crop (size, 3)."""
        image = self._fit(image)
        top, left = (int(rng.integers(0, margin + 1)) for margin in self._margins(image))
        if self.homography or self.rotation_deg:
            cropped = self._warp(image, top, left, rng)
        else:
            cropped = image[top : top + self.size[0], left : left + self.size[1]]
        if not self.color:
            return cropped
        span = (1 - self.color, 1 + self.color)
        return ColorJitter(span, span, span)(cropped, rng)

    def center_crop(self, image: Image) -> Image:
        """(H, W, 3) -> the central (size, 3), colours unchanged: for held-out pairs."""
        image = self._fit(image)
        top, left = (margin // 2 for margin in self._margins(image))
        return image[top : top + self.size[0], left : left + self.size[1]]

    def _margins(self, image: Image) -> tuple[int, int]:
        """Pixels that the image has more than the crop, (vertical, horizontal)."""
        return image.shape[0] - self.size[0], image.shape[1] - self.size[1]

    def _fit(self, image: Image) -> Image:
        """Resizes to `resize`; an image smaller than the crop is an error."""
        if self.resize and image.shape[:2] != (self.resize, self.resize):
            height, width = image.shape[:2]
            scale = self.resize / min(height, width)
            size = (max(round(width * scale), self.resize), max(round(height * scale), self.resize))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
            top, left = (np.array(image.shape[:2]) - self.resize) // 2
            image = image[top : top + self.resize, left : left + self.resize]
        if image.shape[0] < self.size[0] or image.shape[1] < self.size[1]:
            raise DataError(
                f"an image of {image.shape[0]}x{image.shape[1]} pixels is smaller than the crop of {self.size[0]}x"
                f"{self.size[1]}",
                "use larger images, --set data.resize or a smaller --set train.image_size",
            )
        return image

    def _warp(self, image: Image, top: int, left: int, rng: np.random.Generator) -> Image:
        """A crop in perspective: the quadrilateral of its turned and moved corners, mapped to the crop's rectangle."""
        height, width = self.size
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)
        middle, angle = corners.mean(axis=0), np.radians(rng.uniform(-self.rotation_deg, self.rotation_deg))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        moved = (corners - middle) @ turn.T + middle
        moved += rng.uniform(-1, 1, (4, 2)) * self.homography * middle + (left, top)
        matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), moved.astype(np.float32))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped: Image = cv2.warpPerspective(
            image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101
        )
        return warped


@dataclass(frozen=True)
class PairTransform:
    """Makes an objective's sample of `{"pair": Pair}`; objectives of one view get one of the two, drawn each time."""

    objective: Objective
    augmentation: Augmentation

    def train(self, sample: Sample, rng: np.random.Generator) -> dict[str, Tensor]:
        """A random crop of each view, and a random mask."""
        numbers = (1, 2) if self.objective.views == 2 else (int(rng.integers(1, 3)),)
        views = [self._view(sample["pair"], number, lambda image: self.augmentation(image, rng)) for number in numbers]
        return self._finish(views, rng)

    def val(self, sample: Sample, rng: np.random.Generator) -> dict[str, Tensor]:
        """The central crop of each view; only the mask is random."""
        numbers = range(1, self.objective.views + 1)
        return self._finish(
            [self._view(sample["pair"], number, self.augmentation.center_crop) for number in numbers], rng
        )

    def _view(self, pair: Pair, number: int, change: Callable[[Image], Image]) -> Image:
        image = pair.image(number)
        try:
            return change(image)
        except DataError as error:  # the crop doesn't know the file's name
            raise DataError(f"{pair.name(number)}: {error}") from error

    def _finish(self, views: list[Image], rng: np.random.Generator) -> dict[str, Any]:
        backbone = self.objective.backbone
        tensors = {}
        for number, view in enumerate(views, start=1):
            pixels = to_unit(view)
            for channel, (mean, std) in enumerate(zip(backbone.mean, backbone.std, strict=True)):
                pixels[channel].sub_(mean).div_(std)
            tensors[f"view{number}"] = pixels
        return {**tensors, **self.objective.sample_mask(rng)}


@dataclass(frozen=True)
class ModalityTransform:
    """Makes a sample of the multimae objective of `{"image", "depth", "semseg"}`."""

    objective: Objective
    crop: JointCrop
    center_crop: JointCrop

    def train(self, sample: Sample, rng: np.random.Generator) -> dict[str, Tensor]:
        """A random crop of all modalities together, and a random mask."""
        return {**self.crop(sample, rng), **self.objective.sample_mask(rng)}

    def val(self, sample: Sample, rng: np.random.Generator) -> dict[str, Tensor]:
        """The central crop; only the mask is random."""
        return {**self.center_crop(sample, rng), **self.objective.sample_mask(rng)}
