"""Pose head of Reloc3r (Dong 2024): residual blocks on every token of the last block, their mean, an MLP."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from croco_bench.contracts import Features, FeatureSpec, Head


@dataclass(frozen=True)
class PoseOptions:
    """Settings of the head; the defaults are Reloc3r's for patches of 16.

    Attributes:
        width: channels inside; in Reloc3r four per pixel of a patch.
        blocks: number of residual blocks of three layers each, before the mean.
        layers: number of layers with ReLU after the mean.
    """

    width: PositiveInt = 1024
    blocks: NonNegativeInt = 2
    layers: NonNegativeInt = 2


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(3))

    def forward(self, tokens: Tensor) -> Tensor:
        inner = tokens
        for layer in self.layers:
            inner = F.relu(layer(inner))
        return tokens + inner


class Pose(Head):
    """Tokens of the last block -> (B, out_channels), no activation.

    Reloc3r's 1x1 convolutions are linear layers here, as the input is tokens.
    """

    Options = PoseOptions
    dense = False

    def __init__(self, spec: FeatureSpec, out_channels: int, options: PoseOptions) -> None:
        super().__init__(spec, out_channels, options)
        width = options.width
        self.hooks = (len(spec.widths) - 1,)
        self.project = nn.Linear(spec.widths[-1], width)
        self.blocks = nn.ModuleList(_Residual(width) for _ in range(options.blocks))
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(options.layers))
        self.output = nn.Linear(width, out_channels)

    def forward(self, features: Features) -> Tensor:
        """See `Head.forward`."""
        tokens = self.project(features.tokens[-1])
        for block in self.blocks:
            tokens = block(tokens)
        pooled = tokens.mean(dim=1)
        for layer in self.layers:
            pooled = F.relu(layer(pooled))
        output: Tensor = self.output(pooled)
        return output
