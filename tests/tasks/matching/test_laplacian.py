"""Losses with a predicted confidence, against formulas written out by hand."""

import math

import pytest
import torch
from torch import Tensor

from croco_bench.tasks.matching.losses import LOSSES, bounded, free, l1, laplacian, symmetric, within


def drawn(channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Output, target and validity, float64; invalid targets are infinite, which no loss may notice."""
    draw = torch.Generator().manual_seed(channels)
    output = 3 * torch.randn(2, channels + 1, 5, 7, generator=draw, dtype=torch.float64)
    target = 3 * torch.randn(2, channels, 5, 7, generator=draw, dtype=torch.float64)
    valid = torch.rand(2, 5, 7, generator=draw) < 0.7
    return output, torch.where(valid[:, None], target, torch.inf), valid


def by_hand(name: str, output: Tensor, target: Tensor, valid: Tensor) -> float:
    """Pixel by pixel, from the definitions."""
    costs: list[float] = []
    for image in range(len(output)):
        for row, column in valid[image].nonzero().tolist():
            *guess, confidence = output[image, :, row, column].tolist()
            distance = sum(abs(p - t) for p, t in zip(guess, target[image, :, row, column].tolist(), strict=True))
            sigmoid = 1 / (1 + math.exp(-confidence))
            scale = {
                "bounded": 0.25 + 3.75 * sigmoid,
                "symmetric": math.exp(6 * (1 / (1 + math.exp(-confidence / 3)) - 0.5)),
                "free": math.exp(confidence),
            }[name]
            costs.append(distance / scale + math.log(scale))
    return sum(costs) / len(costs)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", ["bounded", "symmetric", "free"])
def test_losses_are_those_of_the_definitions(name: str, channels: int) -> None:
    output, target, valid = drawn(channels)
    assert LOSSES[name](output, target, valid).item() == pytest.approx(by_hand(name, output, target, valid), rel=1e-12)


def test_l1_is_a_mean_over_pixels_and_channels() -> None:
    output, target, valid = drawn(2)
    expected = sum((output[:, channel] - target[:, channel])[valid].abs().sum().item() for channel in range(2)) / int(
        2 * valid.sum()
    )
    assert l1(output[:, :2], target, valid).item() == pytest.approx(expected, rel=1e-12)
    assert LOSSES["l1"] is l1


def test_identities_at_no_confidence() -> None:
    """c = 0: the bounded scale is 2.125, the others 1."""
    target, valid = torch.zeros(1, 2, 1, 3), torch.ones(1, 1, 3, dtype=torch.bool)
    output = torch.tensor([[[[3.0, 0, 0]], [[-1.0, 0, 2]], [[0.0, 0, 0]]]])
    assert laplacian(output, target, valid, bounded).item() == pytest.approx(2 / 2.125 + math.log(2.125))
    for log_scale in (symmetric, free):
        assert laplacian(output, target, valid, log_scale).item() == pytest.approx(2)


def test_scales_keep_within_their_bounds() -> None:
    far = torch.tensor([-1e4, 1e4])
    torch.testing.assert_close(bounded(far).exp(), torch.tensor([0.25, 4.0]))
    torch.testing.assert_close(symmetric(far), torch.tensor([-3.0, 3.0]))
    assert torch.equal(free(far), far)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradients_are_finite_and_nothing_flows_from_invalid_pixels(name: str) -> None:
    output, target, valid = drawn(2)
    given = (output[:, :2] if name == "l1" else output).clone().requires_grad_()
    LOSSES[name](given, target, valid).backward()  # type: ignore[no-untyped-call]
    assert given.grad is not None and given.grad.isfinite().all()
    assert (given.grad.abs().sum(dim=1) > 0).equal(valid)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_nothing_valid_costs_nothing_but_has_a_gradient(name: str) -> None:
    output = torch.ones(1, 2 if name == "l1" else 3, 2, 2, requires_grad=True)
    loss = LOSSES[name](output, torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, dtype=torch.bool))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0 and output.grad is not None and output.grad.abs().sum() == 0


def test_long_targets_can_be_left_out() -> None:
    target = torch.tensor([[[[3.0, -3.0, 30.0, 3.0]], [[4.0, 4.01, 0.0, 0.0]]]])
    valid = torch.tensor([[[True, True, True, False]]])
    assert within(target, valid, 5.005).tolist() == [[[True, False, False, False]]]
    assert within(target, valid, 5).tolist() == [[[False] * 4]]
    assert within(target[:, :1], valid, 10).tolist() == [[[True, True, False, False]]]
