"""Tiled prediction: coverage, averages, weights, memory, shared images."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from croco_bench.tiling import enlarged, grid, offsets, sigmoid_weight, slide, slide_pairs


@pytest.mark.parametrize(
    ("overlap", "rows", "columns"),
    [(0.7, 3, 7), (0.9, 5, 18), (0.99, 38, 168)],
)
def test_counts_of_the_flow_benchmark(overlap: float, rows: int, columns: int) -> None:
    """Windows of 320x384 over Sintel's 436x1024, as CroCo-Flow counts them."""
    assert (len(offsets(436, 320, overlap)), len(offsets(1024, 384, overlap))) == (rows, columns)


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.8])
@pytest.mark.parametrize(("length", "tile"), [(64, 64), (85, 64), (341, 256), (1000, 7)])
def test_tiles_cover_everything_evenly(length: int, tile: int, overlap: float) -> None:
    starts = offsets(length, tile, overlap)
    assert starts[0] == 0
    assert starts[-1] == length - tile
    steps = [after - before for before, after in pairwise(starts)]
    assert all(0 < step <= (1 - overlap) * tile + 1 for step in steps)
    assert not steps or max(steps) - min(steps) <= 1


def test_no_tile_more_than_needed() -> None:
    assert offsets(320, 320, 0.9) == [0]
    assert offsets(352, 320, 0.9) == [0, 32]  # 1 - 0.9 is not quite 0.1


@pytest.mark.parametrize(("tile", "overlap"), [(20, 0.5), (5, 1.0), (5, -0.1)])
def test_impossible_tiles_are_refused(tile: int, overlap: float) -> None:
    with pytest.raises(ValueError, match="can't cover 10"):
        offsets(10, tile, overlap)


def test_what_does_not_depend_on_the_tile_comes_back() -> None:
    images = torch.randn(2, 3, 13, 29, dtype=torch.float64)
    seen: list[tuple[int, ...]] = []

    def network(crop: Tensor) -> Tensor:
        seen.append(tuple(crop.shape))
        return torch.cat([crop[:, :1] * 2, torch.full_like(crop[:, :1], 0.1)], dim=1)

    output = slide(network, images, (8, 12), 0.5)
    assert set(seen) == {(2, 3, 8, 12)}
    torch.testing.assert_close(output[:, 0], 2 * images[:, 0].float())
    torch.testing.assert_close(output[:, 1], torch.full((2, 13, 29), 0.1))


def test_overlaps_are_averaged() -> None:
    """Windows at 0, 2, 4 of a line of 8 predict their own number: 0, 1, 2."""
    numbers = iter([0.0, 1.0, 2.0])
    output = slide(lambda crop: torch.full_like(crop[:, :1], next(numbers)), torch.zeros(1, 3, 1, 8), (1, 4), 0.5)
    assert output.flatten().tolist() == [0, 0, 0.5, 0.5, 1.5, 1.5, 2, 2]


def test_images_smaller_than_the_tile_are_enlarged_until_it_fits() -> None:
    assert enlarged((436, 1024), (320, 384)) == (436, 1024)
    assert enlarged((256, 256), (320, 384)) == (384, 384)
    assert enlarged((200, 1000), (320, 384)) == (320, 1600)
    assert enlarged((400, 100), (320, 384)) == (1536, 384)
    assert grid((436, 1024), (320, 384), 0.9) == (5, 18)
    assert grid((100, 50), (40, 100), 0.0) == (5, 1)
    sizes = ((h, w) for h in range(1, 70, 3) for w in range(1, 70, 3))
    assert all(big[0] >= 24 and big[1] >= 32 for big in (enlarged(size, (24, 32)) for size in sizes))


def test_weights_of_confidence() -> None:
    weight = sigmoid_weight(torch.tensor([0.0, -1e4, 1e4, 5.0]), 10, 5)
    sigmoid = 1 / (1 + math.exp(-1))
    expected = torch.tensor([1.0, math.exp(10), math.exp(-10), math.exp(-20 * (sigmoid - 0.5))])
    torch.testing.assert_close(weight, expected)


@pytest.mark.parametrize("channels", [1, 2])
def test_pairs_are_averaged_by_weight(channels: int) -> None:
    """Of every tile the network sees both images; the result is the weighted mean, pixel by pixel."""
    draw = torch.Generator().manual_seed(channels)
    image1, image2 = torch.rand(2, 2, 3, 10, 17, generator=draw).double()
    starts = [(top, left) for top in offsets(10, 8, 0.5) for left in offsets(17, 8, 0.5)]
    outputs = [torch.randn(2, channels + 1, 8, 8, generator=draw) for _ in starts]
    waiting, seen = iter(outputs), iter(starts)

    def network(one: Tensor, two: Tensor) -> Tensor:
        top, left = next(seen)
        assert torch.equal(one, image1[..., top : top + 8, left : left + 8])
        assert torch.equal(two, image2[..., top : top + 8, left : left + 8])
        return next(waiting)

    found = slide_pairs(network, image1, image2, (8, 8), 0.5, confidence_weight=torch.exp, tiles_at_once=1)
    above, below = torch.zeros(2, channels, 10, 17), torch.zeros(2, 1, 10, 17)
    for (top, left), output in zip(starts, outputs, strict=True):
        above[..., top : top + 8, left : left + 8] += output[:, :-1] * output[:, -1:].exp()
        below[..., top : top + 8, left : left + 8] += output[:, -1:].exp()
    torch.testing.assert_close(found, above / below)


def test_what_all_tiles_agree_on_comes_back_bit_by_bit() -> None:
    draw = torch.Generator().manual_seed(0)
    constant = torch.tensor([0.1, -7.3])[:, None, None]

    def network(one: Tensor, _: Tensor) -> Tensor:
        confidence = 40 * torch.randn(len(one), 1, 16, 16, generator=draw)
        return torch.cat([constant.expand(len(one), 2, 16, 16), confidence], dim=1)

    images = torch.rand(1, 3, 40, 55)
    found = slide_pairs(
        network,
        images,
        images,
        (16, 16),
        0.9,
        confidence_weight=lambda raw: sigmoid_weight(raw, 15, 3),
        tiles_at_once=7,
    )
    assert torch.equal(found, constant.expand(1, 2, 40, 55))


@pytest.mark.parametrize("pairs", [1, 3])
@pytest.mark.parametrize("batch", [1, 4, 100])
def test_batches_change_nothing_and_are_no_larger_than_told(pairs: int, batch: int) -> None:
    draw = torch.Generator().manual_seed(0)
    image1, image2 = torch.rand(2, pairs, 3, 20, 30, generator=draw)
    sizes = []

    def network(one: Tensor, two: Tensor) -> Tensor:
        sizes.append(len(one))
        return torch.cat([one[:, :2] - two[:, :2], one[:, 2:].cumsum(dim=-1)], dim=1)

    found = slide_pairs(network, image1, image2, (8, 8), 0.4, confidence_weight=torch.exp, tiles_at_once=batch)
    assert max(sizes) <= max(batch, pairs) and sum(sizes) == pairs * math.prod(grid((20, 30), (8, 8), 0.4))
    one_by_one = slide_pairs(network, image1, image2, (8, 8), 0.4, confidence_weight=torch.exp, tiles_at_once=1)
    assert torch.equal(found, one_by_one)
    torch.testing.assert_close(found, (image1 - image2)[:, :2])


def test_without_a_confidence_all_tiles_weigh_the_same() -> None:
    numbers = iter([0.0, 1.0, 2.0])
    image = torch.zeros(1, 3, 1, 8)
    found = slide_pairs(
        lambda one, _: torch.full_like(one[:, :2], next(numbers)),
        image,
        image,
        (1, 4),
        0.5,
        confidence_weight=None,
        tiles_at_once=1,
    )
    assert found.shape == (1, 2, 1, 8)
    assert found[0, 1].flatten().tolist() == [0, 0, 0.5, 0.5, 1.5, 1.5, 2, 2]


@pytest.mark.parametrize("weigh", [None, torch.exp])
def test_flow_of_enlarged_images_comes_back_in_their_own_pixels(weigh: Callable[[Tensor], Tensor] | None) -> None:
    """14x21 to fit 24x32: 24x36. A field that grows along both axes in pixels of the large image shrinks by 7/12."""

    def network(one: Tensor, _: Tensor) -> Tensor:
        assert one.shape[1:] == (3, 24, 32)
        return torch.stack([6 + 0 * one[:, 0], 12 + 0 * one[:, 0], one[:, 2]], dim=1)[:, : 3 if weigh else 2]

    images = torch.rand(2, 3, 14, 21)
    found = slide_pairs(network, images, images, (24, 32), 0.5, confidence_weight=weigh, tiles_at_once=4)
    assert found.shape == (2, 2, 14, 21)
    torch.testing.assert_close(found[:, 0], torch.full((2, 14, 21), 6 * 21 / 36))
    torch.testing.assert_close(found[:, 1], torch.full((2, 14, 21), 12 * 14 / 24))


def test_only_a_batch_of_tiles_is_held_at_a_time() -> None:
    """Of large images in tiles of 320x384, 8 at a time: no tensor is larger than a batch of tiles, or the result."""
    max_values = 2 * 8 * 3 * 320 * 384
    sizes: list[int] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            sizes.extend([result.numel()] if isinstance(result, Tensor) else [])
            return result

    images = torch.zeros(1, 3, 1080, 2048)
    with Watch():
        found = slide_pairs(
            lambda one, _: one,
            images,
            images,
            (320, 384),
            0.5,
            confidence_weight=lambda raw: raw.exp(),
            tiles_at_once=8,
        )
    assert found.shape == (1, 2, 1080, 2048)
    assert max(sizes) <= max(max_values, 2 * 1080 * 2048)


class Sharing:
    """Predicts the difference of a pair's images and their sum as confidence; counts the images it is given."""

    def __init__(self) -> None:
        self.images = self.pairs_made = 0

    def pairs(self, images: Tensor, first: Sequence[int], second: Sequence[int], *, at_once: int) -> Tensor:
        self.images += len(images)
        self.pairs_made += len(first)
        return self.apart(images[list(first)], images[list(second)])

    @staticmethod
    def apart(one: Tensor, two: Tensor) -> Tensor:
        return torch.cat([one[:, :2] - two[:, :2], one[:, 2:] + two[:, 2:].cumsum(dim=-1)], dim=1)


@pytest.mark.parametrize("size", [(20, 30), (5, 30)])
@pytest.mark.parametrize("batch", [1, 8, 100])
def test_frames_that_two_pairs_share_are_handed_over_once(size: tuple[int, int], batch: int) -> None:
    """Frames 0-1, 1-2, 2-3 of one scene and 4-5 of another: six images per tile, not eight."""
    film = torch.rand(6, 3, *size, generator=torch.Generator().manual_seed(0))
    image1, image2 = film[[0, 1, 2, 4]], film[[1, 2, 3, 5]]
    network = Sharing()
    found = slide_pairs(network, image1, image2, (8, 8), 0.4, confidence_weight=torch.exp, tiles_at_once=batch)
    tiles = math.prod(grid(size, (8, 8), 0.4))
    assert (network.images, network.pairs_made) == (6 * tiles, 4 * tiles)
    apart = slide_pairs(Sharing.apart, image1, image2, (8, 8), 0.4, confidence_weight=torch.exp, tiles_at_once=1)
    assert torch.equal(found, apart)
