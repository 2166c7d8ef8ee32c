"""Tiled prediction: a network of fixed input size runs over larger images; overlapping tiles are averaged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from croco_bench.types import Size

# Pixels of the tiles in one forward pass: sixteen of 512x512 on a GPU, of 64x64 on a CPU, where more gain nothing. Results
# don't depend on them beyond rounding.
_PIXELS_AT_ONCE, _PIXELS_AT_ONCE_ON_A_CPU = 2**22, 2**16
# Key of a batch of pairs: `continues` of `slide_pairs`.
CONTINUES = "image_continues"
# Index of a tile in (..., H, W).
Tile = tuple[Any, slice, slice]


def offsets(length: int, tile: int, overlap: float) -> list[int]:
    """Starts of evenly spaced tiles that cover `length`; neighbours share at least `overlap` of a tile on average.

    Raises:
        ValueError: the tile is longer than `length`, or `overlap` isn't in [0, 1).
    """
    if length < tile or not 0 <= overlap < 1:
        raise ValueError(f"tiles of {tile} overlapping by {overlap:g} can't cover {length}")
    strides = (length - tile) / ((1 - overlap) * tile)
    count = 1 + math.ceil(strides - 1e-9)  # 1 - 0.9 is a little less than 0.1, which must not cost a tile
    return [round(start) for start in _evenly_spaced(length - tile, count)]


def _evenly_spaced(end: int, count: int) -> list[float]:
    """`count` numbers from 0 to `end`, the second half counted from the end, so that the spacing is symmetric."""
    if count == 1:
        return [0.0]
    step = end / (count - 1)
    return [step * i if i < count // 2 else end - step * (count - 1 - i) for i in range(count)]


def tile_slices(size: Size, tile: Size, overlap: float) -> list[Tile]:
    """Indices of all tiles in images of `size`, row by row."""
    return [
        (..., slice(top, top + tile[0]), slice(left, left + tile[1]))
        for top in offsets(size[0], tile[0], overlap)
        for left in offsets(size[1], tile[1], overlap)
    ]


def slide(network: Callable[[Tensor], Tensor], images: Tensor, tile: Size, overlap: float) -> Tensor:
    """Averages a dense network's outputs over tiles.

    Args:
        network: (B, 3, *tile) -> (B, C, *tile).
        images: (B, 3, H, W), at least as large as a tile.
        tile: input size of the network.
        overlap: share of the tile's side, in [0, 1).

    Returns:
        (B, C, H, W) float32.
    """
    size = (images.shape[-2], images.shape[-1])
    mean = _MeanOfTiles(size, images.device)
    for index in tile_slices(size, tile, overlap):
        mean.add(index, network(images[index]))
    return mean.value()


def slide_each(
    network: Callable[[Tensor], Tensor], images: Iterable[Tensor], tile: Size, overlap: float
) -> Iterator[Tensor]:
    """The same for images that may differ in size: (3, H, W) each -> (1, C, H, W).

    A forward pass takes several tiles: on a GPU of all images together, on a CPU of one image, so that the outputs for an image
    don't depend on those beside it.
    """
    means, waiting = list[_MeanOfTiles](), list[_Waiting]()
    for image in images:
        size = (image.shape[-2], image.shape[-1])
        means.append(_MeanOfTiles(size, image.device))
        waiting += [(means[-1], index, image[index]) for index in tile_slices(size, tile, overlap)]
        if image.device.type == "cpu":
            _predict_waiting(network, waiting, _tiles_at_once(tile, image.device))
            waiting.clear()
    if waiting:
        _predict_waiting(network, waiting, _tiles_at_once(tile, means[0].device))
    return (mean.value() for mean in means)


def _predict_waiting(network: Callable[[Tensor], Tensor], waiting: Sequence[_Waiting], at_once: int) -> None:
    """Adds the outputs for tiles to the means of their images."""
    for first in range(0, len(waiting), at_once):
        group = waiting[first : first + at_once]
        for (mean, index, _), output in zip(group, network(torch.stack([part for *_, part in group])), strict=True):
            mean.add(index, output[None])


def _tiles_at_once(tile: Size, device: torch.device) -> int:
    pixels = _PIXELS_AT_ONCE_ON_A_CPU if device.type == "cpu" else _PIXELS_AT_ONCE
    return max(1, pixels // (tile[0] * tile[1]))


class _MeanOfTiles:
    """The mean, in float32, of outputs (B, C, h, w) at tiles of an image of `size`."""

    def __init__(self, size: Size, device: torch.device) -> None:
        self._size, self.device = size, device
        self._total: Tensor | None = None
        self._weight = torch.zeros(*size, device=device)

    def add(self, index: Tile, output: Tensor) -> None:
        """Adds the output at a tile."""
        output = output.float()
        if self._total is None:
            self._total = output.new_zeros(*output.shape[:2], *self._size)
        self._total[index] += output
        self._weight[index] += 1

    def value(self) -> Tensor:
        """(B, C, H, W)."""
        assert self._total is not None
        return self._total / self._weight


# A tile that awaits its prediction: the mean of its image, its place there, its pixels.
_Waiting = tuple[_MeanOfTiles, Tile, Tensor]


def grid(size: Size, tile: Size, overlap: float) -> Size:
    """Number of tiles, down and across, of `slide_pairs` for images of this size."""
    height, width = enlarged(size, tile)
    return len(offsets(height, tile[0], overlap)), len(offsets(width, tile[1], overlap))


def enlarged(size: Size, tile: Size) -> Size:
    """The size, scaled up (aspect ratio kept) until a tile fits in; unchanged if one does already."""
    factor = max(tile[0] / size[0], tile[1] / size[1], 1.0)
    return max(round(size[0] * factor), tile[0]), max(round(size[1] * factor), tile[1])


def sigmoid_weight(confidence: Tensor, beta: float, gamma: float) -> Tensor:
    """exp(-2 beta (sigmoid(c / gamma) - 1/2)), from exp(beta) for low c (trusted) to exp(-beta) for high c."""
    return torch.exp(-2 * beta * (torch.sigmoid(confidence / gamma) - 0.5))


@runtime_checkable
class SharesImages(Protocol):
    """A network that predicts pairs among images and encodes each image once, however many pairs it is in."""

    def pairs(self, images: Tensor, first: Sequence[int], second: Sequence[int], *, at_once: int) -> Tensor:
        """Images (n, 3, H, W) and both image indices of each pair -> outputs of all pairs."""
        ...


def slide_pairs(
    network: Callable[[Tensor, Tensor], Tensor] | SharesImages,
    image1: Tensor,
    image2: Tensor,
    tile: Size,
    overlap: float,
    *,
    confidence_weight: Callable[[Tensor], Tensor] | None,
    tiles_at_once: int,
    continues: Sequence[bool] | None = None,
) -> Tensor:
    """Averages the flow (or disparity) that a network predicts for pairs of tiles, weighted by its confidence.

    Images smaller than a tile are enlarged first, and the flow is scaled back. Consecutive pairs that share an image, as in
    a video, have it encoded once. Memory is bounded by `tiles_at_once` tiles, or one tile of all pairs, and the result.

    Args:
        network: twice (n, 3, *tile) -> (n, k, *tile), k = 1 (x) or 2 (x, y) in pixels, plus one channel of raw confidence
            if `confidence_weight` is given.
        image1: (B, 3, H, W).
        image2: (B, 3, H, W).
        tile: input size of the network.
        overlap: share of the tile's side, in [0, 1).
        confidence_weight: raw confidence -> positive weight, pixel by pixel; None: equal weights.
        tiles_at_once: number of tiles per forward pass.
        continues: whether each pair begins with the image that the one before ends with; None: images are compared, for which
            the host waits for a GPU.

    Returns:
        (B, k, H, W) float32.
    """
    original: Size = (image1.shape[-2], image1.shape[-1])
    size, pairs = enlarged(original, tile), len(image1)
    frames, first, second = _frames(image1, image2, same_as_before(image1, image2) if continues is None else continues)
    if size != original:
        frames = [F.interpolate(frame[None], size, mode="bicubic", align_corners=False)[0] for frame in frames]
    tiles, step = tile_slices(size, tile, overlap), max(tiles_at_once // pairs, 1)
    mean: Tensor | None = None
    total = torch.zeros(pairs, 1, *size, device=image1.device)
    for start in range(0, len(tiles), step):
        group = tiles[start : start + step]
        outputs = _predict_tiles(network, frames, (first, second), group, tiles_at_once)
        for index, output in zip(group, torch.split(outputs.float(), pairs), strict=True):
            flow, weight = output, torch.ones_like(output[:, :1])
            if confidence_weight is not None:
                flow, weight = output[:, :-1], confidence_weight(output[:, -1:])
            if mean is None:
                mean = output.new_zeros(pairs, flow.shape[1], *size)
            # A running mean, not a quotient of sums: a value that all tiles predict comes back bit by bit.
            total[index] += weight
            mean[index] += (flow - mean[index]) * (weight / total[index])
    assert mean is not None
    return mean if size == original else _resize_flow(mean, original)


def same_as_before(image1: Tensor, image2: Tensor) -> list[bool]:
    """Whether each pair's first image (B, ...) is the second of the pair before, as in a video."""
    neighbors = zip(image2[:-1], image1[1:], strict=True)
    return [False, *(torch.equal(before, now) for before, now in neighbors)]


def _frames(image1: Tensor, image2: Tensor, continues: Sequence[bool]) -> tuple[list[Tensor], list[int], list[int]]:
    """Different images of all pairs, and the indices of each pair's first and second; neighbours in a video share one."""
    frames, first, second = list[Tensor](), list[int](), list[int]()
    for one, two, shared in zip(image1, image2, continues, strict=True):
        if not shared:
            frames.append(one)
        first.append(len(frames) - 1)
        frames.append(two)
        second.append(len(frames) - 1)
    return frames, first, second


def _predict_tiles(
    network: Callable[[Tensor, Tensor], Tensor] | SharesImages,
    frames: Sequence[Tensor],
    pairs: tuple[Sequence[int], Sequence[int]],
    tiles: Sequence[Tile],
    at_once: int,
) -> Tensor:
    """Outputs of all pairs of frames in the first tile, then in the second, and so on."""
    images = torch.stack([frame[index] for index in tiles for frame in frames])
    first, second = ([i * len(frames) + frame for i in range(len(tiles)) for frame in view] for view in pairs)
    if isinstance(network, SharesImages):
        return network.pairs(images, first, second, at_once=at_once)
    return network(images[first], images[second])


def _resize_flow(flow: Tensor, size: Size) -> Tensor:
    """A flow (B, k, H, W) in pixels, resized and scaled to another image size."""
    ratios = flow.new_tensor([size[1] / flow.shape[-1], size[0] / flow.shape[-2]][: flow.shape[1]])
    return F.interpolate(flow, size, mode="bicubic", align_corners=False) * ratios[:, None, None]
