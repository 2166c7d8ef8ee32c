"""Colour jitter of uint8 images (H, W, 3), and their conversion to tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as color

Image = NDArray[np.uint8]
Range = tuple[float, float]


@dataclass(frozen=True)
class ColorJitter:
    """Factors of brightness, contrast and saturation, and a shift of the hue, each uniform in its range, in random order."""

    brightness: Range = (1.0, 1.0)
    contrast: Range = (1.0, 1.0)
    saturation: Range = (1.0, 1.0)
    hue: Range = (0.0, 0.0)

    def __call__(self, image: Image, rng: np.random.Generator) -> Image:
        """A jittered copy."""
        tensor = to_tensor(image)
        steps: list[tuple[Any, float]] = [
            (color.adjust_brightness, rng.uniform(*self.brightness)),
            (color.adjust_contrast, rng.uniform(*self.contrast)),
            (color.adjust_saturation, rng.uniform(*self.saturation)),
            (color.adjust_hue, rng.uniform(*self.hue)),
        ]
        for index in rng.permutation(len(steps)):
            change, amount = steps[index]
            if change is not color.adjust_hue or amount:  # a hue shift of 0 costs two colour conversions
                tensor = change(tensor, amount)
        return np.ascontiguousarray(tensor.permute(1, 2, 0).numpy())


def to_gray(image: Image) -> Image:
    """Luma in three equal channels (H, W, 3)."""
    gray = color.rgb_to_grayscale(to_tensor(image), num_output_channels=3)
    return np.ascontiguousarray(gray.permute(1, 2, 0).numpy())


def to_tensor(image: Image) -> torch.Tensor:
    """(H, W, 3) uint8 -> (3, H, W) uint8."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)


def to_unit(image: Image) -> torch.Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32 in [0, 1], the range of network inputs."""
    return to_tensor(image).float().div_(255)


def to_uint8(image: torch.Tensor) -> Image:
    """(3, H, W) in [0, 1] -> (H, W, 3) uint8: the inverse of `to_unit`."""
    return (image.permute(1, 2, 0) * 255).round().cpu().numpy().astype(np.uint8)
