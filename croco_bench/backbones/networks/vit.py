"""The plain ViT encoder of all families (Dosovitskiy 2021)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
from torch import Tensor, nn

from croco_bench.backbones.networks.architecture import Architecture, Grid
from croco_bench.backbones.networks.attention import RopeTables, rope_tables, with_prefix
from croco_bench.backbones.networks.blocks import (
    Block,
    initialize,
    initialize_joint_projections,
    layer_norm,
    set_drop_path,
)
from croco_bench.backbones.networks.position_tables import sincos
from croco_bench.contracts import Backbone, Origin
from croco_bench.errors import FitError, SizeError
from croco_bench.types import Size


def grid_of(size: Size, patch_size: int) -> Grid:
    """Patch grid (h, w) of an image size.

    Raises:
        SizeError: the patches don't cover the image exactly; the advice is the nearest size that fits.
    """
    height, width = size
    if height % patch_size or width % patch_size or min(height, width) <= 0:
        what = f"image size {height}x{width} isn't a multiple of the patch size {patch_size}"
        raise SizeError(what, size, patch_size, of_patches=True)
    return height // patch_size, width // patch_size


def check_size(images: Tensor, expected: Size, name: str) -> None:
    """Raises `FitError` unless images (B, 3, H, W) are of the size that the backbone called `name` was loaded for."""
    given = tuple(images.shape[-2:])
    if given != tuple(expected):
        raise FitError(
            f"{name} was loaded for images of {expected[0]}x{expected[1]}, but got {'x'.join(map(str, given))}",
            f"load it with image_size={given}",
        )


class ViT(Backbone):
    """Patch embedding, prefix tokens, positions, blocks, and a final norm if the family has one.

    `prefix` (1, P, C) holds class or global tokens with their positions added. They take part in attention; `encode`
    returns patch tokens only. `positions` (N, C) belongs to `image_size`; None with RoPE.
    """

    prefix: nn.Parameter | None
    positions: Tensor | None

    def __init__(self, architecture: Architecture, image_size: Size, origin: Origin, name: str) -> None:
        super().__init__()
        self.architecture, self.origin, self.name = architecture, origin, name
        self.family = architecture.family
        self.patch_size, self.embed_dim, self.depth = architecture.patch_size, architecture.width, architecture.depth
        self.image_size = image_size
        self.grid = grid_of(image_size, self.patch_size)
        self.mean, self.std = architecture.mean, architecture.std
        self.position_kind = "rotary" if architecture.positions == "rope" else "absolute"
        self.final_norm = "checkpoint" if architecture.final_norm else "identity"
        width = self.embed_dim
        self.patch_embed = nn.Conv2d(3, width, self.patch_size, self.patch_size)
        tokens = architecture.prefix_tokens
        self.has_cls = min(tokens, architecture.class_tokens) > 0
        self.prefix = nn.Parameter(torch.zeros(1, tokens, width)) if tokens else None
        self._add_positions("positions", width)
        self.blocks = nn.ModuleList(self._block() for _ in range(self.depth))
        self.norm: nn.Module = layer_norm(width, architecture.norm_eps) if architecture.final_norm else nn.Identity()

    def _block(self) -> Block:
        plan = self.architecture
        return Block(plan.width, plan.heads, plan.hidden, plan.block)

    def _add_positions(self, name: str, width: int) -> None:
        """Registers a table for the current grid: a parameter where learned, a buffer where fixed, None with RoPE."""
        kind = self.architecture.positions
        if kind == "rope":
            self.register_buffer(name, None)
        elif kind == "fixed":
            self.register_buffer(name, sincos(width, self.grid))
        else:
            setattr(self, name, nn.Parameter(torch.zeros(self.grid[0] * self.grid[1], width)))

    def initialize(self) -> None:
        """Draws random weights as the family's authors do, from torch's global generator."""
        self.apply(initialize)
        if self.family == "multimae":
            initialize_joint_projections(self)
        self.final_norm = "initialised" if self.architecture.final_norm else "identity"
        for tokens in (self.prefix, self.positions if self.architecture.positions == "learned" else None):
            if tokens is not None:
                nn.init.normal_(tokens, std=0.02)

    @property
    def layers(self) -> int:
        """Patch embedding and blocks."""
        return self.depth + 1

    def layer_of(self, parameter: str) -> int:
        """See `Backbone.layer_of`; the final norm belongs to the last block, as in CroCo's own rule."""
        part, _, rest = parameter.partition(".")
        if part == "blocks":
            return int(rest.partition(".")[0]) + 1
        return self.depth if part == "norm" else 0

    def units(self) -> Sequence[nn.Module]:
        """The encoder's blocks."""
        return tuple(self.blocks)

    def set_drop_path(self, rate: float) -> None:
        """Stochastic depth over the encoder blocks."""
        set_drop_path(self.blocks, rate)

    def metadata(self) -> dict[str, str]:
        """See `Backbone.metadata`."""
        plan = replace(self.architecture, grid=self.grid)
        return {
            "architecture": json.dumps(plan.to_plain()),
            "image_size": json.dumps(self.image_size),
            "origin": json.dumps(asdict(self.origin)),
        }

    def encode(self, images: Tensor) -> list[Tensor]:
        """See `Backbone.encode`."""
        return self.encode_with_cls(images)[0]

    def encode_with_cls(self, images: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """See `Backbone.encode_with_cls`; of several class tokens, their mean."""
        outputs = self.run_blocks(self.embed(images), self.rope(self.embed_dim // self.architecture.heads))
        cls = outputs[-1][:, : self.architecture.class_tokens].mean(dim=1) if self.has_cls else None
        return [tokens[:, self.architecture.prefix_tokens :] for tokens in outputs], cls

    def embed(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> patch tokens with positions (B, N, C), no prefix.

        Raises:
            FitError: the images aren't of the size that this backbone was loaded for.
        """
        check_size(images, self.image_size, self.name)
        tokens: Tensor = self.patch_embed(images).flatten(2).transpose(1, 2)
        return tokens if self.positions is None else tokens + self.positions

    def rope(self, head_dim: int) -> RopeTables | None:
        """Rotary tables of all patches for heads of `head_dim` channels; None with absolute positions."""
        if self.architecture.positions != "rope":
            return None
        plan, device = self.architecture, self.patch_embed.weight.device
        return rope_tables(self.grid, head_dim, plan.rope_base, device, plan.rotary)

    def encode_visible(self, images: Tensor, visible: Tensor) -> Tensor:
        """The encoder on the visible patches only, for masked pre-training.

        Args:
            images: normalised, (B, 3, H, W).
            visible: indices (B, K) into the row-major grid: the patches that each image shows.

        Returns:
            Output of the last block and the final norm if there is one, (B, P + K, C): prefix tokens, then patches.
        """
        return self.run_blocks(*self._shown(self.embed(images), visible))[-1]

    def _shown(self, tokens: Tensor, visible: Tensor) -> tuple[Tensor, RopeTables | None]:
        """The visible ones (B, K, C) of all patch tokens (B, N, C), and their rotary tables (B, 1, K, d)."""
        tokens = tokens.gather(1, visible[:, :, None].expand(-1, -1, tokens.shape[-1]))
        rope = self.rope(self.embed_dim // self.architecture.heads)
        return tokens, None if rope is None else (rope[0][visible][:, None], rope[1][visible][:, None])

    def encode_visible_beside(self, view1: Tensor, visible: Tensor, view2: Tensor) -> Tensor:
        """The encoder on the visible patches of view 1 and on all of view 2, whose tokens don't attend to each other's.

        One pass over both equals two, with half of the kernels. For networks without prefix tokens.

        Args:
            view1: normalised, (B, 3, H, W).
            visible: as for `encode_visible`, (B, K).
            view2: as `view1`.

        Returns:
            Output of the last block and the final norm if there is one, (B, K + N, C).
        """
        first, second = self.embed(torch.cat([view1, view2])).chunk(2)
        shown, rope = self._shown(first, visible)
        parts, whole = (shown.shape[1], second.shape[1]), self.rope(self.embed_dim // self.architecture.heads)
        if rope is not None and whole is not None:
            batch = len(shown)
            rope = (
                torch.cat([rope[0], whole[0].expand(batch, 1, -1, -1)], dim=-2),
                torch.cat([rope[1], whole[1].expand(batch, 1, -1, -1)], dim=-2),
            )
        tokens = torch.cat([shown, second], dim=1)
        for block in self.blocks:
            tokens = block(tokens, rope, parts)
        output: Tensor = self.norm(tokens)
        return output

    def run_blocks(self, tokens: Tensor, rope: RopeTables | None) -> list[Tensor]:
        """Patch tokens (B, N, C) -> output of every block (B, P + N, C), prefix first; the last one is normed.

        N may be smaller than the number of patches of the grid.
        """
        if self.prefix is not None:
            tokens = torch.cat([self.prefix.expand(len(tokens), -1, -1), tokens], dim=1)
            rope = None if rope is None else with_prefix(rope, self.prefix.shape[1])
        outputs = []
        for block in self.blocks:
            tokens = block(tokens, rope)
            outputs.append(tokens)
        outputs[-1] = self.norm(outputs[-1])
        return outputs
