"""Images as pictures, and methods without learning that look at two grey ones."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from torch import Tensor

from croco_bench.types import Array, Batch

# Two grey images (H, W) uint8 -> what leads from the first to the second, pixel by pixel.
Method = Callable[[Array, Array], Array]


def on_batch(method: Method, batch: Batch) -> list[Array]:
    """What a method says of every pair of a prepared batch."""
    return [method(_gray(one), _gray(two)) for one, two in zip(batch["image1"], batch["image2"], strict=True)]


def picture(image: Tensor) -> Array:
    """(3, H, W) in [0, 1] -> (H, W, 3) uint8."""
    pixels: Array = (image.permute(1, 2, 0) * 255).round().to("cpu").numpy().astype(np.uint8)
    return pixels


def _gray(image: Tensor) -> Array:
    gray: Array = cv2.cvtColor(picture(image), cv2.COLOR_RGB2GRAY)
    return gray
