"""A backbone of one's own, imported by name in tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from croco_bench.contracts import Backbone
from croco_bench.types import Size


class Mixer(Backbone):
    """Patch embedding and four residual MLPs."""

    patch_size, embed_dim, depth = 16, 32, 4

    def __init__(self, image_size: Size = (64, 64)) -> None:
        super().__init__()
        self.image_size = image_size
        self.embed = nn.Conv2d(3, 32, 16, 16)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 32), nn.GELU()) for _ in range(4))

    def encode(self, images: Tensor) -> list[Tensor]:
        tokens = self.embed(images).flatten(2).mT
        outputs = []
        for block in self.blocks:
            tokens = tokens + block(tokens)
            outputs.append(tokens)
        return outputs


class Pyramid(Backbone):
    """Four strided convolutions."""

    patch_size, embed_dim, depth = 32, 24, 4
    widths, strides = (8, 12, 16, 24), (4, 8, 16, 32)

    def __init__(self, image_size: Size = (64, 64)) -> None:
        super().__init__()
        self.image_size = image_size
        steps = zip((3, 8, 12, 16), self.widths, (4, 2, 2, 2), strict=True)
        self.stages = nn.ModuleList(nn.Conv2d(one, two, step, step) for one, two, step in steps)

    def encode(self, images: Tensor) -> list[Tensor]:
        outputs = []
        for stage in self.stages:
            images = stage(images)
            outputs.append(images.flatten(2).mT)
        return outputs


class Careless(Mixer):
    """Has noise in evaluation, a layer without use, and a weight outside the state."""

    def __init__(self, image_size: Size = (64, 64)) -> None:
        super().__init__(image_size)
        self.unused, self.scale = nn.Linear(3, 3), 1 + torch.rand(1)

    def encode(self, images: Tensor) -> list[Tensor]:
        return [output * self.scale + torch.rand(1) for output in super().encode(images)]


class Misstated(Mixer):
    """Announces other widths than it gives."""

    embed_dim = 48


class Unfinished(Mixer):
    """Sets no image size."""

    def __init__(self) -> None:
        super().__init__()
        del self.image_size


class Misplaced(Mixer):
    """Has another kind of positions than there are."""

    position_kind = "learned"  # type: ignore[assignment]


def fails() -> Backbone:
    """Fails when it is called."""
    raise RuntimeError("no such luck")


not_callable = 3
