"""DPT head of evaluations of frozen features, after Pixio (Yang 2025): wider maps, predictions at eight times the grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from croco_bench.contracts import Features, FeatureSpec, GridHead, Head, resize_maps
from croco_bench.heads.dpt import DPT, DPTOptions


@dataclass(frozen=True)
class DPTProbeOptions(DPTOptions):
    """Settings of the head: those of the head dpt, with Pixio's widths.

    Attributes:
        layer_widths: channels of the four reassembled maps, finest first.
        norm: standardises each token of all blocks but the last encoder and decoder block, which have their own norm.
    """

    layer_widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (256, 512, 1024, 1024)
    norm: bool = True


class DPTProbe(DPT, GridHead):
    """Tokens of four blocks -> (B, out_channels, H, W), no activation; the fusion is that of `DPT`.

    A 3x3 and a 1x1 convolution predict at eight times the grid, and the prediction is resized; `DPT` has 32 channels at full
    size instead, too few for 150 classes. Tokens are normed, since frozen blocks differ in scale.

    Raises:
        FitError: as `DPT`.
    """

    Options = DPTProbeOptions

    def __init__(self, spec: FeatureSpec, out_channels: int, options: DPTProbeOptions) -> None:
        super().__init__(spec, out_channels, options)
        self.normed = {spec.encoder_depth - 1, len(spec.widths) - 1} if options.norm else set(range(len(spec.widths)))
        width = options.features
        self.before = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(width, out_channels, 1)
        )
        self.after = nn.Sequential()

    def on_grid(self, features: Features) -> Tensor:
        """See `GridHead.on_grid`."""
        output: Tensor = self.before(self.fused(features))
        return output

    def resized(self, maps: Tensor) -> Tensor:
        """See `GridHead.resized`; corners aligned, as in Pixio."""
        return resize_maps(maps, self.image_size, align_corners=True)

    def tokens_of(self, features: Features, hook: int) -> Tensor:
        """See `DPT.tokens_of`."""
        tokens = features.tokens[hook]
        return tokens if hook in self.normed else F.layer_norm(tokens, tokens.shape[-1:])

    def load_released(self, state: Mapping[str, Tensor]) -> None:
        """See `Head.load_released`; no weights of this head were released."""
        Head.load_released(self, state)
