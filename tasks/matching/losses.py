"""Regression with a predicted confidence: the Laplacian losses of CroCo-Flow and CroCo-Stereo, and plain L1.

A network's output is (B, k + 1, H, W): k channels of flow or disparity, then the raw confidence c, from which a loss makes
the logarithm of the Laplacian's scale s. Without the constant ln 2, the loss of a pixel is |p - t|_1 / s + ln s: a larger c
means less trust. Targets are (B, k, H, W) in pixels, `valid` (B, H, W) says where they count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

LogScale = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def free(confidence: Tensor) -> Tensor:
    """ln s = c; CroCo-Stereo on ETH3D."""
    return confidence


def bounded(confidence: Tensor, low: float = 0.25, high: float = 4.0) -> Tensor:
    """ln s with s = low + (high - low) sigmoid(c); CroCo-Flow."""
    return (low + (high - low) * torch.sigmoid(confidence)).log()


def symmetric(confidence: Tensor, limit: float = 3.0) -> Tensor:
    """ln s = 2 limit (sigmoid(c / limit) - 1/2), between -limit and limit; CroCo-Stereo."""
    return 2 * limit * (torch.sigmoid(confidence / limit) - 0.5)


def laplacian(output: Tensor, target: Tensor, valid: Tensor, log_scale: LogScale) -> Tensor:
    """Mean over valid pixels of |p - t|_1 / s + ln s; 0, but still a graph, where none is valid."""
    if not valid.any():
        return output.sum() * 0.0
    distance = (output[:, :-1] - target).abs().sum(dim=1)[valid]
    scale = log_scale(output[:, -1][valid])
    return (distance / scale.exp() + scale).mean()


def l1(output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean over valid pixels and all k channels of |p - t|; there is no confidence. 0 where no pixel is valid."""
    if not valid.any():
        return output.sum() * 0.0
    return (output - target).abs().movedim(1, -1)[valid].mean()


def within(target: Tensor, valid: Tensor, most: float) -> Tensor:
    """Where (B, H, W) a valid target (B, k, H, W) is shorter than `most` pixels."""
    return valid & (target.square().sum(dim=1) < most**2)


def _with(log_scale: LogScale) -> Loss:
    return lambda output, target, valid: laplacian(output, target, valid, log_scale)


# By the names that recipes use; all but the last need a confidence.
LOSSES: Mapping[str, Loss] = MappingProxyType(
    {"bounded": _with(bounded), "symmetric": _with(symmetric), "free": _with(free), "l1": l1}
)
