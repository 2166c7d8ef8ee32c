"""Multi-head attention and rotary positions, computed the faster of two equal ways."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Rotation = tuple[Tensor, Tensor]


def fused_is_faster(query: Tensor, key: Tensor) -> bool:
    """Whether to use the fused kernel for q (B, heads, N, d) and k (B, heads, M, d).

    Measured on one thread of a CPU without bfloat16 units, forward and backward of the attention alone, fused / plain:
    float32: 16 tokens 0.98 / 0.91 ms, 64 tokens 7.5 / 7.5, ViT-B with 196 tokens 32 / 38, with 256 tokens 48 / 51;
    bfloat16: 2.6 / 6.6, 25 / 61, 268 / 389, 429 / 532. Forward alone, fused takes 0.7 to 0.8 of the time in float32.
    A whole training step of mini-croco: 16 tokens 306 / 296 ms, 64 tokens 593 / 595, 256 tokens 961 / 1052.
    On one thread of a CPU with bfloat16 units (EPYC, Zen 4) the plain way wins in bfloat16, fused / plain: 64 tokens
    14.2 / 2.3 ms, ViT-B with 196 tokens 66 / 30, its decoder 63 / 26; forward alone 16 / 11. It keeps all weights of
    attention for the backward pass: some 250 MB of a ViT-B step with 8 pairs. In float32 fused wins there: 51 / 56 and
    41 / 49. More tokens weren't measured.
    """
    few = query.shape[-2] * key.shape[-2] <= 196 * 196
    return not (few and query.dtype == torch.bfloat16 and query.device.type == "cpu" and _has_bfloat16_units())


@lru_cache
def _has_bfloat16_units() -> bool:
    # Having AVX-512 isn't enough: without these units the plain way is the slow one.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return supported is not None and bool(supported())


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v; (B, heads, N, d) and twice (B, heads, M, d) -> (B, heads, N, d)."""
    if fused_is_faster(query, key):
        return F.scaled_dot_product_attention(query, key, value)
    weights: Tensor = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    mixed: Tensor = weights.softmax(dim=-1) @ value
    return mixed


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # tables made while predicting must serve training too
def rotation(grid: tuple[int, int], head_dim: int, base: float, device: torch.device | None = None) -> Rotation:
    """Cosines and sines (N, head_dim) of two-dimensional rotary positions (Su 2021; CroCo v2 uses base 100).

    The first half of a head's channels turns with the row, the second with the column; within each half, channel j is
    paired with channel j + head_dim/4. Always float32: angles lose too much in half precision. The sines carry the sign
    with which `rotate` uses them: minus for the first of a pair.
    """
    quarter = head_dim // 4
    frequency = base ** (-torch.arange(quarter, dtype=torch.float32, device=device) / quarter)
    rows, columns = (torch.arange(side, dtype=torch.float32, device=device) for side in grid)
    row_angles = (rows[:, None] * frequency).repeat_interleave(grid[1], dim=0)
    column_angles = (columns[:, None] * frequency).repeat(grid[0], 1)
    cosine = torch.cat([row_angles, row_angles, column_angles, column_angles], dim=1).cos()
    sine = torch.cat([-row_angles, row_angles, -column_angles, column_angles], dim=1).sin()
    return cosine, sine


def rotate(tokens: Tensor, by: Rotation | None) -> Tensor:
    """Turns (B, heads, N, d) by tables (N, d) or (B, 1, N, d), in float32."""
    if by is None:
        return tokens
    cosine, sine = by
    whole = tokens.float()
    a, b, c, d = whole.chunk(4, dim=-1)
    return torch.addcmul(whole * cosine, torch.cat([b, a, d, c], dim=-1), sine).to(tokens.dtype)


class Attention(nn.Module):
    """Self-attention with one projection for q, k and v, as in timm, MAE and CroCo."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, turn: Rotation | None = None) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        batch, count, width = tokens.shape
        query, key, value = self.qkv(tokens).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = attend(rotate(query, turn), rotate(key, turn), value)
        output: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, count, width))
        return output


class CrossAttention(nn.Module):
    """Attention from one view's tokens to another's, with CroCo's parameter names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projq, self.projk, self.projv = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def forward(
        self, tokens: Tensor, memory: Tensor, turn: Rotation | None = None, memory_turn: Rotation | None = None
    ) -> Tensor:
        """(B, N, C) and (B, M, C) -> (B, N, C)."""
        batch, count, width = tokens.shape
        query = self._split(self.projq(tokens))
        key, value = self._split(self.projk(memory)), self._split(self.projv(memory))
        mixed = attend(rotate(query, turn), rotate(key, memory_turn), value)
        output: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, count, width))
        return output

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.view(tokens.shape[0], tokens.shape[1], self.heads, -1).transpose(1, 2)
