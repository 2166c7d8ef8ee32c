"""MultiMAE's segmentation head: ConvNeXt blocks on a map finer than the patch grid (Bachmann 2022, Liu 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import NonNegativeInt, PositiveInt
from timm.models.convnext import ConvNeXtBlock
from torch import Tensor, nn

from croco_bench.contracts import Features, FeatureSpec, Head, resize_maps
from croco_bench.errors import FitError


@dataclass(frozen=True)
class ConvNeXtOptions:
    """Settings of the head; the defaults are MultiMAE's.

    Attributes:
        width: channels of the map.
        blocks: number of blocks.
        preds_per_patch: positions of the map per patch, a square number.
    """

    width: PositiveInt = 384
    blocks: NonNegativeInt = 4
    preds_per_patch: int = 16


class ConvNeXt(Head):
    """Tokens of the last block -> (B, out_channels, H, W), no activation.

    Each token becomes a square of `preds_per_patch` positions, row-major; then blocks of a depth-wise 7x7 convolution,
    LayerNorm and a four times wider GELU MLP with a residual, without layer scale; a linear classifier; bilinear
    resizing to the image (align_corners=False). Any patch grid fits. Linear layers start Xavier-uniform: MultiMAE's
    network draws them so, whatever the head drew before.

    Raises:
        FitError: `preds_per_patch` isn't a square number.
    """

    Options = ConvNeXtOptions

    def __init__(self, spec: FeatureSpec, out_channels: int, options: ConvNeXtOptions) -> None:
        super().__init__(spec, out_channels, options)
        self.image_size, self.side = spec.image_size, math.isqrt(max(options.preds_per_patch, 0))
        if not self.side or self.side**2 != options.preds_per_patch:
            raise FitError(
                f"head.preds_per_patch={options.preds_per_patch} should be a square number: 1, 4, 9, 16, ..."
            )
        self.project = nn.Linear(spec.widths[-1], options.width * options.preds_per_patch)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(options.width, ls_init_value=None) for _ in range(options.blocks)))
        self.classify = nn.Conv2d(options.width, out_channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, features: Features) -> Tensor:
        """See `Head.forward`."""
        tokens: Tensor = self.project(features.tokens[-1])
        squares = tokens.reshape(len(tokens), *features.grid, self.side, self.side, -1)
        image = squares.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        output = self.classify(self.blocks(image))
        return resize_maps(output, self.image_size)
