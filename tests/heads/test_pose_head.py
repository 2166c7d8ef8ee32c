"""The pose head against an independent implementation."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from croco_bench.config.load import options_of
from croco_bench.contracts import Features, FeatureSpec
from croco_bench.errors import UsageError
from croco_bench.heads.pose import Pose, PoseOptions

SPEC = FeatureSpec((8, 8, 6, 6), 2, 16, (32, 48))
SMALL = PoseOptions(width=10)


def features(of: FeatureSpec, batch: int = 3, dtype: torch.dtype = torch.float32) -> Features:
    tokens = [torch.randn(batch, math.prod(of.grid), width, dtype=dtype) for width in of.widths]
    return Features(tokens, of.grid)


def by_hand(head: Pose, given: Features) -> Tensor:
    """As Reloc3r draws it: 1x1 convolutions on a map of patches, average pooling, linear layers."""
    state = head.state_dict()

    def conv(name: str, image: Tensor) -> Tensor:
        return F.conv2d(image, state[f"{name}.weight"][:, :, None, None], state[f"{name}.bias"])

    image = conv("project", given.tokens[-1].mT.reshape(3, -1, *given.grid))
    for block in range(2):
        inner = image
        for layer in range(3):
            inner = conv(f"blocks.{block}.layers.{layer}", inner).clamp(min=0)
        image = image + inner
    vector = F.adaptive_avg_pool2d(image, 1)
    for layer in range(2):
        vector = conv(f"layers.{layer}", vector).clamp(min=0)
    return conv("output", vector)[:, :, 0, 0]


def test_equals_the_described_architecture() -> None:
    torch.manual_seed(0)
    head, given = Pose(SPEC, 12, SMALL).double(), features(SPEC, dtype=torch.float64)
    output = head(given)
    assert output.shape == (3, 12)
    torch.testing.assert_close(output, by_hand(head, given), rtol=1e-10, atol=1e-12)
    assert output.std(dim=0).min() > 1e-4


def test_parameters_are_as_many_as_those_of_reloc3r() -> None:
    """Counted from its code, for a decoder 768 wide and patches of 16: projection, blocks, layers, three and nine numbers."""
    with torch.device("meta"):
        head = Pose(FeatureSpec((1024,) * 24 + (768,) * 12, 24, 16, (384, 512)), 12, PoseOptions())
    assert sum(parameter.numel() for parameter in head.parameters()) == 9_196_556
    assert not Pose.dense


@pytest.mark.parametrize(
    ("options", "layers"),
    [(PoseOptions(4, 0, 0), 2), (PoseOptions(4, 1, 0), 5), (PoseOptions(1, 3, 4), 15)],
)
@pytest.mark.parametrize("outputs", [1, 7])
def test_any_width_and_depth(options: PoseOptions, layers: int, outputs: int) -> None:
    head = Pose(SPEC, outputs, options)
    assert head(features(SPEC)).shape == (3, outputs)
    assert len(list(head.parameters())) == 2 * layers


def test_reads_the_last_block_only_and_says_so() -> None:
    torch.manual_seed(0)
    head, given = Pose(SPEC, 5, SMALL), features(SPEC)
    assert head.hooks == (3,)
    void = [torch.full_like(tokens, float("nan")) for tokens in given.tokens[:-1]]
    assert torch.equal(head(Features([*void, given.tokens[-1]], given.grid)), head(given))


def test_every_parameter_gets_a_gradient_and_no_pair_sees_another() -> None:
    torch.manual_seed(0)
    head, given = Pose(SPEC, 5, PoseOptions(width=32)), features(SPEC)
    given.tokens[-1].requires_grad_()
    head(given)[1].square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in head.parameters())
    grad = given.tokens[-1].grad
    assert grad is not None and not grad[[0, 2]].any() and (grad[1].abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 0}, r"width: .* greater than 0 \(given 0\)"),
        ({"blocks": -1}, r"blocks: .* greater than or equal to 0 \(given -1\)"),
        ({"layers": -2}, r"layers: .* greater than or equal to 0 \(given -2\)"),
    ],
)
def test_options_out_of_range_are_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        options_of(PoseOptions, options, "[head]")
    assert "\n" not in str(caught.value)
