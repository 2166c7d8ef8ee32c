"""Regression with a predicted confidence: the Laplacian losses of CroCo-Flow and CroCo-Stereo, and plain L1.

A network's output is (B, k + 1, H, W): k channels of flow or disparity, then the raw confidence c, which determines the
scale s of the Laplacian. Without the constant ln 2, the loss of a pixel is |p - t|_1 / s + ln s: a larger c means less
confidence. Targets are (B, k, H, W) in pixels; `valid` (B, H, W) masks them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from croco_bench.valid_pixels import ValidPixels

LogScale = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def free(confidence: Tensor) -> Tensor:
    """ln s = c; CroCo-Stereo on ETH3D."""
    return confidence


def bounded(confidence: Tensor, min_scale: float = 0.25, max_scale: float = 4.0) -> Tensor:
    """ln s with s = min_scale + (max_scale - min_scale) sigmoid(c); CroCo-Flow."""
    return (min_scale + (max_scale - min_scale) * torch.sigmoid(confidence)).log()


def symmetric(confidence: Tensor, limit: float = 3.0) -> Tensor:
    """ln s = 2 limit (sigmoid(c / limit) - 1/2), between -limit and limit; CroCo-Stereo."""
    return 2 * limit * (torch.sigmoid(confidence / limit) - 0.5)


def laplacian(output: Tensor, target: Tensor, valid: Tensor, log_scale: LogScale) -> Tensor:
    """Mean over valid pixels of |p - t|_1 / s + ln s; without any, 0 with a gradient of 0."""
    pixels = ValidPixels(valid)
    distance = pixels.of((output[:, :-1] - target).abs().sum(dim=1))
    scale = log_scale(pixels.of(output[:, -1]))
    return pixels.mean(distance / scale.exp() + scale)


def l1(output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean over valid pixels and all k channels of |p - t|, without a confidence; 0 without valid pixels."""
    pixels = ValidPixels(valid)
    return pixels.mean(pixels.of((output - target).abs().movedim(1, -1)))


def within(target: Tensor, valid: Tensor, max_length: float) -> Tensor:
    """Mask (B, H, W) of valid targets (B, k, H, W) shorter than `max_length` pixels."""
    return valid & (target.square().sum(dim=1) < max_length**2)


def _with(log_scale: LogScale) -> Loss:
    return lambda output, target, valid: laplacian(output, target, valid, log_scale)


# Losses by the value of `task.loss`; all but l1 need a confidence.
LOSSES: Mapping[str, Loss] = MappingProxyType(
    {"bounded": _with(bounded), "symmetric": _with(symmetric), "free": _with(free), "l1": l1}
)
