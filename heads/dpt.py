"""DPT head on four block outputs (Ranftl 2021), in the variant of MultiMAE and CroCo."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from croco_bench.contracts import Features, FeatureSpec, Head
from croco_bench.errors import CheckpointError, FitError, SizeError
from croco_bench.heads.levels import check_levels, coarsest_levels


@dataclass(frozen=True)
class DPTOptions:
    """Settings of the head.

    Attributes:
        hooks: indices of four block outputs (decoder blocks after encoder blocks); None: see `default_hooks`.
        layer_widths: channels of the four reassembled maps, finest first.
        features: channels of the fusion.
    """

    hooks: tuple[int, ...] | None = None
    layer_widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (96, 192, 384, 768)
    features: Annotated[int, Field(ge=2)] = 256


def default_hooks(encoder_depth: int, decoder_depth: int) -> tuple[int, ...]:
    """Four block outputs, evenly spaced backwards from the last.

    Encoder alone: every depth/4-th block, [2, 5, 8, 11] of 12. With a decoder: steps of 3, 4, 8 for 8, 12, 24 decoder
    blocks, as in CroCo, hence [10, 13, 16, 19] for 12 + 8: the first hook is an encoder block before the norm.

    Raises:
        FitError: there are fewer than four blocks.
    """
    blocks = encoder_depth + decoder_depth
    if blocks < 4:
        raise FitError(f"the DPT head needs four block outputs, but the backbone has {blocks} blocks")
    step = max((decoder_depth + 1) // 3 if decoder_depth else encoder_depth // 4, 1)
    step = min(step, (blocks - 1) // 3)
    return tuple(blocks - 1 - step * back for back in (3, 2, 1, 0))


def hooks_of(spec: FeatureSpec) -> tuple[int, ...]:
    """The hooks that fit a backbone: the four coarsest levels of a pyramid, else `default_hooks`.

    Raises:
        FitError: there are fewer than four blocks or levels.
    """
    if spec.is_pyramid:
        return coarsest_levels(spec, "DPT")
    return default_hooks(spec.encoder_depth, len(spec.widths) - spec.encoder_depth)


class _ResidualUnit(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, image: Tensor) -> Tensor:
        inner = self.conv2(F.relu(self.conv1(F.relu(image))))
        return inner + image  # type: ignore[no-any-return]


class _Fusion(nn.Module):
    """Adds a finer map to a coarser one and doubles the size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.skip_unit, self.unit = _ResidualUnit(width), _ResidualUnit(width)
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, coarse: Tensor | None, fine: Tensor) -> Tensor:
        merged = fine if coarse is None else coarse + self.skip_unit(fine)
        # A 1x1 convolution and bilinear resizing commute: projecting first costs a quarter.
        return _double(self.project(self.unit(merged)))


def _double(image: Tensor) -> Tensor:
    return F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=True)


def _resizing(widths: Sequence[int]) -> nn.ModuleList:
    """Four maps of the patch grid -> maps of 4, 2, 1 and 1/2 times its size."""
    return nn.ModuleList(
        [
            nn.ConvTranspose2d(widths[0], widths[0], 4, stride=4),
            nn.ConvTranspose2d(widths[1], widths[1], 2, stride=2),
            nn.Identity(),
            nn.Conv2d(widths[3], widths[3], 3, stride=2, padding=1),
        ]
    )


def _no_resizing() -> nn.ModuleList:
    return nn.ModuleList(nn.Identity() for _ in range(4))


class DPT(Head):
    """Tokens of four blocks -> (B, out_channels, H, W), no activation.

    The four maps are resized to 4, 2, 1 and 1/2 times the patch grid and fused from coarse to fine, up to 8 times the
    grid; the output is resized to the image, by a factor of 2 for patches of 16. The levels of a pyramid have these sizes
    already and are taken as they are (as Ranftl 2021 does with the stages of a ResNet).

    Raises:
        FitError: a side of the patch grid is odd (the coarsest map halves it), a hook doesn't exist, there are fewer
            than four blocks, a width isn't positive, or a level isn't twice as coarse as the one before.
    """

    Options = DPTOptions
    grid_multiple = 2
    hooks: tuple[int, ...]
    before: nn.Module

    def __init__(self, spec: FeatureSpec, out_channels: int, options: DPTOptions) -> None:
        super().__init__(spec, out_channels, options)
        self.hooks = options.hooks or hooks_of(spec)
        self._check(spec)
        self.image_size, width = spec.image_size, options.features
        inputs = [spec.widths[hook] for hook in self.hooks]
        outputs = options.layer_widths
        self.embed = nn.ModuleList(nn.Conv2d(one, two, 1) for one, two in zip(inputs, outputs, strict=True))
        self.resize = _no_resizing() if spec.is_pyramid else _resizing(outputs)
        self.project = nn.ModuleList(nn.Conv2d(one, width, 3, padding=1, bias=False) for one in outputs)
        self.fuse = nn.ModuleList(_Fusion(width) for _ in range(4))
        # The coarsest level has no coarser map to add: this unit is in the released weights but never runs, and parameters
        # without gradients would stall distributed training.
        self.fuse[3].skip_unit.requires_grad_(False)
        self.before = nn.Conv2d(width, width // 2, 3, padding=1)
        self.after = nn.Sequential(
            nn.Conv2d(width // 2, 32, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(32, out_channels, 1)
        )

    def _check(self, spec: FeatureSpec) -> None:
        if len(self.hooks) != 4 or not all(0 <= hook < len(spec.widths) for hook in self.hooks):
            raise FitError(f"head.hooks={list(self.hooks)} should be four numbers from 0 to {len(spec.widths) - 1}")
        if spec.is_pyramid:
            check_levels(spec, self.hooks)
        multiple = max(spec.strides) if spec.is_pyramid else 2 * spec.patch_size
        why = "the coarsest stride" if spec.is_pyramid else "twice the patch size"
        if any(side % multiple for side in spec.image_size):
            raise SizeError(
                f"the DPT head needs an image size that is a multiple of {multiple} ({why}), but "
                f"train.image_size is {'x'.join(map(str, spec.image_size))}",
                spec.image_size,
                multiple,
                up=True,
            )

    def resolved(self) -> dict[str, Any]:
        """The hooks in use."""
        return {"hooks": list(self.hooks)}

    def load_released(self, state: Mapping[str, Tensor]) -> None:
        """Loads the head's weights from the state of a released file; they must be complete.

        Args:
            state: weights under the names of CroCo and MultiMAE, with the prefix `head.dpt.`, `dpt.` or none.

        Raises:
            CheckpointError: a weight is missing, unknown, of another shape, or differs from its alias.
        """
        renamed, own = from_released(state), self.state_dict()
        for name, tensor in own.items():
            if name not in renamed:
                raise CheckpointError(f"the weights of the DPT head are incomplete: nothing corresponds to {name}")
            if renamed[name].shape != tensor.shape:
                raise CheckpointError(
                    f"{name} of the DPT head is {list(renamed[name].shape)} in the file, but {list(tensor.shape)} here",
                    "give the head the file's output width, layer widths and hooks",
                )
        lacking = sorted(set(renamed) - set(own))
        if lacking:
            raise CheckpointError(f"the file's DPT head has {lacking[0]}, which this one has not")
        self.load_state_dict(renamed)

    def tokens_of(self, features: Features, hook: int) -> Tensor:
        """Tokens (B, N, C) of a block, as the head reads them."""
        return features.tokens[hook]

    def fused(self, features: Features) -> Tensor:
        """The fused map (B, features, 8h, 8w) of the four blocks."""
        maps = []
        for hook, embed, resize, project in zip(self.hooks, self.embed, self.resize, self.project, strict=True):
            # A view with channels last in memory, the layout that convolutions need: no copies.
            tokens = self.tokens_of(features, hook)
            image = tokens.view(len(tokens), *features.grid_of(hook), -1).movedim(-1, 1)
            maps.append(project(resize(embed(image))))
        fused: Tensor | None = None
        for level in (3, 2, 1, 0):
            fused = self.fuse[level](fused, maps[level])
        assert fused is not None
        return fused

    def forward(self, features: Features) -> Tensor:
        """See `Head.forward`."""
        # Twice the size for patches of 16; for smaller patches directly the image's size, to save memory.
        full = F.interpolate(
            self.before(self.fused(features)), size=self.image_size, mode="bilinear", align_corners=True
        )
        output: Tensor = self.after(full)
        return output


_RELEASED = (
    (r"act_postprocess\.(\d)\.0\.", r"embed.\1."),
    (r"act_postprocess\.(\d)\.1\.", r"resize.\1."),
    (r"scratch\.layer_rn\.(\d)\.", r"project.\1."),
    (r"scratch\.refinenet(\d)\.resConfUnit1\.", r"fuse.<\1>.skip_unit."),
    (r"scratch\.refinenet(\d)\.resConfUnit2\.", r"fuse.<\1>.unit."),
    (r"scratch\.refinenet(\d)\.out_conv\.", r"fuse.<\1>.project."),
    (r"head\.0\.", "before."),
    (r"head\.2\.", "after.0."),
    (r"head\.4\.", "after.2."),
)


def from_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames weights of CroCo and MultiMAE (prefix `head.dpt.`, `dpt.` or none) to those of `DPT`.

    Their files hold most tensors twice, under two names; both must be equal.

    Raises:
        CheckpointError: an unknown name, or two names of one tensor that differ.
    """
    renamed: dict[str, Tensor] = {}
    for original, tensor in state.items():
        name = _renamed(original)
        if name in renamed and not torch.equal(renamed[name], tensor):
            raise CheckpointError(f"{original} and its alias hold different values", "the file is damaged")
        renamed[name] = tensor
    return renamed


def _renamed(original: str) -> str:
    name = original.removeprefix("head.") if original.startswith("head.dpt.") else original
    name = name.removeprefix("dpt.")
    # Aliases count from 1: act_1_postprocess is act_postprocess.0.
    name = re.sub(r"^act_(\d)_postprocess", lambda match: f"act_postprocess.{int(match[1]) - 1}", name)
    name = re.sub(r"^scratch\.layer(\d)_rn", lambda match: f"scratch.layer_rn.{int(match[1]) - 1}", name)
    for pattern, new in _RELEASED:
        if re.match(pattern, name):
            name = re.sub(pattern, new, name, count=1)
            return re.sub(r"<(\d)>", lambda match: str(int(match[1]) - 1), name)
    raise CheckpointError(
        f"{original} isn't a weight of the DPT head", "expected act_postprocess, scratch and head only"
    )
