"""Resizing and cropping of images together with their intrinsics."""

from __future__ import annotations

import numpy as np

from croco_bench.data.transforms import geometry
from croco_bench.types import Array, Size


def resize_crop_with_intrinsics(image: Array, K: Array, size: Size) -> tuple[Array, Array]:
    """Scales an image until it covers `size`, crops the centre, and adapts the intrinsics.

    Args:
        image: (H, W, 3), or a stack (n, H, W, 3).
        K: intrinsics (3, 3), or (n, 3, 3).
        size: (H, W) of the result. With the aspect ratio of the image, nothing is cropped.
    """
    if image.ndim == 4:
        pairs = [resize_crop_with_intrinsics(one, camera, size) for one, camera in zip(image, K, strict=True)]
        return np.stack([one for one, _ in pairs]), np.stack([camera for _, camera in pairs])
    scaled: Array = geometry.smallest_side({"image": image}, size)["image"]
    (height, width), (scaled_height, scaled_width) = image.shape[:2], scaled.shape[:2]
    top, left = (scaled_height - size[0]) // 2, (scaled_width - size[1]) // 2
    down, across = scaled_height / height, scaled_width / width
    # Coordinates (0, 0) are the centre of the first pixel, half a pixel from the corner about which images scale.
    move = np.array([[across, 0, (across - 1) / 2 - left], [0, down, (down - 1) / 2 - top], [0, 0, 1]])
    cropped: Array = geometry.crop({"image": scaled}, top, left, size)["image"]
    return cropped, move @ K
