"""Heads: modules that turn features into predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from croco_bench.contracts.networks import Features, FeatureSpec
from croco_bench.errors import CheckpointError
from croco_bench.types import Size


class Head(nn.Module, ABC):
    """A module on backbone features, built from a `FeatureSpec` and an output width only.

    Attributes:
        Options: frozen dataclass of the settings in a recipe's [head] table.
        dense: one output per pixel; otherwise one per image (or pair).
        hooks: indices of the `Features.tokens` that the head reads; None: it may read all.
        grid_multiple: sides of the patch grid must be multiples of this.
    """

    Options: ClassVar[type]
    dense: ClassVar[bool] = True
    grid_multiple: ClassVar[int] = 1
    hooks: tuple[int, ...] | None = None

    @abstractmethod
    def __init__(self, spec: FeatureSpec, out_channels: int, options: Any) -> None:
        """One head for one image size.

        Raises:
            FitError: the features or the options don't fit; the advice names the next image size that does.
        """
        super().__init__()

    @abstractmethod
    def forward(self, features: Features) -> Tensor:
        """(B, out_channels, H, W) for dense heads, (B, out_channels) for global ones."""

    def load_released(self, state: Mapping[str, Tensor]) -> None:
        """Loads head weights under the names of their authors' code; they must be complete.

        Raises:
            CheckpointError: there are no released weights for this kind of head, or these don't fit.
        """
        raise CheckpointError(f"the head {type(self).__name__} can't take the weights of a released file")

    def auxiliary(self, features: Features) -> Sequence[tuple[float, Tensor]]:
        """Auxiliary outputs with their loss weights, computed in training only."""
        return ()

    def resolved(self) -> dict[str, Any]:
        """Values derived from spec and options, such as hooks, stored in the result."""
        return {}

    def candidates(self) -> Sequence[Head]:
        """Heads among which a probe on kept tokens chooses; this head alone, unless its options leave a choice open."""
        return (self,)


def resize_maps(maps: Tensor, size: Size, *, align_corners: bool = False) -> Tensor:
    """Maps (B, K, h, w) at another size (H, W), bilinear; on a CPU channels are last in memory, a quarter of the time."""
    if maps.device.type == "cpu" and maps.shape[1] > 1:
        maps = maps.contiguous(memory_format=torch.channels_last)
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=align_corners)


class GridHead(Head):
    """A dense head that predicts on a grid coarser than the image; what `Task.decode` does is done there.

    Attributes:
        image_size: size (H, W) of the outputs of `forward`.
    """

    image_size: Size

    @abstractmethod
    def on_grid(self, features: Features) -> Tensor:
        """Outputs (B, out_channels, h, w) on the head's own grid."""

    def resized(self, maps: Tensor) -> Tensor:
        """Maps (B, K, h, w) at the size of the image, bilinear with pixel centers aligned."""
        return resize_maps(maps, self.image_size)

    def forward(self, features: Features) -> Tensor:
        """See `Head.forward`."""
        return self.resized(self.on_grid(features))


class PooledHead(Head):
    """A linear classifier on one pooled and standardised vector per image, which can be trained on cached vectors.

    Attributes:
        poolings: names of the poolings that the features allow.
        norm: standardises vectors.
        linear: classifies them.
    """

    dense = False
    poolings: tuple[str, ...]
    norm: nn.Module
    linear: nn.Linear

    @property
    @abstractmethod
    def pooling(self) -> str:
        """The pooling in use; part of the state dict."""

    @abstractmethod
    def pooled(self, features: Features, how: str) -> Tensor:
        """Vectors (B, C) by the pooling `how`."""

    @abstractmethod
    def load_probe(self, how: str, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor) -> None:
        """Loads a trained probe: pooling, mean and variance (C,) of the vectors, weight (K, C) and bias (K,)."""


class BankHead(Head):
    """A dense head that isn't trained: it keeps tokens of training images, with the classes that their patches show.

    Attributes:
        capacity: largest number of tokens that it keeps.
    """

    capacity: int

    @abstractmethod
    def sample(self, features: Features, labels: Tensor, count: int, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Chooses tokens of some images.

        Args:
            features: of B images.
            labels: class of each pixel (B, H, W), int64; -1 where it is unknown.
            count: number of tokens per image, at most the number of patches N.
            noise: uniform in [0, 1), (B, N): the random part of the choice.

        Returns:
            Tokens (B * count, C), and the share of each class in their patches (B * count, out_channels).
        """

    @abstractmethod
    def fill(self, tokens: Tensor, shares: Tensor) -> None:
        """Keeps these tokens (M, C) and class shares (M, out_channels) instead of any others; M is at most `capacity`."""
