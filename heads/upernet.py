"""UPerNet on four block outputs of a ViT (Xiao 2018), as in mmsegmentation's configurations for MAE and BEiT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from croco_bench.contracts import Features, FeatureSpec, Head, resize_maps
from croco_bench.errors import FitError, SizeError
from croco_bench.heads.levels import check_levels, coarsest_levels


@dataclass(frozen=True)
class UPerNetOptions:
    """Settings of the head; the defaults are mmsegmentation's for MAE ViT-B.

    Attributes:
        channels: channels of pooling, laterals and fusion.
        pool_scales: sides of the grids of pyramid pooling.
        aux_channels: channels of the auxiliary classifier.
        aux_weight: weight of the auxiliary loss; 0: no auxiliary classifier.
        dropout: probability of dropping a channel before each classifier.
        hooks: indices of four block outputs, finest level first (decoder blocks after encoder blocks); empty: see
            `default_hooks`.
    """

    channels: PositiveInt = 768
    pool_scales: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 2, 3, 6)
    aux_channels: PositiveInt = 256
    aux_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    hooks: tuple[int, ...] = ()


def default_hooks(blocks: int) -> tuple[int, ...]:
    """The outputs after a third, a half and two thirds of the blocks, and the last.

    [3, 5, 7, 11] of 12 and [7, 11, 15, 23] of 24, as in BEiT and mmsegmentation. If the depth isn't divisible by three,
    the first is rounded down and the third up: [0, 1, 2, 3] of 4. Decoder blocks count like encoder blocks.

    Raises:
        FitError: there are fewer than four blocks.
    """
    if blocks < 4:
        raise FitError(f"the UPerNet head needs four block outputs, but the backbone has {blocks} blocks")
    return blocks // 3 - 1, blocks // 2 - 1, -(-2 * blocks // 3) - 1, blocks - 1


def hooks_of(spec: FeatureSpec) -> tuple[int, ...]:
    """The hooks that fit a backbone: the four coarsest levels of a pyramid, else `default_hooks`.

    Raises:
        FitError: there are fewer than four blocks or levels.
    """
    return coarsest_levels(spec, "UPerNet") if spec.is_pyramid else default_hooks(len(spec.widths))


class _ConvNormReLU(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _classifier(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 1)
    nn.init.normal_(conv.weight, std=0.01)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return nn.Sequential(nn.Dropout2d(dropout), conv)


def _resize(image: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(image, size=tuple(size), mode="bilinear", align_corners=False)


class _Pyramid(nn.ModuleList):
    """Four maps of the patch grid -> maps of 4, 2, 1 and 1/2 times its size, channels kept."""

    def __init__(self, widths: Sequence[int]) -> None:
        first, second, _, _ = widths
        quadruple = nn.Sequential(
            nn.ConvTranspose2d(first, first, 2, stride=2),
            nn.BatchNorm2d(first),
            nn.GELU(),
            nn.ConvTranspose2d(first, first, 2, stride=2),
        )
        super().__init__([quadruple, nn.ConvTranspose2d(second, second, 2, stride=2), nn.Identity(), nn.MaxPool2d(2)])


class _Pooling(nn.Module):
    """Pyramid pooling of PSPNet: the coarsest map, concatenated with its averages over coarse grids."""

    def __init__(self, width: int, channels: int, scales: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), _ConvNormReLU(width, channels, 1)) for scale in scales
        )
        self.merge = _ConvNormReLU(width + len(scales) * channels, channels, 3)

    def forward(self, image: Tensor) -> Tensor:
        pooled = [_resize(branch(image), image.shape[-2:]) for branch in self.branches]
        merged: Tensor = self.merge(torch.cat([image, *pooled], dim=1))
        return merged


class UPerNet(Head):
    """Tokens of four blocks -> (B, out_channels, H, W), no activation.

    Maps of 4, 2, 1 and 1/2 times the patch grid (the levels of a pyramid are taken as they are, as in the paper); pyramid
    pooling on the coarsest one; a top-down path with bilinear upsampling; all four maps are concatenated at the size of the
    finest one, classified there and resized to the image (align_corners=False throughout). With odd patch grids the
    coarsest map is rounded down. `auxiliary` is a small classifier on the third hook, at its own size.

    Block outputs are not normalised, except that of the last block by the backbone's final norm, if there is one
    (mmsegmentation has none). Norms are `BatchNorm2d`; with several GPUs the engine converts them to `SyncBatchNorm`, as
    in mmsegmentation.

    Raises:
        FitError: a side of the patch grid is 1 (the coarsest map halves it), a hook doesn't exist, there are fewer than
            four blocks, a level isn't twice as coarse as the one before, or a setting is out of range. From `forward` in
            training: a norm gets one value per channel, as with one image averaged to 1x1. torch and mmsegmentation
            refuse this too.
    """

    Options = UPerNetOptions
    hooks: tuple[int, ...]

    def __init__(self, spec: FeatureSpec, out_channels: int, options: UPerNetOptions) -> None:
        super().__init__(spec, out_channels, options)
        self.hooks = options.hooks or hooks_of(spec)
        self._check(spec)
        self.image_size, self.aux_weight = spec.image_size, options.aux_weight
        widths, channels = [spec.widths[hook] for hook in self.hooks], options.channels
        self.neck = nn.ModuleList(nn.Identity() for _ in widths) if spec.is_pyramid else _Pyramid(widths)
        self.pooling = _Pooling(widths[-1], channels, options.pool_scales)
        self.laterals = nn.ModuleList(_ConvNormReLU(width, channels, 1) for width in widths[:-1])
        self.smooth = nn.ModuleList(_ConvNormReLU(channels, channels, 3) for _ in widths[:-1])
        self.fuse = _ConvNormReLU(len(widths) * channels, channels, 3)
        self.classify = _classifier(channels, out_channels, options.dropout)
        self.aux = (
            nn.Sequential(
                _ConvNormReLU(widths[2], options.aux_channels, 3),
                _classifier(options.aux_channels, out_channels, options.dropout),
            )
            if options.aux_weight
            else None
        )
        grid = spec.grid_of(self.hooks[-1]) if spec.is_pyramid else (spec.grid[0] // 2, spec.grid[1] // 2)
        self.fewest_values = min(grid[0] * grid[1], min(options.pool_scales) ** 2)

    def _check(self, spec: FeatureSpec) -> None:
        if len(self.hooks) != 4 or not all(0 <= hook < len(spec.widths) for hook in self.hooks):
            raise FitError(f"head.hooks={list(self.hooks)} should be four numbers from 0 to {len(spec.widths) - 1}")
        if spec.is_pyramid:
            check_levels(spec, self.hooks)
        elif min(spec.grid) < 2:
            height, width = (max(side, 2 * spec.patch_size) for side in spec.image_size)
            raise SizeError(
                f"the UPerNet head needs at least two patches of {spec.patch_size} along each side, but "
                f"train.image_size is {'x'.join(map(str, spec.image_size))}",
                (height, width),
                1,
                up=True,
            )

    def resolved(self) -> dict[str, Any]:
        """The hooks in use."""
        return {"hooks": list(self.hooks)}

    def forward(self, features: Features) -> Tensor:
        """See `Head.forward`."""
        self._check_batch(len(features.tokens[self.hooks[0]]))
        maps = [scale(self._map(features, level)) for level, scale in enumerate(self.neck)]
        path = self.pooling(maps[-1])
        levels = [path]
        for level in (2, 1, 0):
            path = self.laterals[level](maps[level]) + _resize(path, maps[level].shape[-2:])
            levels.insert(0, self.smooth[level](path))
        fused = self.fuse(torch.cat([_resize(image, maps[0].shape[-2:]) for image in levels], dim=1))
        return resize_maps(self.classify(fused), self.image_size)

    def _map(self, features: Features, level: int) -> Tensor:
        """Tokens of one hook as a map (B, C, h, w)."""
        tokens = features.tokens[self.hooks[level]]
        return tokens.transpose(1, 2).reshape(len(tokens), -1, *features.grid_of(self.hooks[level]))

    def _check_batch(self, images: int) -> None:
        synchronised = isinstance(self.fuse[1], nn.SyncBatchNorm)
        if self.training and not synchronised and images * self.fewest_values == 1:
            raise FitError(
                "the UPerNet head can't train on one image at a time, because its norms average over the batch",
                "raise train.batch_size, or lower train.accumulate, until a process gets two images",
            )

    def auxiliary(self, features: Features) -> Sequence[tuple[float, Tensor]]:
        """See `Head.auxiliary`."""
        if self.aux is None:
            return ()
        return ((self.aux_weight, resize_maps(self.aux(self._map(features, 2)), self.image_size)),)
