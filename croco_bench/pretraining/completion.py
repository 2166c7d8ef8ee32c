"""Cross-view completion: hidden patches of view 1 from its visible patches and view 2 (Weinzaepfel 2022, 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from croco_bench.backbones.networks.blocks import Block, CrossBlock, initialize
from croco_bench.backbones.networks.croco import CroCo
from croco_bench.errors import UsageError
from croco_bench.pretraining.objective import MaskedOptions, MaskedPixels, Tensors, scatter_tokens


@dataclass(frozen=True)
class CrossViewOptions(MaskedOptions):
    """CroCo's mask ratio and initialisation.

    Attributes:
        matching_start: initial bias of the queries and keys that attend to view 2. Equal constant biases make attention
            prefer the query's own position, with rotary positions only; a small network on few images then learns to
            copy much sooner. 0: the paper's initialisation.
    """

    mask_ratio: float = 0.9
    matching_start: float = 0.0


class CrossViewCompletion(MaskedPixels):
    """CroCo's objective; the backbone has the `cross` or the `cat` decoder."""

    Options: ClassVar = CrossViewOptions
    views = 2
    backbone: CroCo

    def __init__(self, backbone: CroCo, options: CrossViewOptions) -> None:
        """Random weights outside the backbone, from torch's global generator.

        Raises:
            UsageError: `matching_start` with other than rotary positions.
        """
        super().__init__()
        self.backbone, self.options = backbone, options
        self.mask_token = nn.Parameter(torch.empty(1, 1, backbone.decoder_dim).normal_(std=0.02))
        self.prediction_head = nn.Linear(backbone.decoder_dim, 3 * backbone.patch_size**2)
        self.prediction_head.apply(initialize)
        if options.matching_start:
            if backbone.architecture.positions != "rope":
                raise UsageError(
                    "croco.matching_start works by rotary positions",
                    "set croco.matching_start=0 or model.positions=rope",
                )
            _prefer_own_position(backbone, options.matching_start)

    def predict(self, batch: Tensors) -> Tensor:
        """All patches of view 1, (B, N, p*p*3), from its visible patches and view 2."""
        backbone, visible = self.backbone, batch["visible"]
        both = backbone.decoder_embed(backbone.encode_visible_beside(batch["view1"], visible, batch["view2"]))
        tokens, memory = both.tensor_split([visible.shape[1]], dim=1)
        memory = backbone.add_positions(memory)
        tokens = backbone.add_positions(scatter_tokens(tokens, visible, self.mask_token, memory.shape[1]))
        predicted: Tensor = self.prediction_head(backbone.decode(tokens, memory)[-1])
        return predicted


def _prefer_own_position(backbone: CroCo, bias: float) -> None:
    """Equal constant queries and keys: under rotation, their product is largest where the positions agree."""
    for block in backbone.dec_blocks:
        if isinstance(block, CrossBlock):
            nn.init.constant_(block.cross_attn.projq.bias, bias)
            nn.init.constant_(block.cross_attn.projk.bias, bias)
        elif isinstance(block, Block):  # queries and keys are the first two thirds of the joint projection
            width = block.attn.qkv.in_features
            nn.init.constant_(block.attn.qkv.bias[: 2 * width], bias)
