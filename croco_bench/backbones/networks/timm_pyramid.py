"""Hierarchical networks of timm (ResNet, ConvNeXt, Swin, Hiera, ...) by name, with timm's own code."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn

from croco_bench.backbones.networks.architecture import TimmNetwork
from croco_bench.backbones.networks.blocks import drop_path
from croco_bench.backbones.networks.timm_models import make
from croco_bench.backbones.networks.timm_vit import TimmViT
from croco_bench.backbones.networks.vit import check_size
from croco_bench.contracts import Backbone, Origin
from croco_bench.errors import FitError, SizeError
from croco_bench.types import Size

# Attributes of timm's blocks that hold a layer of stochastic depth.
_DROPS = ("drop_path", "drop_path1", "drop_path2")
_FINEST = 4  # the stem's map at half the size is left out, as in FPN, UPerNet and DPT


def timm_backbone(
    network: TimmNetwork, image_size: Size, origin: Origin, name: str, *, pretrained: bool = False
) -> TimmViT | TimmPyramid:
    """A network of timm: a plain ViT, or a pyramid.

    Raises:
        CheckpointError: timm has no such model, or its weights can't be fetched.
        FitError: the network is neither, or doesn't fit the image size.
    """
    kind = TimmPyramid if is_pyramid(network.name) else TimmViT
    return kind(network, image_size, origin, name, pretrained=pretrained)


def is_pyramid(architecture: str) -> bool:
    """Whether the outputs of a timm model differ in resolution, by timm's own description of it."""
    if not timm.is_model(architecture):
        return False
    with torch.device("meta"), warnings.catch_warnings(action="ignore"):  # shapes without values
        try:
            info = timm.create_model(architecture, pretrained=False).feature_info
        except (AttributeError, RuntimeError, NotImplementedError):
            return False
    strides = sorted({level["reduction"] for level in info})
    return len(strides) > 1 and all(coarse % fine == 0 for fine, coarse in pairwise(strides))


class TimmPyramid(Backbone):
    """A hierarchical network of timm. Outputs are those of its stages from stride 4 on, finest first.

    The last one has passed the network's final norm, where the network norms its map (Swin); a norm behind the pooling
    (ConvNeXt) belongs to timm's classifier and is left out with it.
    """

    family = "timm"

    def __init__(
        self, network: TimmNetwork, image_size: Size, origin: Origin, name: str, *, pretrained: bool = False
    ) -> None:
        super().__init__()
        self.name, self.origin, self.image_size, self.network = name, origin, image_size, network
        # timm's networks share attribute names by convention only, hence Any.
        self.model: Any = _make(network, image_size, pretrained)
        levels = {level["reduction"]: i for i, level in enumerate(self.model.feature_info)}  # the last of each stride
        self.strides = tuple(sorted(stride for stride in levels if stride >= _FINEST))
        self._taken = [levels[stride] for stride in self.strides]
        self._check_size()
        self._norms = True
        self.widths = self._try()
        self.patch_size, self.embed_dim, self.depth = self.strides[-1], self.widths[-1], len(self.widths)
        config: dict[str, Any] = self.model.pretrained_cfg
        self.mean, self.std = network.mean or tuple(config["mean"]), network.std or tuple(config["std"])
        normed = self._norms and not isinstance(getattr(self.model, "norm", nn.Identity()), nn.Identity)
        self.final_norm = "initialised" if normed else "identity"
        self._layers = self._number_layers()
        table = getattr(self.model, "pos_embed", None)  # Hiera's; the others have relative positions or none
        if isinstance(table, nn.Parameter):
            table.requires_grad_(network.positions == "learned")
        if pretrained:
            self.mark_filled()

    def mark_filled(self) -> None:
        """Says that the weights come from a file."""
        if self.final_norm == "initialised":
            self.final_norm = "checkpoint"

    def _check_size(self) -> None:
        multiple, (height, width) = max(self.strides), self.image_size
        if height % multiple or width % multiple:
            what = f"image size {height}x{width} isn't a multiple of {multiple}, the coarsest stride of timm:{self.network.name}"
            raise SizeError(what, self.image_size, multiple, of_patches=True)

    def _try(self) -> tuple[int, ...]:
        """Removes the classifier and encodes one image; returns the channels of the outputs."""
        image, training = torch.zeros(1, 3, *self.image_size), self.model.training
        self.model.eval()
        try:
            self.model.prune_intermediate_layers(self._taken, prune_norm=False, prune_head=True)
            with torch.inference_mode():
                self._norms = self._takes_norm(image)
                maps = self._maps(image)
        except (AttributeError, RuntimeError, TypeError, ValueError, AssertionError) as error:
            raise FitError(
                f"timm:{self.network.name} can't be used as a pyramid at {self.image_size[0]}x{self.image_size[1]} "
                f"({str(error).partition(chr(10))[0]})",
                "give one such as timm:resnet50 or timm:convnext_tiny, or another train.image_size",
            ) from error
        self.model.train(training)
        expected = [tuple(side // stride for side in self.image_size) for stride in self.strides]
        if [tuple(one.shape[2:]) for one in maps] != expected:
            raise FitError(f"the outputs of timm:{self.network.name} don't have the sizes that timm announces")
        return tuple(int(one.shape[1]) for one in maps)

    def _takes_norm(self, image: Tensor) -> bool:
        """Whether timm can norm the last map: some networks (Hiera) refuse with an assertion."""
        try:
            self._maps(image)
        except AssertionError:
            return False
        return True

    def _maps(self, images: Tensor) -> list[Tensor]:
        """Stage outputs (B, C, h, w), finest first."""
        maps: list[Tensor] = self.model.forward_intermediates(
            images, indices=self._taken, norm=self._norms, output_fmt="NCHW", intermediates_only=True
        )
        return maps

    def _number_layers(self) -> dict[str, int] | None:
        """Parameter -> layer, by timm's own grouping for layer-wise rates; None for models without one."""
        if not hasattr(self.model, "group_matcher"):
            return None
        layers: dict[str, int] = group_parameters(self.model, self.model.group_matcher(coarse=False), reverse=True)
        return layers

    def encode(self, images: Tensor) -> list[Tensor]:
        """See `Backbone.encode`."""
        check_size(images, self.image_size, self.name)
        return [one.flatten(2).transpose(1, 2) for one in self._maps(images)]

    @property
    def has_layers(self) -> bool:
        """See `Backbone.has_layers`."""
        return self._layers is not None

    @property
    def layers(self) -> int:
        """The number of timm's groups: stem and blocks."""
        return max(self._layers.values()) + 1 if self._layers else 1

    def layer_of(self, parameter: str) -> int:
        """See `Backbone.layer_of`."""
        return self._layers[parameter.removeprefix("model.")] if self._layers else 0

    def units(self) -> Sequence[nn.Module]:
        """Those blocks of all stages that can have stochastic depth."""
        return [module for module in self.model.modules() if _drops(module)]

    def set_drop_path(self, rate: float) -> None:
        """Stochastic depth with timm's rates per block, counted through all stages."""
        blocks = self.units()
        if not blocks:
            super().set_drop_path(rate)
        for index, block in enumerate(blocks):
            for name in _drops(block):
                setattr(block, name, drop_path(rate * index / max(len(blocks) - 1, 1), block))

    def metadata(self) -> dict[str, str]:
        """See `Backbone.metadata`."""
        return {
            "timm": self.network.name,
            "timm_arguments": json.dumps(dict(self.network.arguments)),
            "timm_statistics": json.dumps([self.mean, self.std]),
            "image_size": json.dumps(self.image_size),
            "origin": json.dumps(asdict(self.origin)),
        }


def _make(network: TimmNetwork, image_size: Size, pretrained: bool) -> Any:
    """Swin and Hiera are built for an image size, convolutional networks are not."""
    try:
        return make(network, image_size, pretrained=pretrained)
    except FitError:
        return make(network, None, pretrained=pretrained)


def _drops(block: nn.Module) -> list[str]:
    """Names of a block's layers of stochastic depth, which are None where the rate is 0 in some of timm's networks."""
    return [name for name in _DROPS if hasattr(block, name) and isinstance(getattr(block, name), nn.Module | None)]
