"""Segmentation by retrieval, without training (Balazevic 2023, Hummingbird): classes of the nearest patches of a bank.

As the open implementation of that evaluation (open-hummingbird-eval): cosine similarity, softmax over the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from croco_bench.contracts import BankHead, Features, FeatureSpec, resize_maps
from croco_bench.errors import FitError

# Tokens of the bank, and queries, whose similarities are in memory at once.
_BANK, _QUERIES = 65536, 1024
# Rank of a patch without labels, which is taken last.
_LAST = 1e6


@dataclass(frozen=True)
class RetrievalOptions:
    """Settings of the head.

    Attributes:
        bank: largest number of patches that are kept, the same number of each training image.
        neighbours: number of nearest patches whose classes count.
        temperature: of the softmax over their cosines; the smaller, the more the nearest ones count.
    """

    bank: PositiveInt = 1_024_000
    neighbours: PositiveInt = 30
    temperature: Annotated[PositiveFloat, Field(le=10)] = 0.02


class Retrieval(BankHead):
    """Tokens of the last block -> (B, out_channels, H, W): shares of the classes, 0 to 1, resized from the patch grid.

    Kept tokens have length 1, in half precision.

    Raises:
        FitError: from `forward`: the bank is empty.
    """

    Options = RetrievalOptions
    bank: Tensor
    shares: Tensor
    filled: Tensor

    def __init__(self, spec: FeatureSpec, out_channels: int, options: RetrievalOptions) -> None:
        super().__init__(spec, out_channels, options)
        self.capacity, self.count, self.temperature = options.bank, options.neighbours, options.temperature
        self.hooks = (len(spec.widths) - 1,)
        self.image_size = spec.image_size
        self.register_buffer("bank", torch.zeros(options.bank, spec.widths[-1], dtype=torch.float16))
        self.register_buffer("shares", torch.zeros(options.bank, out_channels, dtype=torch.float16))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def forward(self, features: Features) -> Tensor:
        """See `Head.forward`."""
        tokens = features.tokens[-1].float()
        queries = F.normalize(tokens, dim=-1).flatten(0, 1)
        # In float32: a cosine in bfloat16 is as coarse as the softmax is steep.
        with torch.autocast(queries.device.type, enabled=False):
            found = torch.cat([self._classes(part) for part in torch.split(queries, _QUERIES)])
        grid = found.view(len(tokens), *features.grid_of(-1), -1).permute(0, 3, 1, 2)
        return resize_maps(grid, self.image_size)

    def _classes(self, queries: Tensor) -> Tensor:
        """Tokens of length 1 (Q, C) -> shares of the classes (Q, K)."""
        cosines, neighbors = self._nearest(queries)
        weights = (cosines / self.temperature).softmax(dim=1)
        return torch.einsum("qn,qnk->qk", weights, self.shares[neighbors].float())

    def _nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines (Q, n) of the nearest kept tokens, descending, and their indices."""
        filled = int(self.filled)
        if not filled:
            raise FitError("the bank of the retrieval head is empty", "fill it in a run without --eval-only")
        cosines = queries.new_empty(len(queries), 0)
        neighbors = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
        for first in range(0, filled, _BANK):
            part = self.bank[first : min(first + _BANK, filled)].to(queries.dtype)
            rows = torch.arange(first, first + len(part), device=queries.device).expand(len(queries), -1)
            cosines, neighbors = torch.cat([cosines, queries @ part.T], dim=1), torch.cat([neighbors, rows], dim=1)
            cosines, order = cosines.topk(min(self.count, cosines.shape[1]), dim=1)
            neighbors = neighbors.gather(1, order)
        return cosines, neighbors

    def sample(self, features: Features, labels: Tensor, count: int, noise: Tensor) -> tuple[Tensor, Tensor]:
        """See `BankHead.sample`.

        The smallest of (noise times the sum, over the classes in a patch, of the number of the image's patches with that
        class) are taken, so that patches of rare classes are likely to be kept.
        """
        tokens = features.tokens[-1]
        shares = class_shares(labels, features.grid_of(-1), self.shares.shape[1])
        present = (shares > 0).float()
        ranks = torch.einsum("bnk,bk->bn", present, present.sum(dim=1)) * noise
        ranks = ranks.masked_fill(~present.any(dim=2), _LAST)
        chosen = ranks.topk(count, dim=1, largest=False).indices[:, :, None]
        return (
            tokens.gather(1, chosen.expand(-1, -1, tokens.shape[2])).flatten(0, 1),
            shares.gather(1, chosen.expand(-1, -1, shares.shape[2])).flatten(0, 1),
        )

    def fill(self, tokens: Tensor, shares: Tensor) -> None:
        """See `BankHead.fill`."""
        count = len(tokens)
        self.bank[:count].copy_(F.normalize(tokens.float(), dim=1))
        self.shares[:count].copy_(shares)
        self.filled.fill_(count)


def class_shares(labels: Tensor, grid: tuple[int, int], classes: int) -> Tensor:
    """Class of each pixel (B, H, W) -> share of each class in each patch (B, N, classes), row-major.

    Other values than 0 to classes - 1 are no class: their share is missing from the sum.
    """
    images, (height, width) = len(labels), grid
    patches = labels.view(images, height, labels.shape[1] // height, width, labels.shape[2] // width)
    patches = patches.permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)  # (B, N, pixels)
    known = torch.where((patches >= 0) & (patches < classes), patches, classes)
    counts = torch.zeros(*known.shape[:2], classes + 1, device=labels.device)
    counts.scatter_add_(2, known, torch.ones_like(known, dtype=counts.dtype))
    return counts[..., :classes] / known.shape[2]
