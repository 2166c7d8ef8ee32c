"""The UPerNet head against an independent implementation."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from croco_bench.config.load import options_of
from croco_bench.contracts import Features, FeatureSpec
from croco_bench.errors import FitError, UsageError
from croco_bench.heads.upernet import UPerNet, UPerNetOptions, default_hooks

SMALL = UPerNetOptions(channels=6, aux_channels=5)


def spec(size: tuple[int, int] = (64, 96), *, patch: int = 16, encoder: int = 4, decoder: int = 0) -> FeatureSpec:
    return FeatureSpec((8,) * encoder + (5,) * decoder, encoder, patch, size)


def tokens(of: FeatureSpec, images: int = 2, dtype: torch.dtype = torch.float32) -> Features:
    count = math.prod(of.grid)
    return Features([torch.randn(images, count, width, dtype=dtype) for width in of.widths], of.grid)


def count(module: nn.Module | None) -> int:
    assert module is not None
    return sum(parameter.numel() for parameter in module.parameters())


def lived_in(head: UPerNet) -> UPerNet:
    """In eval mode and float64, with norms that do something."""
    for part in head.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None and part.running_var is not None
            for tensor, lowest in (
                (part.weight, 0.5),
                (part.running_var, 0.5),
                (part.bias, -0.5),
                (part.running_mean, -0.5),
            ):
                nn.init.uniform_(tensor, lowest, lowest + 1)
    return head.double().eval()


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with pixels as areas (half-pixel centres, edges repeated), as two matrix products."""

    def matrix(small: int, large: int) -> Tensor:
        position = ((torch.arange(large, dtype=torch.float64) + 0.5) * small / large - 0.5).clamp(0, small - 1)
        return (1 - (position[:, None] - torch.arange(small)[None]).abs()).clamp(min=0)

    rows, columns = matrix(image.shape[2], size[0]), matrix(image.shape[3], size[1])
    return torch.einsum("ij,bcjk,lk->bcil", rows, image, columns)


def by_hand(
    state: dict[str, Tensor], features: Features, hooks: tuple[int, ...], size: tuple[int, int]
) -> list[Tensor]:
    """Main and auxiliary output in eval mode, written down from Xiao et al. and mmsegmentation's configuration."""

    def norm(name: str, image: Tensor) -> Tensor:
        mean, variance, scale, shift = (
            state[f"{name}.{kind}"][:, None, None] for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return (image - mean) / (variance + 1e-5).sqrt() * scale + shift

    def unit(name: str, image: Tensor) -> Tensor:
        weight = state[f"{name}.0.weight"]
        return norm(f"{name}.1", F.conv2d(image, weight, padding=weight.shape[-1] // 2)).clamp(min=0)

    def spread(name: str, image: Tensor) -> Tensor:
        tiles = torch.einsum("bchw,cdij->bdhiwj", image, state[f"{name}.weight"])
        return tiles.flatten(4, 5).flatten(2, 3) + state[f"{name}.bias"][:, None, None]

    def linear(name: str, image: Tensor) -> Tensor:
        weight = state[f"{name}.weight"][:, :, 0, 0]
        return torch.einsum("bchw,dc->bdhw", image, weight) + state[f"{name}.bias"][:, None, None]

    one, two, three, four = (
        torch.stack([token.T.reshape(-1, *features.grid) for token in features.tokens[hook]]) for hook in hooks
    )
    auxiliary = linear("aux.1.1", unit("aux.0", three))
    one = spread("neck.0.3", F.gelu(norm("neck.0.1", spread("neck.0.0", one))))
    two = spread("neck.1", two)
    half = four[:, :, : features.grid[0] // 2 * 2, : features.grid[1] // 2 * 2]
    four = half.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))

    def sides(image: Tensor) -> tuple[int, int]:
        return image.shape[2], image.shape[3]

    pooled = [four]
    for index, scale in enumerate((1, 2, 3, 6)):
        averages = F.adaptive_avg_pool2d(four, scale)
        pooled.append(resize(unit(f"pooling.branches.{index}.1", averages), sides(four)))
    path = top = unit("pooling.merge", torch.cat(pooled, dim=1))
    levels = []
    for level, image in ((2, three), (1, two), (0, one)):
        path = unit(f"laterals.{level}", image) + resize(path, sides(image))
        levels.append(unit(f"smooth.{level}", path))
    stacked = torch.cat([resize(image, sides(one)) for image in (*levels[::-1], top)], dim=1)
    return [resize(linear("classify.1", unit("fuse", stacked)), size), resize(auxiliary, size)]


def test_parameter_counts_are_those_of_mmsegmentation() -> None:
    with torch.device("meta"):
        head = UPerNet(FeatureSpec((768,) * 12, 12, 16, (512, 512)), 150, UPerNetOptions())
    norm = 2 * 768
    transposed = 768 * 768 * 2 * 2 + 768
    neck = (transposed + norm + transposed) + transposed
    pooling = 4 * (768 * 768 + norm) + (768 + 4 * 768) * 768 * 9 + norm
    laterals = 3 * (768 * 768 + norm)
    outputs = 3 * (768 * 768 * 9 + norm) + 4 * 768 * 768 * 9 + norm
    auxiliary = 768 * 256 * 9 + 2 * 256 + 256 * 150 + 150
    assert count(head.neck) == neck == 7_081_728
    assert count(head.aux) == auxiliary == 1_808_534
    assert count(head) - neck - auxiliary == pooling + laterals + outputs + 768 * 150 + 150 == 67_963_542
    assert head.resolved() == {"hooks": [3, 5, 7, 11]}


@pytest.mark.parametrize(
    ("blocks", "hooks"),
    [(12, (3, 5, 7, 11)), (24, (7, 11, 15, 23)), (4, (0, 1, 2, 3)), (5, (0, 1, 3, 4)), (20, (5, 9, 13, 19))],
)
def test_hooks_by_rule(blocks: int, hooks: tuple[int, ...]) -> None:
    assert default_hooks(blocks) == hooks


def test_any_backbone_of_four_blocks_gets_hooks_that_end_at_the_last() -> None:
    for blocks in range(4, 60):
        hooks = default_hooks(blocks)
        assert 0 <= hooks[0] < hooks[1] < hooks[2] < hooks[3] == blocks - 1


@pytest.mark.parametrize(
    ("size", "decoder", "outputs"), [((64, 96), 0, 3), ((48, 80), 4, 2), ((112, 32), 0, 1), ((224, 256), 0, 2)]
)
def test_equals_the_published_architecture(size: tuple[int, int], decoder: int, outputs: int) -> None:
    torch.manual_seed(0)
    of = spec(size, decoder=decoder)
    head = lived_in(UPerNet(of, outputs, SMALL))
    features = tokens(of, dtype=torch.float64)
    main, auxiliary = by_hand(head.state_dict(), features, head.hooks, size)
    ((weight, second),) = head.auxiliary(features)
    assert weight == 0.4 and main.shape == (2, outputs, *size) and min(main.std(), auxiliary.std()) > 1e-3
    torch.testing.assert_close(head(features), main, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(second, auxiliary, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("patch", "size"), [(8, (64, 40)), (14, (70, 126)), (32, (64, 96))])
def test_other_patch_sizes_end_at_the_image_size(patch: int, size: tuple[int, int]) -> None:
    of = spec(size, patch=patch)
    assert UPerNet(of, 3, SMALL)(tokens(of)).shape == (2, 3, *size)


def test_one_channel_of_everything_is_enough() -> None:
    of = FeatureSpec((1,) * 4, 4, 16, (32, 32))
    head = UPerNet(of, 1, UPerNetOptions(channels=1, aux_channels=1, pool_scales=(2,)))
    assert head(tokens(of)).shape == (2, 1, 32, 32)


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    of = spec((64, 64), decoder=4)
    head, features = UPerNet(of, 3, UPerNetOptions(channels=6, aux_channels=5, dropout=0.0)), tokens(of, images=4)
    ((weight, auxiliary),) = head.auxiliary(features)
    (head(features).square().mean() + weight * auxiliary.square().mean()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_without_an_auxiliary_classifier_none_is_built() -> None:
    head = UPerNet(spec(), 3, UPerNetOptions(channels=6, aux_weight=0.0))
    assert head.auxiliary(tokens(spec())) == ()
    assert not [name for name, _ in head.named_parameters() if name.startswith("aux")]


def test_evaluation_draws_nothing_and_training_drops_whole_channels() -> None:
    of = spec()
    head, features = UPerNet(of, 3, UPerNetOptions(channels=6, aux_channels=5, dropout=0.5)), tokens(of)
    assert not torch.equal(head(features), head(features))
    head.eval()
    assert torch.equal(head(features), head(features))
    kept = head.classify.train()[0](torch.ones(2, 6, 4, 4)).flatten(2)
    assert torch.equal(kept, kept[:, :, :1].expand_as(kept)) and set(kept.unique().tolist()) == {0.0, 2.0}


def test_chosen_hooks_are_the_ones_read_and_the_third_is_the_auxiliary_one() -> None:
    torch.manual_seed(0)
    of = spec((32, 32), encoder=6)
    head = UPerNet(of, 2, UPerNetOptions(channels=6, aux_channels=5, hooks=(0, 2, 3, 4))).eval()
    features = tokens(of)
    main, second = head(features), head.auxiliary(features)[0][1]
    for index in range(6):
        changed = Features(
            [token + torch.randn_like(token) * (i == index) for i, token in enumerate(features.tokens)],
            features.grid,
        )
        assert torch.equal(head(changed), main) == (index in (1, 5))
        assert torch.equal(head.auxiliary(changed)[0][1], second) == (index != 3)


@pytest.mark.parametrize(
    ("size", "scales", "images", "refused"),
    [
        ((64, 64), (1, 2), 1, True),
        ((64, 64), (2, 3), 1, False),
        ((32, 48), (2, 3), 1, True),
        ((32, 48), (1, 2), 2, False),
    ],
)
def test_a_norm_over_one_value_is_refused_in_training_only(
    size: tuple[int, int], scales: tuple[int, ...], images: int, refused: bool
) -> None:
    of = spec(size)
    head, features = UPerNet(of, 2, UPerNetOptions(channels=6, pool_scales=scales)), tokens(of, images)
    assert head.eval()(features).shape == (images, 2, *size)
    head.train()
    if not refused:
        assert head(features).shape == (images, 2, *size)
        return
    with pytest.raises(FitError, match=r"one image at a time.*raise train\.batch_size"):
        head(features)


def test_norms_that_span_processes_are_left_to_judge_a_single_image() -> None:
    head = UPerNet(spec((64, 64)), 2, SMALL)
    head = nn.SyncBatchNorm.convert_sync_batchnorm(head)  # type: ignore[no-untyped-call]
    with pytest.raises(ValueError, match=r"SyncBatchNorm|more than 1 value"):  # torch's own, as it has no peers here
        head(tokens(spec((64, 64)), images=1))


@pytest.mark.parametrize(
    ("of", "options", "words"),
    [
        (spec((16, 64)), SMALL, "two patches of 16 .* is 16x64; the next that fits is 32x64"),
        (spec((64, 14), patch=14), SMALL, "the next that fits is 64x28"),
        (spec(encoder=3), SMALL, "has 3 blocks"),
        (spec(), UPerNetOptions(hooks=(0, 1, 2, 4)), "from 0 to 3"),
        (spec(), UPerNetOptions(hooks=(-1, 1, 2, 3)), "from 0 to 3"),
        (spec(), UPerNetOptions(hooks=(1, 2, 3)), "four numbers"),
    ],
)
def test_what_does_not_fit_is_one_sentence(of: FeatureSpec, options: UPerNetOptions, words: str) -> None:
    with pytest.raises(FitError, match=words) as caught:
        UPerNet(of, 1, options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": 0}, r"channels: .* greater than 0 \(given 0\)"),
        ({"aux_channels": 0}, r"aux_channels: .* greater than 0 \(given 0\)"),
        ({"pool_scales": []}, r"pool_scales: .* at least 1 item"),
        ({"pool_scales": [0, 2]}, r"pool_scales\.0: .* greater than 0 \(given 0\)"),
        ({"dropout": 1.0}, r"dropout: .* less than 1 \(given 1\.0\)"),
        ({"aux_weight": -0.4}, r"aux_weight: .* greater than or equal to 0 \(given -0\.4\)"),
        ({"aux_weight": math.nan}, r"aux_weight: .* finite number \(given nan\)"),
    ],
)
def test_options_out_of_range_are_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        options_of(UPerNetOptions, options, "[head]")
    assert "\n" not in str(caught.value)
