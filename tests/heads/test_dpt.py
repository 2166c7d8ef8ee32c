"""The DPT head against an independent implementation, and released weights."""

import math
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from croco_bench.config.load import options_of
from croco_bench.contracts import Features, FeatureSpec
from croco_bench.errors import CheckpointError, FitError, UsageError
from croco_bench.heads.dpt import DPT, DPTOptions, default_hooks

SMALL = DPTOptions(layer_widths=(4, 6, 8, 10), features=12)


def spec(size: tuple[int, int] = (64, 96), *, patch: int = 16, encoder: int = 4, decoder: int = 0) -> FeatureSpec:
    return FeatureSpec((8,) * encoder + (5,) * decoder, encoder, patch, size)


def tokens(of: FeatureSpec, dtype: torch.dtype = torch.float32) -> Features:
    count = math.prod(of.grid)
    return Features([torch.randn(2, count, width, dtype=dtype) for width in of.widths], of.grid)


def double(image: Tensor) -> Tensor:
    """Twice the size with corners kept in place, as two matrix products."""

    def matrix(n: int) -> Tensor:
        position = torch.arange(2 * n, dtype=torch.float64) * (n - 1) / (2 * n - 1)
        return (1 - (position[:, None] - torch.arange(n)[None]).abs()).clamp(min=0)

    return torch.einsum("ij,bcjk,lk->bcil", matrix(image.shape[2]), image, matrix(image.shape[3]))


def spread(image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A transposed convolution whose stride is its kernel: every pixel becomes a tile."""
    tiles = torch.einsum("bchw,cdij->bdhiwj", image, weight) + bias[:, None, None, None, None]
    return tiles.flatten(4, 5).flatten(2, 3)


def by_hand(state: dict[str, Tensor], features: Features, hooks: tuple[int, ...]) -> Tensor:
    """The head as Ranftl et al. draw it, from released names, in float64."""

    def conv(name: str, image: Tensor, **options: int) -> Tensor:
        return F.conv2d(image, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)

    def residual(name: str, image: Tensor) -> Tensor:
        inner = conv(f"{name}.conv1", image.clamp(min=0), padding=1)
        return image + conv(f"{name}.conv2", inner.clamp(min=0), padding=1)

    maps = []
    for level, hook in enumerate(hooks):
        grid = torch.stack([token.T.reshape(-1, *features.grid) for token in features.tokens[hook]])
        name = f"act_{level + 1}_postprocess"
        image = conv(f"{name}.0", grid)
        if level < 2:
            image = spread(image, state[f"{name}.1.weight"], state[f"{name}.1.bias"])
        if level == 3:
            image = conv(f"{name}.1", image, stride=2, padding=1)
        maps.append(conv(f"scratch.layer{level + 1}_rn", image, padding=1))
    path = None
    for level in (4, 3, 2, 1):
        name, image = f"scratch.refinenet{level}", maps[level - 1]
        merged = image if path is None else path + residual(f"{name}.resConfUnit1", image)
        path = conv(f"{name}.out_conv", double(residual(f"{name}.resConfUnit2", merged)))
    assert path is not None
    output = double(conv("head.0", path, padding=1))
    return conv("head.4", conv("head.2", output, padding=1).clamp(min=0))


def released(head: DPT) -> dict[str, Tensor]:
    """The head's weights under the names of released files, each aliased tensor twice."""
    names = (
        (r"embed\.(\d)", "act_<>_postprocess.0"),
        (r"resize\.(\d)", "act_<>_postprocess.1"),
        (r"project\.(\d)", "scratch.layer<>_rn"),
        (r"fuse\.(\d)\.skip_unit", "scratch.refinenet<>.resConfUnit1"),
        (r"fuse\.(\d)\.unit", "scratch.refinenet<>.resConfUnit2"),
        (r"fuse\.(\d)\.project", "scratch.refinenet<>.out_conv"),
        (r"before", "head.0"),
        (r"after\.0", "head.2"),
        (r"after\.2", "head.4"),
    )
    state = {}
    for name, tensor in head.state_dict().items():
        for pattern, other in names:
            if found := re.match(pattern, name):
                level = int(found[1]) if found.groups() else 0
                new = name.replace(found[0], other.replace("<>", str(level + 1)))
                state[new] = tensor.clone()
                alias = re.sub(r"^act_\d_postprocess", f"act_postprocess.{level}", new)
                state[re.sub(r"^scratch\.layer\d_rn", f"scratch.layer_rn.{level}", alias)] = tensor.clone()
                break
        else:
            raise AssertionError(name)
    return state


@pytest.mark.parametrize(("outputs", "count"), [(1, 20_065_921), (2, 20_065_954), (3, 20_065_987)])
def test_parameter_counts_are_those_of_multimae(outputs: int, count: int) -> None:
    with torch.device("meta"):
        head = DPT(FeatureSpec((768,) * 12, 12, 16, (256, 256)), outputs, DPTOptions())
    assert sum(parameter.numel() for parameter in head.parameters()) == count
    assert head.resolved() == {"hooks": [2, 5, 8, 11]}


@pytest.mark.parametrize(
    ("encoder", "decoder", "hooks"),
    [
        (12, 0, (2, 5, 8, 11)),
        (24, 0, (5, 11, 17, 23)),
        (4, 0, (0, 1, 2, 3)),
        (12, 8, (10, 13, 16, 19)),
        (12, 12, (11, 15, 19, 23)),
        (24, 12, (23, 27, 31, 35)),
        (24, 24, (23, 31, 39, 47)),
    ],
)
def test_hooks_by_rule(encoder: int, decoder: int, hooks: tuple[int, ...]) -> None:
    assert default_hooks(encoder, decoder) == hooks


def test_any_backbone_of_four_blocks_gets_hooks_that_end_at_the_last() -> None:
    for encoder in range(1, 15):
        for decoder in range(15):
            if encoder + decoder >= 4:
                hooks = default_hooks(encoder, decoder)
                assert 0 <= hooks[0] < hooks[1] < hooks[2] < hooks[3] == encoder + decoder - 1


@pytest.mark.parametrize(("size", "decoder", "outputs"), [((64, 96), 0, 1), ((96, 64), 8, 3), ((32, 32), 4, 2)])
def test_equals_the_published_architecture(size: tuple[int, int], decoder: int, outputs: int) -> None:
    torch.manual_seed(0)
    of = spec(size, decoder=decoder)
    head = DPT(of, outputs, SMALL).double()
    features = tokens(of, torch.float64)
    expected = by_hand(released(head), features, head.hooks)
    output = head(features)
    assert output.shape == (2, outputs, *size)
    assert expected.std() > 1e-3
    torch.testing.assert_close(output, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("patch", "size"), [(8, (64, 48)), (14, (84, 140)), (32, (64, 128))])
def test_other_patch_sizes_end_at_the_image_size(patch: int, size: tuple[int, int]) -> None:
    of = spec(size, patch=patch)
    assert DPT(of, 1, SMALL)(tokens(of)).shape == (2, 1, *size)


def test_every_trainable_parameter_gets_a_gradient_and_the_unused_unit_is_not_trainable() -> None:
    torch.manual_seed(0)
    of = spec((64, 64), decoder=4)
    head = DPT(of, 1, SMALL)
    head(tokens(of)).square().mean().backward()
    frozen = {name for name, parameter in head.named_parameters() if not parameter.requires_grad}
    assert frozen == {f"fuse.3.skip_unit.conv{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")}
    for name, parameter in head.named_parameters():
        assert name in frozen or (parameter.grad is not None and parameter.grad.abs().sum() > 0), name


def test_chosen_hooks_are_the_ones_read() -> None:
    of = spec((32, 32), encoder=6)
    head = DPT(of, 1, DPTOptions(hooks=(0, 2, 3, 4), layer_widths=(4, 4, 4, 4), features=8))
    features = tokens(of)
    before = head(features)
    for index in range(6):
        changed = Features([token + (i == index) for i, token in enumerate(features.tokens)], features.grid)
        assert torch.equal(head(changed), before) == (index in (1, 5))


@pytest.mark.parametrize(
    ("of", "options", "words"),
    [
        (spec((272, 256)), SMALL, "multiple of 32 .* is 272x256; the next that fits is 288x256"),
        (spec((40, 48), patch=8), SMALL, "multiple of 16 .* the next that fits is 48x48"),
        (spec(encoder=3), SMALL, "has 3 blocks"),
        (spec(), DPTOptions(hooks=(0, 1, 2, 4)), "from 0 to 3"),
        (spec(), DPTOptions(hooks=(-1, 1, 2, 3)), "from 0 to 3"),
        (spec(), DPTOptions(hooks=(1, 2, 3)), "four numbers"),
    ],
)
def test_what_does_not_fit_is_one_sentence(of: FeatureSpec, options: DPTOptions, words: str) -> None:
    with pytest.raises(FitError, match=words) as caught:
        DPT(of, 1, options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layer_widths": [0, 1, 1, 1]}, r"layer_widths\.0: .* greater than 0 \(given 0\)"),
        ({"features": 1}, r"features: .* greater than or equal to 2 \(given 1\)"),
    ],
)
def test_options_out_of_range_are_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        options_of(DPTOptions, options, "[head]")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["", "dpt.", "head.dpt."])
def test_released_weights_are_taken_whole(prefix: str) -> None:
    source, target = DPT(spec(), 2, SMALL), DPT(spec(), 2, SMALL)
    target.load_released({prefix + name: tensor for name, tensor in released(source).items()})
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name


def test_damaged_released_weights_are_refused_and_change_nothing() -> None:
    source, target = DPT(spec(), 1, SMALL), DPT(spec(), 1, SMALL)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    good = released(source)
    lacking = {name: tensor for name, tensor in good.items() if not name.startswith("scratch.refinenet3.out_conv")}
    cases = {
        "alias hold different values": {**good, "act_postprocess.1.0.bias": good["act_2_postprocess.0.bias"] + 1},
        "nothing corresponds to fuse.2.project": lacking,
        "backbone.cls_token isn't a weight": {**good, "backbone.cls_token": torch.zeros(1)},
        "which this one has not": {**good, "act_3_postprocess.1.weight": torch.zeros(1)},
        r"after.2.weight of the DPT head is \[3, ": {**good, **DPT_WITH_THREE},
    }
    for words, state in cases.items():
        with pytest.raises(CheckpointError, match=words):
            target.load_released(state)
        assert all(torch.equal(target.state_dict()[name], tensor) for name, tensor in before.items())


DPT_WITH_THREE = {"head.4.weight": torch.zeros(3, 32, 1, 1), "head.4.bias": torch.zeros(3)}
