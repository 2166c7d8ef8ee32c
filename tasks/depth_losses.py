"""Depth from bins, and losses of logarithmic depth, as AdaBins, MegaDepth and DINOv2 define them."""

from __future__ import annotations

import torch
from torch import Tensor

from croco_bench.valid_pixels import ValidPixels

# Added to depths (m) before their logarithm is taken, so that its slope stays finite.
_EPSILON_M = 1e-3
# Weight of the squared mean of the logarithmic errors.
_MEAN_WEIGHT = 0.15
# Added to rectified outputs before they become shares of the bins.
_SHARE = 0.1
# Steps between the pixels of the four scales whose gradients are compared.
_SCALES = (1, 2, 4, 6)


def binned(outputs: Tensor, low: float, high: float) -> Tensor:
    """Outputs (B, K, h, w) -> (B, 1, h, w): the mean of K values evenly spaced from `low` to `high`.

    Their weights are the rectified outputs plus 0.1, divided by their sum ("linear" normalisation in AdaBins' code).
    """
    centers = torch.linspace(low, high, outputs.shape[1], device=outputs.device)
    shares = outputs.relu() + _SHARE
    return torch.einsum("bkhw,k->bhw", shares / shares.sum(dim=1, keepdim=True), centers)[:, None]


def scale_invariant(depth: Tensor, truth: Tensor, pixels: ValidPixels) -> Tensor:
    """sqrt(var(g) + 0.15 mean(g)^2) of the logarithmic errors g of depths (B, H, W) in metres at valid pixels (SigLoss)."""
    errors = _log_errors(pixels.of(depth), pixels.of(truth))
    square = pixels.variance(errors) + _MEAN_WEIGHT * pixels.mean(errors) ** 2
    # At 0 the slope of the root is infinite.
    return square.clamp(min=1e-12).sqrt()


def log_gradients(depth: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute gradient of logarithmic errors (B, H, W), between pixels two apart, summed over four scales.

    The scales keep every pixel, and every second, fourth and sixth of the images' rows and columns.
    """
    total = depth.new_zeros(())
    for step in _SCALES:
        mask = valid[:, ::step, ::step]
        # Depths of pixels that aren't valid may be anything.
        errors = torch.where(mask, _log_errors(depth[:, ::step, ::step], truth[:, ::step, ::step].clamp(min=0)), 0.0)
        down = (errors[:, 2:] - errors[:, :-2]).abs() * (mask[:, 2:] & mask[:, :-2])
        right = (errors[:, :, 2:] - errors[:, :, :-2]).abs() * (mask[:, :, 2:] & mask[:, :, :-2])
        total = total + (down.sum() + right.sum()) / mask.sum().clamp(min=1)
    return total


def _log_errors(depth: Tensor, truth: Tensor) -> Tensor:
    return (depth + _EPSILON_M).log() - (truth + _EPSILON_M).log()
