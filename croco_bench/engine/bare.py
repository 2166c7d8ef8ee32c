"""A backbone without a head, for tasks that train nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from croco_bench.contracts import Backbone, PairBackbone


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
