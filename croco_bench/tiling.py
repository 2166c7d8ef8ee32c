"""Sliding windows: run a network of fixed input size over larger images and average where windows overlap."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Size = tuple[int, int]


def offsets(length: int, window: int, overlap: float) -> list[int]:
    """Starts of evenly spread windows that cover `length`; neighbours share at least `overlap` of a window on average.

    Raises:
        ValueError: the window is larger than `length`, or `overlap` isn't in [0, 1).
    """
    if length < window or not 0 <= overlap < 1:
        raise ValueError(f"windows of {window} overlapping by {overlap:g} can't cover {length}")
    strides = (length - window) / ((1 - overlap) * window)
    count = 1 + math.ceil(strides - 1e-9)  # 1 - 0.9 is a little less than 0.1, which must not cost a window
    return [round(place) for place in torch.linspace(0, length - window, count, dtype=torch.float64).tolist()]


def slide(network: Callable[[Tensor], Tensor], images: Tensor, window: Size, overlap: float) -> Tensor:
    """Averages a dense network's outputs over windows.

    Args:
        network: (B, 3, *window) -> (B, C, *window).
        images: (B, 3, H, W), at least as large as the window.
        window: input size of the network.
        overlap: share of the window's side, in [0, 1).

    Returns:
        (B, C, H, W) float32.
    """
    height, width = images.shape[-2:]
    places = [(top, left) for top in offsets(height, window[0], overlap) for left in offsets(width, window[1], overlap)]
    total: Tensor | None = None
    weight = torch.zeros(height, width, device=images.device)
    for top, left in places:
        spot = (..., slice(top, top + window[0]), slice(left, left + window[1]))
        output = network(images[spot]).float()
        if total is None:
            total = output.new_zeros(len(images), output.shape[1], height, width)
        total[spot] += output
        weight[spot] += 1
    assert total is not None
    return total / weight
