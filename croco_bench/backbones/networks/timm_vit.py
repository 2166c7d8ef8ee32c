"""ViTs of timm by name, with timm's own code."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import timm
from torch import Tensor, nn

from croco_bench.backbones.networks.blocks import drop_path
from croco_bench.backbones.networks.vit import check_size, grid_of
from croco_bench.contracts import Backbone, Origin
from croco_bench.errors import CheckpointError, FitError, hub_reason
from croco_bench.types import Size


class TimmViT(Backbone):
    """A timm ViT with everything timm gives it: class token, registers, layer scale, RoPE.

    timm resamples the positions to the image size, with antialiasing.
    """

    family = "vit"

    def __init__(self, architecture: str, image_size: Size, origin: Origin, name: str, *, pretrained: bool) -> None:
        super().__init__()
        self.name, self.origin, self.image_size, self.timm_name = name, origin, image_size, architecture
        # timm's networks share attribute names by convention only, hence Any.
        self.model: Any = _create(architecture, image_size, pretrained)
        blocks = getattr(self.model, "blocks", None)
        patch = getattr(getattr(self.model, "patch_embed", None), "patch_size", None)
        if not isinstance(blocks, (nn.ModuleList, nn.Sequential)) or patch is None or patch[0] != patch[1]:
            raise FitError(
                f"timm:{architecture} isn't a plain ViT with square patches",
                "give one such as timm:vit_base_patch16_224",
            )
        self.patch_size, self.embed_dim, self.depth = int(patch[0]), int(self.model.embed_dim), len(blocks)
        grid_of(image_size, self.patch_size)
        self.has_cls = getattr(self.model, "cls_token", None) is not None
        config: dict[str, Any] = self.model.pretrained_cfg
        self.mean, self.std = tuple(config["mean"]), tuple(config["std"])
        if isinstance(self._norm, nn.Identity):
            self.final_norm = "identity"
        else:
            self.final_norm = "checkpoint" if pretrained else "initialised"

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
        blocks = self.model.forward_intermediates(
            images, norm=False, output_fmt="NLC", intermediates_only=True, return_prefix_tokens=self.has_cls
        )
        if not self.has_cls:
            return [*blocks[:-1], self._norm(blocks[-1])], None
        tokens, prefix = [block[0] for block in blocks], blocks[-1][1]
        return [*tokens[:-1], self._norm(tokens[-1])], self._norm(prefix[:, :1])[:, 0]

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
            "timm": self.timm_name,
            "image_size": json.dumps(self.image_size),
            "origin": json.dumps(asdict(self.origin)),
        }


def _create(architecture: str, image_size: Size, pretrained: bool) -> Any:
    base = architecture.partition(".")[0]
    if base not in timm.list_models():
        near = timm.list_models(f"*{base[:12]}*")[:3] if base else []
        hint = f"timm has {', '.join(near)}" if near else "timm.list_models('vit*') names them all"
        raise CheckpointError(f"timm has no model {architecture!r}", f"{hint}")
    try:
        return timm.create_model(architecture, pretrained=pretrained, img_size=image_size, num_classes=0)
    except TypeError as error:
        raise FitError(
            f"timm:{architecture} takes no image size, so it isn't a ViT", "give one such as vit_base_patch16_224"
        ) from error
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        raise CheckpointError(f"timm:{architecture} can't be loaded: {hub_reason(error)}") from error
