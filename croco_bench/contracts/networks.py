"""Backbones and heads: what a network is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from croco_bench.errors import CheckpointError
from croco_bench.types import Size


@dataclass(frozen=True)
class FeatureSpec:
    """What a backbone will hand to a head: one entry in `widths` per block output, encoder blocks first."""

    widths: tuple[int, ...]
    encoder_depth: int
    patch_size: int
    image_size: Size
    has_cls: bool = False

    @property
    def grid(self) -> Size:
        """Patch grid (h, w)."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size


@dataclass(frozen=True)
class Features:
    """Block outputs of one forward pass: `tokens[i]` is (B, N, widths[i]) with N = h*w, row-major, patch tokens only.

    `cls` (B, C) is the class (or global) token after the last block and norm; None where the network has none, and for
    pairs.
    """

    tokens: Sequence[Tensor]
    grid: Size
    cls: Tensor | None = None


@dataclass(frozen=True)
class Origin:
    """Where weights came from. `notes` are facts a reader of the result must know (a norm that is absent, say)."""

    source: str
    format: str
    sha256: str | None = None
    license: str | None = None
    notes: tuple[str, ...] = ()


class Backbone(nn.Module, ABC):
    """A pre-trained network. Subclasses set the attributes below and implement `encode`.

    `mean` and `std` are the RGB statistics that the network was trained with; `Network` applies them, so that datasets
    hand out images in [0, 1]. `final_norm` says whether the last norm came with the weights, does not exist in this
    family (identity), or was initialised because the network is random.
    """

    name: str
    family: Literal["croco", "mae", "multimae", "vit"]
    patch_size: int
    embed_dim: int
    depth: int
    image_size: Size
    binocular: bool = False
    has_cls: bool = False
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    final_norm: Literal["checkpoint", "identity", "initialised"]
    origin: Origin

    @abstractmethod
    def encode(self, images: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) -> one (B, N, C) per block; the last has passed the final norm if there is one."""

    def encode_with_cls(self, images: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """What `encode` returns, and the class token (B, C) after the last norm where `has_cls`."""
        return self.encode(images), None

    def feature_spec(self) -> FeatureSpec:
        """The widths `encode` will return."""
        widths = (self.embed_dim,) * self.depth
        return FeatureSpec(widths, self.depth, self.patch_size, self.image_size, self.has_cls)

    @abstractmethod
    def layer_of(self, parameter: str) -> int:
        """Depth of a parameter for layer-wise learning rates.

        0 for patch embedding, tokens and positions; k+1 for block k; a final norm counts with the last block. Heads are
        one layer above, `layers`.
        """

    @property
    @abstractmethod
    def layers(self) -> int:
        """How many layers `layer_of` tells apart."""

    @abstractmethod
    def set_drop_path(self, rate: float) -> None:
        """Stochastic depth in the encoder, rising linearly from 0 at the first block to `rate` at the last."""

    @abstractmethod
    def metadata(self) -> dict[str, str]:
        """What `load_backbone` needs, besides the weights, to build this network again: metadata of a weight file."""

    def drop_decoder(self) -> None:
        """Drops what `encode` never runs (a decoder), so that counts, memory and optimiser state are those of the task."""


class PairBackbone(Backbone):
    """A backbone with a decoder that looks at two views."""

    binocular = True
    decoder_dim: int
    decoder_depth: int

    @abstractmethod
    def encode_pair(self, view1: Tensor, view2: Tensor) -> list[Tensor]:
        """Normalised (B, 3, H, W) twice -> encoder blocks of view 1 (B, N, C), then decoder blocks (B, N, Cdec).

        The last encoder entry and the last decoder entry have passed their norms.
        """

    def encode_both(self, view1: Tensor, view2: Tensor) -> list[Tensor]:
        """What `encode_pair` returns for (view1, view2), and behind it in the batch for (view2, view1): (2B, N, C) each."""
        return self.encode_pair(torch.cat([view1, view2]), torch.cat([view2, view1]))

    @abstractmethod
    def decode_pair(self, tokens1: Tensor, tokens2: Tensor) -> list[Tensor]:
        """The second half of `encode_pair`: the last entries of `encode` for both views -> decoder blocks (B, N, Cdec)."""

    def pair_spec(self) -> FeatureSpec:
        """The widths `encode_pair` will return."""
        widths = (self.embed_dim,) * self.depth + (self.decoder_dim,) * self.decoder_depth
        return FeatureSpec(widths, self.depth, self.patch_size, self.image_size)


class Head(nn.Module, ABC):
    """A module on backbone features, built from a `FeatureSpec` and an output width, nothing else.

    `Options` is a frozen dataclass of the settings a recipe may give it. Raise `FitError` from the constructor when the
    features can't be used, with the next size that can. `dense`: one output per pixel, else one per image (or pair).
    `hooks`: the entries of `Features.tokens` that it reads, if it says so; None: any.
    """

    Options: ClassVar[type]
    dense: ClassVar[bool] = True
    hooks: tuple[int, ...] | None = None

    @abstractmethod
    def __init__(self, spec: FeatureSpec, out_channels: int, options: Any) -> None:
        """Builds for one image size."""
        super().__init__()

    @abstractmethod
    def forward(self, features: Features) -> Tensor:
        """(B, out_channels, H, W) for dense heads, (B, out_channels) for global ones."""

    def load_released(self, state: Mapping[str, Tensor]) -> None:
        """Takes the weights of a head that a backbone's authors released, under their own names: all, and nothing else.

        Raises:
            CheckpointError: this head has no released weights, or these don't fit.
        """
        raise CheckpointError(f"the head {type(self).__name__} can't take the weights of a released file")

    def auxiliary(self, features: Features) -> Sequence[tuple[float, Tensor]]:
        """Further outputs that are trained but never scored, with the weights of their losses; asked for in training only."""
        return ()

    def resolved(self) -> dict[str, Any]:
        """Facts that follow from rules (hook indices, say), stored in the result."""
        return {}


class PooledHead(Head):
    """A head on one vector per image, normed and classified linearly: it can be trained on vectors that were kept.

    `poolings` are the ways to a vector that the features allow, `pooling` is the one in use.
    """

    dense = False
    poolings: tuple[str, ...]
    norm: nn.Module
    linear: nn.Linear

    @property
    @abstractmethod
    def pooling(self) -> str:
        """The way in use; part of the state dict."""

    @abstractmethod
    def pooled(self, features: Features, how: str) -> Tensor:
        """One vector (B, C) per image."""

    @abstractmethod
    def load_probe(self, how: str, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor) -> None:
        """Takes what was trained elsewhere: a pooling, the vectors' mean and variance (C,), the classifier (K, C), (K,)."""
