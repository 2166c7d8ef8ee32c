"""The ConvNeXt head against an independent implementation."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from croco_bench.config.load import options_of
from croco_bench.contracts import Features, FeatureSpec
from croco_bench.errors import FitError, UsageError
from croco_bench.heads.convnext import ConvNeXt, ConvNeXtOptions

SMALL = ConvNeXtOptions(width=6, blocks=2, preds_per_patch=4)


def spec(size: tuple[int, int] = (48, 80), *, patch: int = 16) -> FeatureSpec:
    return FeatureSpec((8,) * 4 + (5,), 4, patch, size)


def tokens(of: FeatureSpec, dtype: torch.dtype = torch.float32) -> Features:
    count = math.prod(of.grid)
    return Features([torch.randn(2, count, width, dtype=dtype) for width in of.widths], of.grid)


def by_hand(state: dict[str, Tensor], features: Features, side: int) -> Tensor:
    """The map before resizing: tokens laid out with loops, blocks in channels-first order as ConvNeXt's paper draws them."""

    def linear(name: str, image: Tensor) -> Tensor:
        weight = state[f"{name}.weight"].flatten(1)
        return torch.einsum("bchw,dc->bdhw", image, weight) + state[f"{name}.bias"][:, None, None]

    projected = features.tokens[-1] @ state["project.weight"].T + state["project.bias"]
    width = projected.shape[2] // side**2
    height, breadth = features.grid
    image = torch.zeros(len(projected), width, height * side, breadth * side, dtype=projected.dtype)
    for row in range(height * side):
        for column in range(breadth * side):
            token = row // side * breadth + column // side
            position = row % side * side + column % side
            image[:, :, row, column] = projected[:, token, position * width : (position + 1) * width]
    for block in range(sum(name.endswith("conv_dw.weight") for name in state)):
        name = f"blocks.{block}"
        weight, bias = state[f"{name}.conv_dw.weight"], state[f"{name}.conv_dw.bias"]
        inner = F.conv2d(image, weight, bias, padding=3, groups=width)
        inner = (inner - inner.mean(1, keepdim=True)) / (inner.var(1, keepdim=True, correction=0) + 1e-6).sqrt()
        inner = inner * state[f"{name}.norm.weight"][:, None, None] + state[f"{name}.norm.bias"][:, None, None]
        inner = linear(f"{name}.mlp.fc1", inner)
        inner = linear(f"{name}.mlp.fc2", inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2))))
        image = image + inner
    return linear("classify", image)


def test_parameter_count_is_that_of_multimae() -> None:
    with torch.device("meta"):
        head = ConvNeXt(FeatureSpec((768,) * 12, 12, 16, (512, 512)), 150, ConvNeXtOptions())
    block = 384 * 49 + 384 + 2 * 384 + 384 * 1536 + 1536 + 1536 * 384 + 384
    count = sum(parameter.numel() for parameter in head.parameters())
    assert count == (768 + 1) * 6144 + 4 * block + (384 + 1) * 150 == 9_588_630


@pytest.mark.parametrize(("preds", "blocks"), [(4, 2), (9, 1), (1, 0)])
def test_equals_the_published_architecture(preds: int, blocks: int) -> None:
    torch.manual_seed(0)
    of, side = spec(), math.isqrt(preds)
    # The image is as large as the map of predictions, so that resizing changes nothing.
    of = FeatureSpec(of.widths, 4, side, (3 * side, 5 * side))
    head = ConvNeXt(of, 3, ConvNeXtOptions(6, blocks, preds)).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    features = tokens(of, torch.float64)
    expected = by_hand(head.state_dict(), features, side)
    assert expected.std() > 0.1
    torch.testing.assert_close(head(features), expected, rtol=1e-10, atol=1e-12)


def test_the_map_is_resized_with_half_pixel_centers() -> None:
    torch.manual_seed(0)
    of = FeatureSpec((4,), 1, 4, (4, 8))
    head = ConvNeXt(of, 1, ConvNeXtOptions(width=3, blocks=0, preds_per_patch=1)).eval()
    features = Features([torch.randn(1, 2, 4)], (1, 2))
    left, right = by_hand(head.state_dict(), features, 1).flatten().tolist()
    shares = torch.tensor([0, 0, 1, 3, 5, 7, 8, 8]) / 8
    torch.testing.assert_close(head(features)[0, 0], (left + (right - left) * shares).expand(4, 8))


@pytest.mark.parametrize(("patch", "size"), [(8, (64, 40)), (14, (70, 126)), (16, (16, 16)), (32, (96, 32))])
def test_any_patch_grid_ends_at_the_image_size(patch: int, size: tuple[int, int]) -> None:
    of = spec(size, patch=patch)
    assert ConvNeXt(of, 3, SMALL)(tokens(of)).shape == (2, 3, *size)


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    head = ConvNeXt(spec(), 3, SMALL)
    head(tokens(spec())).square().mean().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_only_the_last_block_is_read_and_nothing_is_drawn() -> None:
    head, features = ConvNeXt(spec(), 3, SMALL), tokens(spec())
    before = head(features)
    assert torch.equal(head.eval()(features), before)
    others = Features([*(token + 1 for token in features.tokens[:-1]), features.tokens[-1]], features.grid)
    assert torch.equal(head(others), before)


def test_initial_weights_are_those_of_multimae() -> None:
    torch.manual_seed(0)
    head = ConvNeXt(FeatureSpec((768,), 1, 16, (32, 32)), 3, ConvNeXtOptions(blocks=1))
    state = head.state_dict()
    # Measured in MultiMAE's network, whose rule (Xavier-uniform) replaces what the head itself draws.
    for name, deviation in {"project": 0.0170, "blocks.0.mlp.fc1": 0.0323, "blocks.0.mlp.fc2": 0.0323}.items():
        weight = state[f"{name}.weight"]
        assert weight.std().item() == pytest.approx(deviation, rel=0.01), name
        assert weight.abs().max().item() <= (6 / sum(weight.shape)) ** 0.5
        assert not state[f"{name}.bias"].any(), name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ConvNeXtOptions(preds_per_patch=8), "preds_per_patch=8 should be a square number"),
        (ConvNeXtOptions(preds_per_patch=0), "square number"),
        (ConvNeXtOptions(preds_per_patch=-4), "square number"),
    ],
)
def test_what_does_not_fit_is_one_sentence(options: ConvNeXtOptions, words: str) -> None:
    with pytest.raises(FitError, match=words) as caught:
        ConvNeXt(spec(), 1, options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 0}, r"width: .* greater than 0 \(given 0\)"),
        ({"blocks": -1}, r"blocks: .* greater than or equal to 0 \(given -1\)"),
    ],
)
def test_options_out_of_range_are_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        options_of(ConvNeXtOptions, options, "[head]")
    assert "\n" not in str(caught.value)
