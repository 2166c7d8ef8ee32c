"""A backbone as a module: with a head, or alone for tasks that train nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from croco_bench.contracts import Backbone, Features, FeatureSpec, GridHead, Head, PairBackbone
from croco_bench.engine.dataloading import upload
from croco_bench.errors import FitError
from croco_bench.types import Batch

Outputs = list[tuple[float, Tensor]]
Frozen = bool | Literal["encoder"]


def spec_for(backbone: Backbone, views: int) -> FeatureSpec:
    """The features of `backbone` for a head on `views` images.

    Raises:
        FitError: two views, but no decoder.
    """
    if views == 1:
        return backbone.feature_spec()
    if not isinstance(backbone, PairBackbone) or not backbone.binocular:
        raise FitError(
            f"{backbone.name} has no decoder, but the task needs two views", "give a checkpoint with a decoder"
        )
    return backbone.pair_spec()


def _unchanged(output: Tensor) -> Tensor:
    return output


class Network(nn.Module):
    """Backbone, then head. Takes images in [0, 1] and applies the backbone's normalisation.

    Attributes:
        backbone: without its decoder where there is one view.
        head: built for the backbone's features.
        views: number of images per sample.
        frozen: the backbone stays in eval mode and gets no gradient; with "encoder" that holds for its encoder alone.
        decode: makes the network's outputs of the head's; see `Task.decode`.
        symmetric: in training mode, two views give outputs (2B, ...) for (view 1, view 2), then for (view 2, view 1); each
            image is encoded once.
        grid: patch grid (h, w).
        grids: grids of all outputs of a pyramid.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        *,
        views: int = 1,
        frozen: Frozen = False,
        symmetric: bool = False,
        decode: Callable[[Tensor], Tensor] = _unchanged,
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.decode = backbone, head, decode
        self.views, self.frozen, self.symmetric = views, frozen, symmetric
        if views == 1:
            backbone.drop_decoder()
        spec = spec_for(backbone, views)
        self.grid = spec.grid
        self.grids = tuple(spec.grid_of(block) for block in range(len(spec.widths))) if spec.is_pyramid else ()
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(1, 3, 1, 1), persistent=False)
        for name, parameter in backbone.named_parameters():
            if self._is_frozen(name):
                parameter.requires_grad_(False)

    def _is_frozen(self, name: str) -> bool:
        """Whether a module or parameter of the backbone, by its name, is frozen."""
        if self.frozen != "encoder":
            return self.frozen
        return not isinstance(self.backbone, PairBackbone) or not self.backbone.in_decoder(name)

    def train(self, mode: bool = True) -> Network:
        """As `nn.Module.train`, but frozen parts of the backbone stay in eval mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        if self.frozen == "encoder":
            for name, module in self.backbone.named_modules():
                module.training = mode and not self._is_frozen(name)
        return self

    def forward(self, *images: Tensor) -> Tensor | Outputs:
        """One image (B, 3, H, W) in [0, 1] per view -> the head's output, decoded.

        In training mode, if the head has auxiliary outputs: pairs (loss weight, output), the main output first.
        """
        return self.predictions(self.head, self.features(*images))

    def predictions(self, head: Head, features: Features) -> Tensor | Outputs:
        """The decoded output of a head; if the head is in training mode and has auxiliary outputs, pairs as of `forward`."""
        output = self._resized(head, features) if isinstance(head, GridHead) else self.decode(head(features))
        others = head.auxiliary(features) if head.training else ()
        return [(1.0, output), *((weight, self.decode(other)) for weight, other in others)] if others else output

    def _resized(self, head: GridHead, features: Features) -> Tensor:
        """The output of a head on its own grid, decoded there and resized."""
        return head.resized(self.decode(head.on_grid(features)))

    def features(self, *images: Tensor) -> Features:
        """The head's input for these images."""
        views = [(image - self.mean) / self.std for image in images]
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.frozen is not True):
            return self._encode(views)

    def pairs(self, images: Tensor, first: Sequence[int], second: Sequence[int], *, at_once: int) -> Tensor:
        """Outputs (eval mode) for pairs among images; each image is encoded once, however many pairs it is in.

        Args:
            images: (n, 3, H, W) in [0, 1].
            first: index of each pair's first view.
            second: index of each pair's second view.
            at_once: number of images per encoder pass and of pairs per decoder pass; bounds memory.
        """
        assert isinstance(self.backbone, PairBackbone) and not self.training
        parts = [self._encode_blocks(part) for part in torch.split(images, at_once)]
        blocks = [torch.cat(block) for block in zip(*parts, strict=True)]
        views = (torch.split(upload(np.array(index), images.device), at_once) for index in (first, second))
        outputs = []
        for one, other in zip(*views, strict=True):
            tokens = [block[one] for block in blocks]
            tokens += self.backbone.decode_pair(tokens[-1], blocks[-1][other])
            outputs.append(self.decode(self.head(Features(tokens, self.grid))))
        return torch.cat(outputs)

    def _encode_blocks(self, images: Tensor) -> list[Tensor]:
        """Encoder block outputs; those that neither head nor decoder reads are empty, to save memory."""
        blocks = self.backbone.encode((images - self.mean) / self.std)
        hooks = range(len(blocks)) if self.head.hooks is None else self.head.hooks
        used = {*hooks, len(blocks) - 1}
        return [block if i in used else block.new_empty(len(block), 0) for i, block in enumerate(blocks)]

    def _encode(self, views: Sequence[Tensor]) -> Features:
        if self.views == 1:
            tokens, cls = self.backbone.encode_with_cls(views[0])
            return Features(tokens, self.grid, cls, self.grids)
        assert isinstance(self.backbone, PairBackbone)
        encode = self.backbone.encode_both if self.symmetric and self.training else self.backbone.encode_pair
        return Features(encode(views[0], views[1]), self.grid)


def inputs(batch: Batch, views: int) -> tuple[Tensor, ...]:
    """Arguments of the network: `image` of a batch, or `image1` and `image2`."""
    return (batch["image"],) if views == 1 else (batch["image1"], batch["image2"])


class BareNetwork(nn.Module):
    """A backbone as it is, in eval mode, with its normalisation: a `croco_bench.contracts.BareBackbone`.

    Attributes:
        backbone: with its decoder if it has one; none is added.
        views: number of images of a forward pass.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, *, views: int) -> None:
        super().__init__()
        self.backbone, self.views = backbone.requires_grad_(False).eval(), views
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(1, 3, 1, 1), persistent=False)

    def normalized(self, images: Tensor) -> Tensor:
        """See `BareBackbone.normalized`."""
        return (images - self.mean) / self.std

    def forward(self, *images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], one batch per view -> the last output; of two views the decoder's, if there is one."""
        views = [self.normalized(image) for image in images]
        if len(views) == 2 and isinstance(self.backbone, PairBackbone) and self.backbone.binocular:
            return self.backbone.encode_pair(views[0], views[1])[-1]
        return self.backbone.encode(torch.cat(views))[-1]
