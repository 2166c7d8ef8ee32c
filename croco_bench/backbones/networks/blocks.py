"""Transformer blocks with the parameter names of timm, MAE and CroCo."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

from timm.layers import DropPath, GluMlp, LayerScale, Mlp, QuickGELU
from torch import Tensor, nn

from croco_bench.backbones.networks.architecture import PLAIN_BLOCK, BlockOptions
from croco_bench.backbones.networks.attention import Attention, CrossAttention, RopeTables
from croco_bench.backbones.networks.facts import Activation

# All families here were trained with 1e-6; torch's default is 1e-5.
EPSILON = 1e-6


_ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, approximate="tanh"),
    "quick_gelu": QuickGELU,
}


def layer_norm(width: int, eps: float = EPSILON) -> nn.LayerNorm:
    """LayerNorm, by default with the epsilon of these families."""
    return nn.LayerNorm(width, eps=eps)


def _mlp(width: int, hidden: int, options: BlockOptions) -> nn.Module:
    mlp: nn.Module
    if options.gated:
        mlp = GluMlp(width, 2 * hidden, act_layer=nn.SiLU, gate_last=False)
    else:
        mlp = Mlp(width, hidden, act_layer=_ACTIVATIONS[options.activation])
    return mlp


class Block(nn.Module):
    """Pre-norm self-attention and MLP."""

    def __init__(self, width: int, heads: int, hidden: int, options: BlockOptions = PLAIN_BLOCK) -> None:
        super().__init__()
        self.norm1, self.norm2 = (layer_norm(width, options.norm_eps) for _ in range(2))
        self.attn = Attention(width, heads, options)
        self.mlp = _mlp(width, hidden, options)
        self.ls1, self.ls2 = (LayerScale(width) if options.layer_scale else nn.Identity() for _ in range(2))
        self.drop_path: nn.Module = nn.Identity()

    def forward(self, tokens: Tensor, rope: RopeTables | None = None, parts: tuple[int, ...] = ()) -> Tensor:
        """(B, N, C) -> (B, N, C); `parts` as in `Attention`."""
        tokens = tokens + self.drop_path(self.ls1(self.attn(self.norm1(tokens), rope, parts)))
        output: Tensor = tokens + self.drop_path(self.ls2(self.mlp(self.norm2(tokens))))
        return output


class CrossBlock(nn.Module):
    """CroCo's decoder block: self-attention, cross-attention to view 2, MLP. The tokens of view 2 don't change."""

    def __init__(self, width: int, heads: int, hidden: int, *, norm_memory: bool = True) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (layer_norm(width) for _ in range(3))
        self.attn, self.cross_attn = Attention(width, heads), CrossAttention(width, heads)
        self.mlp = Mlp(width, hidden)
        self.norm_y: nn.Module = layer_norm(width) if norm_memory else nn.Identity()

    def forward(
        self, tokens: Tensor, memory: Tensor, rope: RopeTables | None = None, memory_rope: RopeTables | None = None
    ) -> Tensor:
        """(B, N, C) of view 1 and (B, M, C) of view 2 -> (B, N, C)."""
        tokens = tokens + self.attn(self.norm1(tokens), rope)
        tokens = tokens + self.cross_attn(self.norm2(tokens), self.norm_y(memory), rope, memory_rope)
        output: Tensor = tokens + self.mlp(self.norm3(tokens))
        return output


def drop_path(rate: float, block: nn.Module) -> nn.Module:
    """A stochastic-depth layer in the training mode of `block`; the identity for rate 0."""
    return DropPath(rate).train(block.training) if rate else nn.Identity()


def set_drop_path(blocks: Iterable[nn.Module], rate: float) -> None:
    """Stochastic depth, rising linearly from 0 at the first block to `rate` at the last (Huang 2016)."""
    droppable = [block for block in blocks if isinstance(block, Block)]
    for i, block in enumerate(droppable):
        block.drop_path = drop_path(rate * i / max(len(droppable) - 1, 1), block)


def initialize(module: nn.Module) -> None:
    """Xavier-uniform matrices, zero biases, unit norms, as in MAE and CroCo. Use with `Module.apply`."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def initialize_joint_projections(network: nn.Module) -> None:
    """Draws stored-as-one projections of queries, keys and values as the separate square matrices that MultiMAE draws."""
    for name, parameter in network.named_parameters():
        if name.endswith(("qkv.weight", "kv.weight")):
            bound = math.sqrt(3 / parameter.shape[1])  # Xavier's sqrt(6 / (in + out)) for in = out
            nn.init.uniform_(parameter, -bound, bound)
