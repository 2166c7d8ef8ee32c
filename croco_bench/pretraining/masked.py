"""Masked autoencoding of single views (He 2022)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from croco_bench.backbones.networks.architecture import Decoder
from croco_bench.backbones.networks.blocks import Block, initialize, layer_norm
from croco_bench.backbones.networks.position_tables import sincos
from croco_bench.backbones.networks.vit import ViT
from croco_bench.pretraining.objective import MaskedOptions, MaskedPixels, Tensors, scatter_tokens


class MaskedAutoencoder(MaskedPixels):
    """MAE's objective: a decoder of plain blocks over all patches and the class token, with MAE's parameter names."""

    Options: ClassVar = MaskedOptions
    views = 1
    deviations = ("class token and mask token don't decay; in MAE's code both do",)
    decoder_pos_embed: Tensor

    def __init__(self, backbone: ViT, decoder: Decoder, options: MaskedOptions) -> None:
        super().__init__()
        self.backbone, self.options = backbone, options
        table = sincos(decoder.width, backbone.grid)
        self.register_buffer("decoder_pos_embed", torch.cat([torch.zeros(1, decoder.width), table])[None])
        self.mask_token = nn.Parameter(torch.empty(1, 1, decoder.width).normal_(std=0.02))
        self.decoder_embed = nn.Linear(backbone.embed_dim, decoder.width)
        self.decoder_blocks = nn.ModuleList(
            Block(decoder.width, decoder.heads, decoder.hidden) for _ in range(decoder.depth)
        )
        self.decoder_norm = layer_norm(decoder.width)
        self.decoder_pred = nn.Linear(decoder.width, 3 * backbone.patch_size**2)
        for part in (self.decoder_embed, self.decoder_blocks, self.decoder_norm, self.decoder_pred):
            part.apply(initialize)

    def predict(self, batch: Tensors) -> Tensor:
        """All patches of the view, (B, N, p*p*3)."""
        visible, grid = batch["visible"], self.backbone.grid
        tokens = self.decoder_embed(self.backbone.encode_visible(batch["view1"], visible))
        # The table's entry for the class token is zero, so only patches get positions.
        patches = scatter_tokens(tokens[:, 1:], visible, self.mask_token, grid[0] * grid[1])
        tokens = torch.cat([tokens[:, :1], patches + self.decoder_pos_embed[:, 1:]], dim=1)
        for block in self.decoder_blocks:
            tokens = block(tokens)
        predicted: Tensor = self.decoder_pred(self.decoder_norm(tokens)[:, 1:])
        return predicted
