"""Input and output adapters of MultiMAE (Bachmann 2022), with the parameter names of its files."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import Mlp
from torch import Tensor, nn

from croco_bench.backbones.networks.architecture import Grid
from croco_bench.backbones.networks.attention import attend
from croco_bench.backbones.networks.blocks import Block, initialize, initialize_joint_projections, layer_norm
from croco_bench.backbones.networks.position_tables import sincos


class PatchTokens(nn.Module):
    """A map of numbers, such as depth, to one token per patch."""

    def __init__(self, channels: int, width: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch_size, patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, N, width), row-major."""
        tokens: Tensor = self.proj(images).flatten(2).transpose(1, 2)
        return tokens


class ClassTokens(nn.Module):
    """A map of class ids to one token per patch: each id becomes a learned vector, then as `PatchTokens`."""

    def __init__(self, classes: int, class_width: int, width: int, patch_size: int) -> None:
        super().__init__()
        self.class_emb = nn.Embedding(classes, class_width)
        self.proj = nn.Conv2d(class_width, width, patch_size, patch_size)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, h, w) int64 -> (B, N, width), row-major."""
        tokens: Tensor = self.proj(self.class_emb(ids).permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
        return tokens


class ContextAttention(nn.Module):
    """Attention from queries to a context; keys and values come from one joint projection, as in MultiMAE's files."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """(B, N, C) and (B, M, C) -> (B, N, C)."""
        batch, count, width = queries.shape
        query = self.q(queries).view(batch, count, self.heads, -1).transpose(1, 2)
        key, value = self.kv(context).view(batch, context.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        output: Tensor = self.proj(attend(query, key, value).transpose(1, 2).reshape(batch, count, width))
        return output


class SpatialAdapter(nn.Module):
    """Predicts one modality's patches from the visible tokens of all modalities.

    Queries are the modality's own tokens, with a learned mask token for each hidden one. They attend to all visible
    tokens, then to each other in `depth` blocks. Positions and a learned vector per modality are added to queries and
    context.
    """

    pos_emb: Tensor

    def __init__(
        self,
        modality: str,
        *,
        modalities: Sequence[str],
        grid: Grid,
        encoder_width: int,
        values: int,
        width: int,
        depth: int,
        heads: int,
    ) -> None:
        """`modalities` are in the order of the encoder's tokens; `values` is the number of outputs per patch."""
        super().__init__()
        self._modalities, self._count = tuple(modalities), grid[0] * grid[1]
        self._first = self._modalities.index(modality) * self._count
        self.proj_context = nn.Linear(encoder_width, width)
        self.task_embeddings = nn.ParameterDict({name: nn.Parameter(torch.empty(1, 1, width)) for name in modalities})
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("pos_emb", sincos(width, grid).T.reshape(1, width, *grid).contiguous())
        self.decoder = ContextAttention(width, heads)
        self.context_norm, self.query_norm, self.out_norm = (layer_norm(width) for _ in range(3))
        self.mlp = Mlp(width, 4 * width)
        self.decoder_transformer = nn.Sequential(*(Block(width, heads, 4 * width) for _ in range(depth)))
        self.out_proj = nn.Linear(width, values)

    def forward(self, encoded: Tensor, visible: Tensor) -> Tensor:
        """Encoder output (B, P + K, C), prefix tokens first, and the indices (B, K) of its tokens -> (B, N, values)."""
        projected: Tensor = self.proj_context(encoded).to(self.mask_token.dtype)  # mixed precision lowers it
        prefix, seen = projected[:, : -visible.shape[1]], projected[:, -visible.shape[1] :]
        index = visible[:, :, None].expand_as(seen)
        embeddings = self._embeddings()
        all_tokens = self.mask_token.expand(len(seen), embeddings.shape[1], -1).scatter(1, index, seen) + embeddings
        queries = all_tokens[:, self._first : self._first + self._count]
        context = torch.cat([prefix, all_tokens.gather(1, index)], dim=1)
        tokens = self.decoder(self.query_norm(queries), self.context_norm(context))
        tokens = tokens + self.mlp(self.out_norm(tokens))
        output: Tensor = self.out_proj(self.decoder_transformer(tokens))
        return output

    def _embeddings(self) -> Tensor:
        """Position plus modality embedding of all tokens, (1, M*N, width)."""
        positions = self.pos_emb.flatten(2).transpose(1, 2)
        # Not in the ParameterDict's own order, which is alphabetical.
        return torch.cat([positions + self.task_embeddings[name] for name in self._modalities], dim=1)


def initialize_adapter(adapter: nn.Module) -> None:
    """MultiMAE's random initialisation, from torch's global generator."""
    adapter.apply(initialize)
    initialize_joint_projections(adapter)
    for name, parameter in adapter.named_parameters():
        if "task_embeddings" in name or "class_emb" in name:
            nn.init.trunc_normal_(parameter, std=0.02)
