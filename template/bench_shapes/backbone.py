"""A backbone: what `croco_bench.contracts.Backbone` needs, and no more."""

from __future__ import annotations

from torch import Tensor, nn

from croco_bench.contracts import Backbone
from croco_bench.types import Size


class Mixer(Backbone):
    """Patch embedding and four residual MLPs."""

    patch_size, embed_dim, depth = 8, 48, 4

    def __init__(self, image_size: Size) -> None:
        super().__init__()
        self.image_size = image_size
        self.embed = nn.Conv2d(3, self.embed_dim, self.patch_size, self.patch_size)
        self.blocks = nn.ModuleList(self._block() for _ in range(self.depth))

    def _block(self) -> nn.Module:
        width = self.embed_dim
        return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def encode(self, images: Tensor) -> list[Tensor]:
        """See `Backbone.encode`."""
        tokens, outputs = self.embed(images).flatten(2).mT, []
        for block in self.blocks:
            tokens = tokens + block(tokens)
            outputs.append(tokens)
        return outputs

    @property
    def layers(self) -> int:
        """Embedding and blocks, so that recipes may give each its own learning rate."""
        return self.depth + 1

    def layer_of(self, parameter: str) -> int:
        """See `Backbone.layer_of`."""
        part, _, rest = parameter.partition(".")
        return int(rest.partition(".")[0]) + 1 if part == "blocks" else 0
