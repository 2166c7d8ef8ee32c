"""Weights and images that a formula gives, so that numbers of other implementations can stand in the tests."""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]


def wave_weights(shapes: Shapes) -> dict[str, Tensor]:
    """Sines with another frequency for each name; weights of norms are around 1."""
    state = {}
    for index, name in enumerate(sorted(shapes)):
        shape = shapes[name]
        count = torch.Size(shape).numel()
        wave = (torch.arange(count, dtype=torch.float64) * (0.61 + 0.173 * index) + index).sin()
        center = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        state[name] = (center + 0.2 * wave).float().reshape(shape)
    return state


def wave_images(height: int, width: int) -> Tensor:
    """Two normalised images (2, 3, H, W)."""
    return (torch.arange(6 * height * width, dtype=torch.float64) * 0.37).sin().float().reshape(2, 3, height, width)


@pytest.fixture
def waves() -> Callable[[Shapes], dict[str, Tensor]]:
    return wave_weights


@pytest.fixture
def wave_pair() -> Tensor:
    """Two images of 32x48 pixels."""
    return wave_images(32, 48)
