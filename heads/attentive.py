"""Attentive classifier: one learned query attends to the patch tokens of the last block (CAPI, AIM, V-JEPA)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from croco_bench.contracts import Features, FeatureSpec, Head
from croco_bench.errors import FitError


@dataclass(frozen=True)
class AttentiveOptions:
    """Settings of the head; the defaults are CAPI's.

    Attributes:
        head_width: channels of an attention head.
        norm: of the tokens before they are read: none (CAPI), batch norm without learned scale (AIM), or layer norm (V-JEPA).
        residual: the attended vector is projected, added to the query, and passes a norm and an MLP four times as wide, as
            in V-JEPA's complete block.
    """

    head_width: PositiveInt = 64
    norm: Literal["none", "batch", "layer"] = "none"
    residual: bool = False


class Attentive(Head):
    """Tokens of the last block -> (B, out_channels): cross-attention of one query, linear layer.

    Keys and values are linear in the tokens; all initial weights have a standard deviation of 0.02, biases are 0.

    Raises:
        FitError: the tokens' channels aren't a multiple of `head_width`.
    """

    Options = AttentiveOptions
    dense = False

    def __init__(self, spec: FeatureSpec, out_channels: int, options: AttentiveOptions) -> None:
        super().__init__(spec, out_channels, options)
        width = spec.widths[-1]
        if width % options.head_width:
            raise FitError(
                f"{width} channels don't divide into attention heads of {options.head_width}",
                "give --set head.head_width with a divisor",
            )
        self.hooks = (len(spec.widths) - 1,)
        self.heads = width // options.head_width
        self.norm = _norm(options.norm, width)
        self.query = nn.Parameter(torch.empty(1, width))
        self.keys_values = nn.Linear(width, 2 * width)
        self.block = _Block(width) if options.residual else None
        self.linear = nn.Linear(width, out_channels)
        nn.init.trunc_normal_(self.query, std=0.02)
        self.apply(_initialize)

    def forward(self, features: Features) -> Tensor:
        """See `Head.forward`."""
        attended = self.attend(features.tokens[-1])
        if self.block is not None:
            attended = self.block(self.query, attended)
        output: Tensor = self.linear(attended)
        return output

    def attend(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, C) -> the mean of their values (B, C), weighted by attention."""
        images, count, width = tokens.shape
        normed = self.norm(tokens.flatten(0, 1)).view_as(tokens)
        both = self.keys_values(normed).view(images, count, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        query = self.query.view(1, self.heads, 1, -1).expand(images, -1, -1, -1)
        return F.scaled_dot_product_attention(query.to(both.dtype), both[0], both[1]).reshape(images, width)

    def resolved(self) -> dict[str, Any]:
        """Number of attention heads."""
        return {"heads": self.heads}


class _Block(nn.Module):
    """Projection, residual, norm, MLP, residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, query: Tensor, attended: Tensor) -> Tensor:
        """Query (1, C) and attended vectors (B, C) -> (B, C)."""
        vectors = query + self.project(attended)
        output: Tensor = vectors + self.mlp(self.norm(vectors))
        return output


def _norm(kind: str, width: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm1d(width, affine=False, eps=1e-6)
    return nn.LayerNorm(width) if kind == "layer" else nn.Identity()


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
