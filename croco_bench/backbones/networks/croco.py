"""CroCo: one ViT encoder for both views and a decoder from view 1 to view 2 (Weinzaepfel 2022, 2023).

Decoders of networks that descend from it, DUSt3R (Wang 2024) and Reloc3r (Dong 2025), take view 2 through their blocks, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from croco_bench.backbones.networks.architecture import Architecture, Decoder
from croco_bench.backbones.networks.attention import RopeTables, recorded_weights
from croco_bench.backbones.networks.blocks import Block, CrossBlock, layer_norm
from croco_bench.backbones.networks.vit import ViT, check_size
from croco_bench.contracts import Origin, PairBackbone
from croco_bench.errors import FitError
from croco_bench.types import Size

_DECODER_PARTS = ("decoder_embed", "dec_positions", "dec_blocks", "dec_blocks2", "dec_norm")


class CrossView(PairBackbone):
    """The decoder of a pair network; a subclass implements `encode`.

    `dec_positions` (N, Cdec) is for `image_size` only; None with RoPE.
    """

    dec_positions: Tensor | None

    def add_decoder(self, decoder: Decoder) -> None:
        """Registers all modules of the decoder; positions are left to the subclass."""
        self.decoder = decoder
        self.decoder_dim, self.decoder_depth = decoder.width, decoder.depth
        self.decoder_embed = nn.Linear(self.embed_dim, decoder.width)
        self.dec_blocks = nn.ModuleList(_decoder_block(decoder) for _ in range(decoder.depth))
        if decoder.memory == "own":  # nothing reads view 2 after the last block
            self.dec_blocks2 = nn.ModuleList(_decoder_block(decoder) for _ in range(decoder.depth - 1))
        self.dec_norm = layer_norm(decoder.width)

    def rope(self, head_dim: int) -> RopeTables | None:
        """Rotary tables for heads of `head_dim` channels; None unless a subclass overrides this."""
        return None

    def drop_decoder(self) -> None:
        """Deletes the decoder; `encode_pair` then raises `FitError`."""
        for part in _DECODER_PARTS:
            if hasattr(self, part):
                delattr(self, part)
        self.binocular = False

    def in_decoder(self, name: str) -> bool:
        """See `PairBackbone.in_decoder`."""
        return name.partition(".")[0] in _DECODER_PARTS

    def decoder_units(self) -> Sequence[nn.Module]:
        """The decoder's blocks, if there is a decoder."""
        return [block for part in ("dec_blocks", "dec_blocks2") for block in getattr(self, part, ())]

    def decoder_layer_of(self, parameter: str) -> int | None:
        """`Backbone.layer_of` for parameters of the decoder, counted on from the encoder's last block; None for others."""
        part, _, rest = parameter.partition(".")
        if part in ("dec_blocks", "dec_blocks2"):
            return self.depth + int(rest.partition(".")[0]) + 1
        if part in _DECODER_PARTS:
            return self.depth + (self.decoder_depth if part == "dec_norm" else 0)
        return None

    def encode_pair(self, view1: Tensor, view2: Tensor) -> list[Tensor]:
        """See `PairBackbone.encode_pair`. Both views go through the encoder in one batch.

        Raises:
            FitError: the decoder was dropped, or the views differ in size.
        """
        self._check_pair(view2)
        both = self.encode(torch.cat([view1, view2]))
        first = [tokens[: len(view1)] for tokens in both]
        return first + self.decode_pair(both[-1][: len(view1)], both[-1][len(view1) :])

    def decode_pair(self, tokens1: Tensor, tokens2: Tensor) -> list[Tensor]:
        """See `PairBackbone.decode_pair`."""
        return self.decode(self.embed_for_decoder(tokens1), self.embed_for_decoder(tokens2))

    def decode_with_attention(self, tokens1: Tensor, tokens2: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """See `PairBackbone.decode_with_attention`. Of joined views, the part of self-attention from view 1 to view 2."""
        joined, count = self.decoder.kind == "cat", tokens1.shape[1]
        layers = [block.attn if joined else block.cross_attn for block in self.dec_blocks]
        with recorded_weights(layers) as found:  # a layer that serves both views is called for view 1 first
            blocks = self.decode_pair(tokens1, tokens2)
        maps = [found[index] for index in range(len(layers))]
        return blocks, [weights[:, :count, count:] for weights in maps] if joined else maps

    def encode_both(self, view1: Tensor, view2: Tensor) -> list[Tensor]:
        """See `PairBackbone.encode_both`. Each view goes through the encoder once, all in one batch.

        Raises:
            FitError: as `encode_pair`.
        """
        self._check_pair(view2)
        both = self.encode(torch.cat([view1, view2]))
        embedded = self.embed_for_decoder(both[-1])
        return both + self.decode(embedded, embedded.roll(len(view1), dims=0))

    def _check_pair(self, view2: Tensor) -> None:
        if not self.binocular:
            raise FitError(f"{self.name} has no decoder any more", "load it again to encode pairs")
        check_size(view2, self.image_size, self.name)

    def embed_for_decoder(self, tokens: Tensor) -> Tensor:
        """Encoder output (B, N, C) of all patches -> decoder input (B, N, Cdec), with positions."""
        return self.add_positions(self.decoder_embed(tokens))

    def add_positions(self, tokens: Tensor) -> Tensor:
        """Adds the decoder's position table to tokens (B, N, Cdec) of all patches; the identity with RoPE."""
        return tokens if self.dec_positions is None else tokens + self.dec_positions

    def decode(self, tokens: Tensor, memory: Tensor) -> list[Tensor]:
        """Decoder inputs of view 1 and view 2 (B, N, Cdec) -> every block's output for view 1, the last one normed."""
        rope = self.rope(self.decoder_dim // self.decoder.heads)
        if self.decoder.kind == "cat":
            outputs = self._decode_joined(tokens, memory, rope)
        elif self.decoder.memory == "fixed":
            outputs = []
            for block in self.dec_blocks:
                tokens = block(tokens, memory, rope, rope)
                outputs.append(tokens)
        else:
            outputs = self._decode_mutually(tokens, memory, rope)
        outputs[-1] = self.dec_norm(outputs[-1])
        return outputs

    def _decode_mutually(self, tokens: Tensor, memory: Tensor, rope: RopeTables | None) -> list[Tensor]:
        """Cross blocks for both views, each of which attends to the other's tokens of the same depth."""
        second = self.dec_blocks2 if self.decoder.memory == "own" else self.dec_blocks
        outputs = [self.dec_blocks[0](tokens, memory, rope, rope)]
        for block, block2 in zip(self.dec_blocks[1:], second, strict=False):  # the last output of view 2 isn't needed
            memory = block2(memory, tokens, rope, rope)
            tokens = outputs[-1]
            outputs.append(block(tokens, memory, rope, rope))
        return outputs

    def _decode_joined(self, tokens: Tensor, memory: Tensor, rope: RopeTables | None) -> list[Tensor]:
        """Self-attention over the tokens of both views in one sequence; both views have the same positions."""
        count, both = tokens.shape[1], torch.cat([tokens, memory], dim=1)
        if rope is not None:
            rope = rope[0].repeat(2, 1), rope[1].repeat(2, 1)
        outputs = []
        for block in self.dec_blocks:
            both = block(both, rope)
            outputs.append(both[:, :count])
        return outputs


class CroCo(ViT, CrossView):
    """Encoder and cross-view decoder; the decoder can be dropped for tasks with one view."""

    binocular = True

    def __init__(self, architecture: Architecture, image_size: Size, origin: Origin, name: str) -> None:
        super().__init__(architecture, image_size, origin, name)
        if architecture.decoder is None:
            raise ValueError("a CroCo network with a decoder needs an architecture with one")
        self.add_decoder(architecture.decoder)
        self._add_positions("dec_positions", self.decoder_dim)

    def units(self) -> Sequence[nn.Module]:
        """The blocks of encoder and decoder."""
        return (*ViT.units(self), *self.decoder_units())

    def drop_decoder(self) -> None:
        """Deletes the decoder; `encode_pair` then raises `FitError`."""
        CrossView.drop_decoder(self)
        self.architecture = replace(self.architecture, decoder=None)

    @property
    def layers(self) -> int:
        """Patch embedding, encoder blocks and decoder blocks."""
        return self.depth + 1 + (self.decoder_depth if self.binocular else 0)

    def layer_of(self, parameter: str) -> int:
        """See `Backbone.layer_of`."""
        layer = self.decoder_layer_of(parameter)
        return ViT.layer_of(self, parameter) if layer is None else layer


def _decoder_block(decoder: Decoder) -> nn.Module:
    if decoder.kind == "cat":
        return Block(decoder.width, decoder.heads, decoder.hidden)
    return CrossBlock(decoder.width, decoder.heads, decoder.hidden, norm_memory=decoder.norm_memory)
