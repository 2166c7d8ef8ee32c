"""Depth from bins, and losses of logarithmic depth."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from croco_bench.contracts import TaskData
from croco_bench.metrics.depth import MIN_DEPTH_M
from croco_bench.tasks.depth_losses import binned, log_gradients, scale_invariant
from croco_bench.tasks.nyuv2_depth import NYUv2Depth, NYUv2DepthOptions
from croco_bench.valid_pixels import ValidPixels

# The number of outputs doesn't depend on the data.
NO_DATA: TaskData = None  # type: ignore[assignment]


def task_of(**options: Any) -> NYUv2Depth:
    return NYUv2Depth(NYUv2DepthOptions(**options), (8, 8))


def batch_of(depth: Tensor, valid: Tensor) -> dict[str, Tensor]:
    return {"depth_m": depth, "valid": valid}


def test_bins_are_weighted_by_rectified_outputs_and_a_tenth() -> None:
    """Three values 1, 2, 3 with outputs 0.9, -5, 0: shares 1.0, 0.1, 0.1 of 1.2."""
    outputs = torch.tensor([0.9, -5.0, 0.0]).view(1, 3, 1, 1)
    assert float(binned(outputs, 1.0, 3.0)) == pytest.approx((1.0 * 1 + 0.1 * 2 + 0.1 * 3) / 1.2)


def test_a_target_of_bins_has_256_outputs_and_gives_metres() -> None:
    task = task_of(target="bins", max_depth_m=8.0)
    assert task.out_channels(NO_DATA) == 256 and task_of().out_channels(NO_DATA) == 1
    outputs = torch.zeros(2, 256, 3, 4)
    assert torch.allclose(task.decode(outputs), torch.full((2, 1, 3, 4), (MIN_DEPTH_M + 8) / 2))
    outputs[:, 255] = 1e6
    depth = task.decode(outputs)
    assert depth.shape == (2, 1, 3, 4) and torch.allclose(task.to_meters(depth), torch.tensor(8.0), atol=1e-3)
    other = torch.randn(2, 1, 3, 4)
    assert task_of().decode(other) is other


def test_the_scale_invariant_loss_by_hand() -> None:
    depth, truth = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2.0, 2.0, 1.0])
    pixels = ValidPixels(torch.ones(3, dtype=torch.bool))
    errors = np.log(depth.numpy() + 1e-3) - np.log(truth.numpy() + 1e-3)
    expected = math.sqrt(errors.var(ddof=1) + 0.15 * errors.mean() ** 2)
    assert float(scale_invariant(depth, truth, pixels)) == pytest.approx(expected, rel=1e-5)


def test_gradients_by_hand() -> None:
    """One row of four pixels: only the first scale has two pixels that are two apart and valid."""
    depth, truth = torch.tensor([[[1.0, 2.0, 4.0, 8.0]]]), torch.ones(1, 1, 4)
    valid = torch.tensor([[[True, True, True, False]]])
    expected = abs(math.log(1.001 / 1.001) - math.log(4.001 / 1.001)) / 3
    assert float(log_gradients(depth, truth, valid)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", ["silog", "silog_gradient"])
def test_invalid_pixels_count_neither_in_the_loss_nor_in_its_slope(loss: str) -> None:
    task, truth = task_of(loss=loss, target="metres"), torch.rand(2, 8, 8) + 1
    valid = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.3
    output = (truth[:, None] * 1.5 + 0.1).requires_grad_()
    clean = task.loss(output, batch_of(truth, valid))
    wild = truth.masked_fill(~valid, math.nan)
    loss_of_wild = task.loss(output, batch_of(wild, valid))
    assert float(clean.detach()) == float(loss_of_wild.detach()) > 0
    (slope,) = torch.autograd.grad(loss_of_wild, output)
    assert slope.isfinite().all() and not slope[:, 0][~valid].any() and slope[:, 0][valid].any()


@pytest.mark.parametrize("loss", ["silog", "silog_gradient"])
@pytest.mark.parametrize("pixels", [0, 1])
def test_a_batch_without_two_valid_pixels_costs_nothing_but_has_a_gradient(loss: str, pixels: int) -> None:
    task, valid = task_of(loss=loss, target="metres"), torch.zeros(1, 8, 8, dtype=torch.bool)
    valid.view(-1)[:pixels] = True
    output = torch.ones(1, 1, 8, 8, requires_grad=True)
    found = task.loss(output, batch_of(torch.ones(1, 8, 8), valid))
    (slope,) = torch.autograd.grad(found, output)
    assert float(found.detach()) == 0 and not slope.any()


def test_perfect_depth_has_a_finite_slope() -> None:
    task, truth = task_of(loss="silog_gradient", target="metres"), torch.rand(1, 8, 8) + 1
    output = truth[:, None].clone().requires_grad_()
    found = task.loss(output, batch_of(truth, torch.ones(1, 8, 8, dtype=torch.bool)))
    (slope,) = torch.autograd.grad(found, output)
    assert float(found.detach()) < 1e-5 and slope.isfinite().all()
