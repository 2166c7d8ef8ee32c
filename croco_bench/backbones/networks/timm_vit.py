"""ViTs of timm by name, with timm's own code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from croco_bench.backbones.networks.architecture import TimmNetwork
from croco_bench.backbones.networks.blocks import drop_path
from croco_bench.backbones.networks.timm_models import make, resolved, token_layout
from croco_bench.backbones.networks.vit import check_size, grid_of
from croco_bench.contracts import Backbone, Origin
from croco_bench.types import Size


class TimmViT(Backbone):
    """A timm ViT with everything timm gives it: class token, registers, layer scale, RoPE.

    timm resamples the positions to the image size, with antialiasing.
    """

    family = "vit"

    def __init__(
        self, network: TimmNetwork, image_size: Size, origin: Origin, name: str, *, pretrained: bool = False
    ) -> None:
        super().__init__()
        self.name, self.origin, self.image_size, self.network = name, origin, image_size, network
        layout = token_layout(network)
        self.patch_size, self.embed_dim, self.depth = layout.step, layout.width, layout.depth
        grid_of(image_size, self.patch_size)
        # timm's networks share attribute names by convention only, hence Any.
        self.model: Any = make(network, image_size, pretrained=pretrained)
        self.network = resolved(network)
        self._without_pooling()
        self._options = layout.options
        self.has_prefix = layout.options.get("return_prefix_tokens", False)
        self.has_cls = getattr(self.model, "cls_token", None) is not None
        config: dict[str, Any] = self.model.pretrained_cfg
        self.mean, self.std = network.mean or tuple(config["mean"]), network.std or tuple(config["std"])
        self._set_positions(network.positions == "learned")
        self.final_norm = "identity" if isinstance(self._norm, nn.Identity) else "initialised"
        if pretrained:
            self.mark_filled()

    def mark_filled(self) -> None:
        """Says that the weights come from a file."""
        if self.final_norm == "initialised":
            self.final_norm = "checkpoint"

    def _without_pooling(self) -> None:
        """Takes out layers that only serve to make one vector of an image."""
        if getattr(self.model, "attn_pool", None) is not None:
            self.model.attn_pool = None
        if hasattr(self.model, "neck"):
            self.model.neck = nn.Identity()

    def _set_positions(self, trained: bool) -> None:
        """Whether fine-tuning trains the table of absolute positions; and which kind of positions there is."""
        table = getattr(self.model, "pos_embed", None)
        if isinstance(table, nn.Parameter):
            table.requires_grad_(trained)
        if table is not None or getattr(self.model, "rope", None) is not None:
            self.position_kind = "rotary" if table is None else "absolute"

    @property
    def _norm(self) -> nn.Module:
        """The final norm over tokens; `fc_norm` for models that apply the norm after pooling."""
        norm = getattr(self.model, "norm", nn.Identity())
        fallback = getattr(self.model, "fc_norm", nn.Identity())
        return fallback if isinstance(norm, nn.Identity) else norm

    def encode(self, images: Tensor) -> list[Tensor]:
        """See `Backbone.encode`."""
        return self.encode_with_cls(images)[0]

    def encode_with_cls(self, images: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """See `Backbone.encode_with_cls`; timm's prefix is the class token, if any, then registers."""
        check_size(images, self.image_size, self.name)
        blocks = self.model.forward_intermediates(images, norm=False, intermediates_only=True, **self._options)
        grids = [block[0] for block in blocks] if self.has_prefix else blocks
        tokens = [grid.flatten(2).transpose(1, 2) for grid in grids]  # (B, C, h, w) -> (B, N, C)
        cls = self._norm(blocks[-1][1][:, :1])[:, 0] if self.has_cls else None
        return [*tokens[:-1], self._norm(tokens[-1])], cls

    @property
    def layers(self) -> int:
        """Patch embedding and blocks."""
        return self.depth + 1

    def layer_of(self, parameter: str) -> int:
        """See `Backbone.layer_of`."""
        parts = parameter.removeprefix("model.").split(".")
        if parts[0] == "blocks":
            return int(parts[1]) + 1
        return self.depth if parts[0] in ("norm", "fc_norm") else 0

    def units(self) -> Sequence[nn.Module]:
        """timm's blocks."""
        return tuple(self.model.blocks)

    def set_drop_path(self, rate: float) -> None:
        """Stochastic depth with timm's rates per block."""
        for index, block in enumerate(self.model.blocks):
            share = rate * index / max(self.depth - 1, 1)
            for name in ("drop_path", "drop_path1", "drop_path2"):
                if hasattr(block, name):
                    setattr(block, name, drop_path(share, block))

    def metadata(self) -> dict[str, str]:
        """See `Backbone.metadata`."""
        return {
            "timm": self.network.name,
            "timm_arguments": json.dumps(dict(self.network.arguments)),
            "timm_statistics": json.dumps([self.mean, self.std]),
            "image_size": json.dumps(self.image_size),
            "origin": json.dumps(asdict(self.origin)),
        }
