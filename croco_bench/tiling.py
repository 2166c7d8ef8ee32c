"""Sliding windows: run a network of fixed input size over larger images and average where windows overlap."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from croco_bench.types import Size


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
    total: Tensor | None = None
    weight = torch.zeros(height, width, device=images.device)
    for spot in _spots((height, width), window, overlap):
        output = network(images[spot]).float()
        if total is None:
            total = output.new_zeros(len(images), output.shape[1], height, width)
        total[spot] += output
        weight[spot] += 1
    assert total is not None
    return total / weight


def grid(size: Size, window: Size, overlap: float) -> Size:
    """How many windows, down and across, `slide_pairs` lays over images of this size."""
    height, width = enlarged(size, window)
    return len(offsets(height, window[0], overlap)), len(offsets(width, window[1], overlap))


def enlarged(size: Size, window: Size) -> Size:
    """The size, enlarged if need be, with its aspect ratio kept, until the window fits in."""
    factor = max(window[0] / size[0], window[1] / size[1], 1.0)
    return max(round(size[0] * factor), window[0]), max(round(size[1] * factor), window[1])


def confidence_weight(confidence: Tensor, beta: float, gamma: float) -> Tensor:
    """exp(-2 beta (sigmoid(c / gamma) - 1/2)): from exp(beta) where c is low, which means trust, to exp(-beta)."""
    return torch.exp(-2 * beta * (torch.sigmoid(confidence / gamma) - 0.5))


@runtime_checkable
class SharesImages(Protocol):
    """A network that, told which images its pairs are made of, encodes each of them once."""

    def pairs(self, images: Tensor, first: Sequence[int], second: Sequence[int], *, at_once: int) -> Tensor:
        """(n, 3, H, W) and the images of each pair -> what the network gives for the pairs."""
        ...


def slide_pairs(
    network: Callable[[Tensor, Tensor], Tensor] | SharesImages,
    image1: Tensor,
    image2: Tensor,
    window: Size,
    overlap: float,
    *,
    weigh: Callable[[Tensor], Tensor] | None,
    batch: int,
) -> Tensor:
    """Averages the flow (or disparity) that a network predicts for pairs of windows, weighted by its confidence.

    Images that a window doesn't fit in are enlarged first, and the flow is brought back to their size. Where a pair goes
    on from the one before it, as in a video, their common image goes through the network's encoder once. Memory is that
    of one batch of windows, or one window of all pairs, and of the result.

    Args:
        network: twice (n, 3, *window) -> (n, k, *window), k = 1 (x) or 2 (x, y) in pixels, and one channel more, the raw
            confidence, where `weigh` is given.
        image1: (B, 3, H, W).
        image2: of the same shape.
        window: input size of the network.
        overlap: share of the window's side, in [0, 1).
        weigh: raw confidence -> positive weight, pixel by pixel; None: all weigh the same.
        batch: windows predicted at once.

    Returns:
        (B, k, H, W) float32.
    """
    original: Size = (image1.shape[-2], image1.shape[-1])
    size, pairs = enlarged(original, window), len(image1)
    frames, first, second = _frames(image1, image2)
    if size != original:
        frames = [F.interpolate(frame[None], size, mode="bicubic", align_corners=False)[0] for frame in frames]
    spots, at_once = _spots(size, window, overlap), max(batch // pairs, 1)
    mean: Tensor | None = None
    total = torch.zeros(pairs, 1, *size, device=image1.device)
    for start in range(0, len(spots), at_once):
        group = spots[start : start + at_once]
        images = torch.stack([frame[spot] for spot in group for frame in frames])
        views = [
            [place * len(frames) + one for place in range(len(group)) for one in index] for index in (first, second)
        ]
        if isinstance(network, SharesImages):
            outputs = network.pairs(images, *views, at_once=batch)
        else:
            outputs = network(images[views[0]], images[views[1]])
        for spot, output in zip(group, torch.split(outputs.float(), pairs), strict=True):
            flow, weight = (output, torch.ones_like(output[:, :1]))
            if weigh is not None:
                flow, weight = output[:, :-1], weigh(output[:, -1:])
            if mean is None:
                mean = output.new_zeros(pairs, flow.shape[1], *size)
            # A running mean, not a quotient of sums: what all windows agree on comes back bit by bit.
            total[spot] += weight
            mean[spot] += (flow - mean[spot]) * (weight / total[spot])
    assert mean is not None
    return mean if size == original else _shrunk(mean, original)


def _frames(image1: Tensor, image2: Tensor) -> tuple[list[Tensor], list[int], list[int]]:
    """The images of all pairs, and which are the first and the second of each; neighbours in a video share one."""
    frames, first, second = list[Tensor](), list[int](), list[int]()
    for one, two in zip(image1, image2, strict=True):
        if not frames or not torch.equal(frames[-1], one):
            frames.append(one)
        first.append(len(frames) - 1)
        frames.append(two)
        second.append(len(frames) - 1)
    return frames, first, second


def _shrunk(flow: Tensor, size: Size) -> Tensor:
    """Brings a flow (B, k, H, W) in pixels to another size."""
    ratios = flow.new_tensor([size[1] / flow.shape[-1], size[0] / flow.shape[-2]][: flow.shape[1]])
    return F.interpolate(flow, size, mode="bicubic", align_corners=False) * ratios[:, None, None]


def _spots(size: Size, window: Size, overlap: float) -> list[tuple[Any, slice, slice]]:
    """Indices of all windows, row by row."""
    return [
        (..., slice(top, top + window[0]), slice(left, left + window[1]))
        for top in offsets(size[0], window[0], overlap)
        for left in offsets(size[1], window[1], overlap)
    ]
