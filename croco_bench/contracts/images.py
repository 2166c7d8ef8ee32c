"""From what users call an image to the input of a network."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from croco_bench.errors import UsageError
from croco_bench.types import Size

Fit = Literal["resize", "pad"]


def to_rgb(image: object) -> Tensor:
    """(3, H, W) float32 in [0, 1] of one image.

    Args:
        image: a PIL image of any mode; an array (H, W), (H, W, C) or (C, H, W); or a tensor (H, W), (C, H, W) or
            (1, C, H, W). C is 1 (repeated), 3, or 4 (the last, opacity, is left out). Values are integers from 0 to 255, or
            floating-point numbers from 0 to 1.

    Raises:
        UsageError: it is none of these, or has other values.
    """
    given: Any = image
    if hasattr(given, "convert"):  # PIL
        given = np.array(given.convert("RGB"))
    values = given.detach().cpu() if isinstance(given, Tensor) else _tensor_of(given)
    if values.ndim == 4 and len(values) == 1:
        values = values[0]
    if values.ndim == 2:
        values = values[None]
    channels_first = values.ndim == 3 and len(values) in (1, 3, 4)
    if values.ndim == 3 and not channels_first and values.shape[2] in (1, 3, 4):
        values, channels_first = values.permute(2, 0, 1), True
    if not channels_first or 0 in values.shape:
        raise UsageError(f"an image has the shape (H, W, 3) or (3, H, W), but this has {tuple(values.shape)}")
    return _unit(values[:3]).expand(3, -1, -1)


def _tensor_of(given: Any) -> Tensor:
    array = np.asarray(given)
    if array.dtype.kind not in "biuf":
        raise UsageError(
            f"{type(given).__name__} is no image", "give a PIL image, an array (H, W, 3) or a tensor (3, H, W)"
        )
    return torch.from_numpy(np.ascontiguousarray(array.astype(np.int64) if array.dtype.kind == "u" else array))


def _unit(values: Tensor) -> Tensor:
    """Values in [0, 1]."""
    unit = values.float() if values.is_floating_point() else values.float() / 255
    low, high = float(unit.min()), float(unit.max())
    if not (low >= 0 and high <= 1 + 1e-6):  # NaN fails, too
        expected = "from 0 to 1" if values.is_floating_point() else "from 0 to 255"
        raise UsageError(
            f"values of an image of {str(values.dtype).removeprefix('torch.')} go {expected}, but these go from "
            f"{float(values.float().min()):g} to {float(values.float().max()):g}",
            "encode(images) takes images that are normalised already",
        )
    return unit


def fit_to(image: Tensor, size: Size, fit: Fit) -> tuple[Tensor, Size]:
    """An image (3, H, W) in a network's input size (3, *size), bilinear with antialiasing.

    Args:
        image: of any size.
        size: (H, W) in pixels.
        fit: `resize` stretches the image to the size; `pad` keeps its aspect ratio and puts it into the upper left corner.

    Returns:
        The image, and the size (H, W) of the part that shows it; the rest is NaN.
    """
    height, width = image.shape[1:]
    inner = size
    if fit == "pad":
        scale = min(size[0] / height, size[1] / width)
        inner = (max(round(height * scale), 1), max(round(width * scale), 1))
    resized = F.interpolate(image[None], size=inner, mode="bilinear", align_corners=False, antialias=True)[0]
    return F.pad(resized, (0, size[1] - inner[1], 0, size[0] - inner[0]), value=float("nan")), inner
