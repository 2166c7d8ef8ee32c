"""The plain ViT encoder that all families share."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import torch
from torch import Tensor, nn

from croco_bench.backbones.architecture import Architecture, Grid
from croco_bench.backbones.attention import Rotation, rotation
from croco_bench.backbones.blocks import Block, initialize, layer_norm, set_drop_path
from croco_bench.backbones.position_tables import sincos
from croco_bench.contracts import Backbone, Origin
from croco_bench.errors import FitError
from croco_bench.types import Size


def grid_of(size: Size, patch_size: int) -> Grid:
    """Patch grid (h, w) of an image size.

    Raises:
        FitError: the patches don't cover the image exactly; the message has the next size that fits.
    """
    height, width = size
    if height % patch_size or width % patch_size or min(height, width) <= 0:
        fits = tuple(max(round(side / patch_size), 1) * patch_size for side in size)
        raise FitError(
            f"image size {height}x{width} isn't a multiple of the patch size {patch_size}",
            f"the nearest that fits is {fits[0]}x{fits[1]}",
        )
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
    """Patch embedding, prefix tokens, positions, blocks and (where the family has one) a final norm.

    `prefix` (1, P, C) are class or global tokens, their position already added: they take part in attention and are
    left out of what `encode` returns. `positions` (N, C) is for `image_size` only.
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
        self.final_norm = "checkpoint" if architecture.final_norm else "identity"
        width = self.embed_dim
        self.patch_embed = nn.Conv2d(3, width, self.patch_size, self.patch_size)
        tokens = architecture.prefix_tokens
        self.has_cls = tokens > 0
        self.prefix = nn.Parameter(torch.zeros(1, tokens, width)) if tokens else None
        self._add_positions("positions", width)
        self.blocks = nn.ModuleList(Block(width, architecture.heads, architecture.hidden) for _ in range(self.depth))
        self.norm: nn.Module = layer_norm(width) if architecture.final_norm else nn.Identity()

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
        """Random weights, as MAE and CroCo begin; draws from torch's global generator."""
        self.apply(initialize)
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
        """See `Backbone.encode_with_cls`; the first of the prefix tokens is the class token."""
        outputs = self.run_blocks(self.embed(images), self.turn(self.embed_dim // self.architecture.heads))
        cls = outputs[-1][:, 0] if self.has_cls else None
        return [tokens[:, self.architecture.prefix_tokens :] for tokens in outputs], cls

    def embed(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> patch tokens with positions (B, N, C), no prefix.

        Raises:
            FitError: the images aren't of the size that this backbone was loaded for.
        """
        check_size(images, self.image_size, self.name)
        tokens: Tensor = self.patch_embed(images).flatten(2).transpose(1, 2)
        return tokens if self.positions is None else tokens + self.positions

    def turn(self, head_dim: int) -> Rotation | None:
        """Rotary tables of the whole grid for heads of this width, or None with absolute positions."""
        if self.architecture.positions != "rope":
            return None
        return rotation(self.grid, head_dim, self.architecture.rope_base, self.patch_embed.weight.device)

    def encode_visible(self, images: Tensor, visible: Tensor) -> Tensor:
        """What masked pre-training runs: the encoder on some patches only.

        Args:
            images: normalised, (B, 3, H, W).
            visible: which patches each image shows, indices (B, K) into the row-major grid, equally many per image.

        Returns:
            The last block's output, normed if there is a norm: the P prefix tokens, then these patches, (B, P + K, C).
        """
        tokens = self.embed(images)
        tokens = tokens.gather(1, visible[:, :, None].expand(-1, -1, tokens.shape[-1]))
        turn = self.turn(self.embed_dim // self.architecture.heads)
        if turn is not None:
            turn = turn[0][visible][:, None], turn[1][visible][:, None]  # (B, 1, K, d)
        return self.run_blocks(tokens, turn)[-1]

    def run_blocks(self, tokens: Tensor, turn: Rotation | None) -> list[Tensor]:
        """Patch tokens (B, N, C) -> every block's output (B, P + N, C), prefix first, the last one normed.

        N may be less than the grid's.
        """
        if self.prefix is not None:
            tokens = torch.cat([self.prefix.expand(len(tokens), -1, -1), tokens], dim=1)
        outputs = []
        for block in self.blocks:
            tokens = block(tokens, turn)
            outputs.append(tokens)
        outputs[-1] = self.norm(outputs[-1])
        return outputs
