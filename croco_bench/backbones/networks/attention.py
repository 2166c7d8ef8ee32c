"""Multi-head attention and rotary positions (RoPE)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from croco_bench.backbones.networks.architecture import CROCO_ROTARY, PLAIN_BLOCK, BlockOptions, Rotary

RopeTables = tuple[Tensor, Tensor]


def fused_is_faster(query: Tensor, key: Tensor) -> bool:
    """Whether torch's fused kernel is the faster one for q (B, heads, N, d) and k (B, heads, M, d).

    The explicit product wins only in bfloat16, with few tokens, on a CPU with bfloat16 units; `docs/pretraining.md` has
    the timings.
    """
    few = query.shape[-2] * key.shape[-2] <= 196 * 196
    return not (few and query.dtype == torch.bfloat16 and query.device.type == "cpu" and _has_bfloat16_units())


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
@lru_cache
def _has_bfloat16_units() -> bool:
    # AVX-512 alone isn't enough: without bfloat16 units the fused kernel is the faster one.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return supported is not None and bool(supported())


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v: q (B, heads, N, d), k and v (B, heads, M, d) -> (B, heads, N, d)."""
    if fused_is_faster(query, key):
        return F.scaled_dot_product_attention(query, key, value)
    weights: Tensor = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    mixed: Tensor = weights.softmax(dim=-1) @ value
    return mixed


def mean_weights(query: Tensor, key: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)), mean over heads, float32: q (B, heads, N, d) and k (B, heads, M, d) -> (B, N, M)."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    weights: Tensor = scores.float().softmax(dim=-1).mean(dim=1)
    return weights


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # cached tables of a prediction are used in training too
def rope_tables(
    grid: tuple[int, int],
    head_dim: int,
    base: float,
    device: torch.device | None = None,
    rotary: Rotary = CROCO_ROTARY,
) -> RopeTables:
    """Cosines and sines (N, head_dim) of two-dimensional rotary positions (Su 2021; CroCo v2 and DINOv3 use base 100).

    The first half of a head's channels is rotated by the row, the second half by the column. Within a half, channel j is
    paired with channel j + head_dim/4. Always float32, as angles are too coarse in half precision. Sines are negative
    for the first channel of a pair, as `rotate` needs them.
    """
    quarter = head_dim // 4
    frequency = base ** (-torch.arange(quarter, dtype=torch.float32, device=device) / quarter)
    if rotary.periods is not None:
        frequency = 1 / torch.tensor(rotary.periods, dtype=torch.float32, device=device)
    rows, columns = (_coordinates(side, rotary, device) for side in grid)
    row_angles = (rows[:, None] * frequency).repeat_interleave(grid[1], dim=0)
    column_angles = (columns[:, None] * frequency).repeat(grid[0], 1)
    cosine = torch.cat([row_angles, row_angles, column_angles, column_angles], dim=1).cos()
    sine = torch.cat([-row_angles, row_angles, -column_angles, column_angles], dim=1).sin()
    return cosine, sine


def _coordinates(side: int, rotary: Rotary, device: torch.device | None) -> Tensor:
    """Coordinates (side,) of rows or columns, before they are multiplied by the frequencies."""
    index = torch.arange(side, dtype=torch.float32, device=device)
    if rotary.coordinates == "extent":
        return 2 * math.pi * (2 * (index + 0.5) / side - 1)
    return (index + rotary.start) * rotary.scale


def with_prefix(rope: RopeTables, tokens: int) -> RopeTables:
    """Tables (..., N, d) for `tokens` more tokens at the front, which aren't rotated: (..., tokens + N, d)."""
    cosine, sine = rope
    return (
        F.pad(cosine, (0, 0, tokens, 0), value=1.0),
        F.pad(sine, (0, 0, tokens, 0), value=0.0),
    )


def rotate(tokens: Tensor, by: RopeTables | None) -> Tensor:
    """Rotates (B, heads, N, d) by tables (N, d) or (B, 1, N, d), in float32; `by=None` changes nothing."""
    if by is None:
        return tokens
    cosine, sine = by
    whole = tokens.float()
    a, b, c, d = whole.chunk(4, dim=-1)
    return torch.addcmul(whole * cosine, torch.cat([b, a, d, c], dim=-1), sine).to(tokens.dtype)


class Attention(nn.Module):
    """Self-attention with one projection for q, k and v. Parameter names are those of timm, MAE and CroCo."""

    def __init__(self, width: int, heads: int, options: BlockOptions = PLAIN_BLOCK) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=options.qkv_bias != "none")
        self.has_key_bias = options.qkv_bias != "no keys"
        self.proj = nn.Linear(width, width)
        self.q_norm, self.k_norm = (
            nn.LayerNorm(width // heads, eps=options.norm_eps) if options.qk_norm else nn.Identity() for _ in range(2)
        )

    def forward(self, tokens: Tensor, rope: RopeTables | None = None, parts: tuple[int, ...] = ()) -> Tensor:
        """(B, N, C) -> (B, N, C). Tokens of several sequences, `parts` of them each, attend to those of their own."""
        batch, count, width = tokens.shape
        query, key, value = self._project(tokens).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key = rotate(self.q_norm(query), rope), rotate(self.k_norm(key), rope)
        if parts:
            apart = zip(*(whole.split(parts, dim=-2) for whole in (query, key, value)), strict=True)
            mixed = torch.cat([attend(*one) for one in apart], dim=-2)
        else:
            mixed = attend(query, key, value)
        output: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, count, width))
        return output

    def weights(self, tokens: Tensor, rope: RopeTables | None = None, parts: tuple[int, ...] = ()) -> Tensor:
        """Attention from each token to each of one sequence, mean over heads: (B, N, C) -> (B, N, N), rows sum to 1."""
        if parts:
            raise ValueError("attention is recorded of one sequence alone")
        batch, count, _ = tokens.shape
        query, key, _ = self._project(tokens).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return mean_weights(rotate(self.q_norm(query), rope), rotate(self.k_norm(key), rope))

    def _project(self, tokens: Tensor) -> Tensor:
        """Queries, keys and values (B, N, 3C). Biases of keys that a network doesn't have stay zero in training."""
        if self.has_key_bias:
            projected: Tensor = self.qkv(tokens)
            return projected
        query, key, value = self.qkv.bias.chunk(3)
        return F.linear(tokens, self.qkv.weight, torch.cat([query, torch.zeros_like(key), value]))


class CrossAttention(nn.Module):
    """Attention from one view's tokens to another's, with CroCo's parameter names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projq, self.projk, self.projv = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def forward(
        self, tokens: Tensor, memory: Tensor, rope: RopeTables | None = None, memory_rope: RopeTables | None = None
    ) -> Tensor:
        """(B, N, C) and (B, M, C) -> (B, N, C)."""
        batch, count, width = tokens.shape
        query = self._split(self.projq(tokens))
        key, value = self._split(self.projk(memory)), self._split(self.projv(memory))
        mixed = attend(rotate(query, rope), rotate(key, memory_rope), value)
        output: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, count, width))
        return output

    def weights(
        self, tokens: Tensor, memory: Tensor, rope: RopeTables | None = None, memory_rope: RopeTables | None = None
    ) -> Tensor:
        """Attention from `tokens` to `memory`, mean over heads: (B, N, C) and (B, M, C) -> (B, N, M), rows sum to 1."""
        query, key = self._split(self.projq(tokens)), self._split(self.projk(memory))
        return mean_weights(rotate(query, rope), rotate(key, memory_rope))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.view(tokens.shape[0], tokens.shape[1], self.heads, -1).transpose(1, 2)


@contextmanager
def recorded_weights(layers: Iterable[Any]) -> Iterator[dict[int, Tensor]]:
    """Collects the attention of each layer's first call within the context, by the layer's index: see its `weights`.

    The layers, each an `Attention` or a `CrossAttention`, compute as always; attention is computed once more for the record.
    """
    found: dict[int, Tensor] = {}

    def record(index: int, layer: nn.Module, inputs: Any) -> None:
        if index not in found and isinstance(layer, Attention | CrossAttention):
            found[index] = layer.weights(*inputs)

    hooks = [
        layer.register_forward_pre_hook(lambda module, inputs, index=index: record(index, module, inputs))
        for index, layer in enumerate(layers)
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
