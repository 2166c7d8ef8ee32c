"""A head with one output per image."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from croco_bench.contracts import Features, FeatureSpec, Head


@dataclass(frozen=True)
class TokenMLPOptions:
    """Settings of the head.

    Attributes:
        width: channels of the hidden layer.
    """

    width: int = 64


class TokenMLP(Head):
    """Tokens of the last block -> (B, out_channels): an MLP per token, then their mean."""

    Options = TokenMLPOptions
    dense = False

    def __init__(self, spec: FeatureSpec, out_channels: int, options: TokenMLPOptions) -> None:
        super().__init__(spec, out_channels, options)
        self.hooks = (len(spec.widths) - 1,)
        self.layers = nn.Sequential(
            nn.Linear(spec.widths[-1], options.width), nn.GELU(), nn.Linear(options.width, out_channels)
        )

    def forward(self, features: Features) -> Tensor:
        """See `Head.forward`."""
        output: Tensor = self.layers(features.tokens[-1]).mean(dim=1)
        return output
