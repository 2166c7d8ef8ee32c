"""Linear read-out per patch: batch norm and a 1x1 convolution, as DINOv2 and DINOv3 probe frozen features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from croco_bench.contracts import Features, FeatureSpec, GridHead, Head
from croco_bench.errors import FitError
from croco_bench.heads.dpt import hooks_of

Layers = Literal["last", "four", "auto"] | tuple[int, ...]


@dataclass(frozen=True)
class DenseLinearOptions:
    """Settings of the head.

    Attributes:
        layers: block outputs that are concatenated: "last"; "four", the ends of four quarters of the encoder; their indices,
            negative ones counted from the last; "auto", one block, which a probe on kept tokens chooses among all.
        norm: batch norm with scale and shift before the convolution.
        cls: concatenates the class token after the last norm to the tokens of every position.
        dropout: share of channels that are zeroed in training, whole maps at once.
        upsample: factor by which the output grid is finer than the patch grid.
    """

    layers: Layers = "last"
    norm: bool = True
    cls: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    upsample: PositiveInt = 1


class DenseLinear(GridHead):
    """Tokens of some blocks -> (B, out_channels, H, W): dropout, batch norm, 1x1 convolution, bilinear upsampling.

    DINOv3's head for depth is this one by default, its head for segmentation has dropout of 0.1. DINOv2's head for depth has
    no norm, but the class token, and `upsample` is 4. Initial weights have a standard deviation of 0.01, biases are 0.
    Outputs of a pyramid are resized to the finest grid among the chosen ones.

    Raises:
        FitError: there is no such block, or no class token.
    """

    Options = DenseLinearOptions
    blocks: Tensor

    def __init__(self, spec: FeatureSpec, out_channels: int, options: DenseLinearOptions) -> None:
        super().__init__(spec, out_channels, options)
        if options.cls and not spec.has_cls:
            raise FitError(
                "head.cls=true needs a class or global token, but the backbone has none", "take head.cls=false"
            )
        self._origin = spec, out_channels, options, torch.random.get_rng_state()
        self.image_size, self._finer, self._with_cls = spec.image_size, options.upsample, options.cls
        self.hooks = _blocks(spec, options.layers)
        # In the state dict, so that weights are never used with other blocks.
        self.register_buffer("blocks", torch.tensor(self.hooks))
        width = sum(spec.widths[block] for block in self.hooks) + (spec.widths[-1] if options.cls else 0)
        self.dropout = nn.Dropout2d(options.dropout)
        self.norm = nn.BatchNorm2d(width) if options.norm else nn.Identity()
        self.conv = nn.Conv2d(width, out_channels, 1)
        nn.init.normal_(self.conv.weight, std=0.01)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *others: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *others)
        self.hooks = tuple(self.blocks.tolist())

    def resolved(self) -> dict[str, Any]:
        """The blocks in use."""
        return {"layers": list(self.hooks or ())}

    def candidates(self) -> Sequence[Head]:
        """One head per block for "auto", each as it would be with that block in `layers`; otherwise this head alone."""
        spec, out_channels, options, state = self._origin
        if options.layers != "auto":
            return (self,)
        found = []
        for block in range(len(spec.widths)):
            with torch.random.fork_rng(devices=[]):
                torch.random.set_rng_state(state)
                found.append(DenseLinear(spec, out_channels, replace(options, layers=(block,))))
        return found

    def on_grid(self, features: Features) -> Tensor:
        """See `GridHead.on_grid`."""
        grids = [features.grid_of(block) for block in self.hooks or ()]
        finest = max(grids)
        maps = []
        for block, grid in zip(self.hooks or (), grids, strict=True):
            tokens = features.tokens[block].transpose(1, 2).reshape(len(features.tokens[block]), -1, *grid)
            maps.append(tokens if grid == finest else _resized(tokens, finest))
        if self._with_cls:
            assert features.cls is not None, "a backbone with spec.has_cls returns the token"
            maps.append(features.cls[:, :, None, None].expand(-1, -1, *finest))
        output: Tensor = self.conv(self.norm(self.dropout(torch.cat(maps, dim=1))))
        # Resizing and a convolution of 1x1 commute: resizing outputs costs less than resizing tokens.
        return output if self._finer == 1 else _resized(output, (finest[0] * self._finer, finest[1] * self._finer))


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _blocks(spec: FeatureSpec, layers: Layers) -> tuple[int, ...]:
    """Indices of the chosen block outputs, none negative.

    Raises:
        FitError: there is no such block, none is chosen, or one twice.
    """
    count = len(spec.widths)
    if layers == "four":
        if count < 4:
            raise FitError(f"head.layers=four needs four block outputs, but the backbone has {count}")
        return hooks_of(spec)
    if isinstance(layers, str):
        return (count - 1,)
    if not layers or any(not -count <= block < count for block in layers):
        raise FitError(
            f"head.layers={list(layers)} should name some of the backbone's {count} outputs",
            f"give indices from {-count} to {count - 1}",
        )
    chosen = tuple(block % count for block in layers)
    if len(set(chosen)) < len(chosen):
        raise FitError(f"head.layers={list(layers)} names an output twice", f"the backbone has {count}")
    return chosen
