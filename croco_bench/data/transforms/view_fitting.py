"""Images of any size, alone or stacked, to a network's: scaled until they cover it, the middle kept; intrinsics go along."""

from __future__ import annotations

import numpy as np

from croco_bench.data.transforms import geometry
from croco_bench.types import Array, Size


def resize_crop_with_intrinsics(image: Array, K: Array, size: Size) -> tuple[Array, Array]:
    """An image (H, W, 3) and its K (3, 3) -> both for `size`. Nothing is cut off where the sides have the same ratio.

    Stacks (n, H, W, 3) and (n, 3, 3) become stacks.
    """
    if image.ndim == 4:
        fitted = [resize_crop_with_intrinsics(one, camera, size) for one, camera in zip(image, K, strict=True)]
        return np.stack([one for one, _ in fitted]), np.stack([camera for _, camera in fitted])
    small: Array = geometry.smallest_side({"image": image}, size)["image"]
    (height, width), (tall, wide) = image.shape[:2], small.shape[:2]
    top, left = (tall - size[0]) // 2, (wide - size[1]) // 2
    down, across = tall / height, wide / width
    # Pixel (0, 0) is a pixel's centre, half a pixel from the corner about which images scale.
    move = np.array([[across, 0, (across - 1) / 2 - left], [0, down, (down - 1) / 2 - top], [0, 0, 1]])
    cut: Array = geometry.crop({"image": small}, top, left, size)["image"]
    return cut, move @ K
