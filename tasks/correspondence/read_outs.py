"""Ways to read matches from the features of a backbone, and the matches of all of them for a batch of pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from croco_bench.contracts import BareBackbone, FeatureSpec, PairBackbone
from croco_bench.tasks.correspondence.matching import Candidates, by_attention, tokens_at
from croco_bench.types import Batch, Size

CENTERED = "-centered"
ALL_BLOCKS = -1
# Mean tokens (N, C) of each block, by "encoder" and "decoder".
Means = Mapping[str, Sequence[Tensor]]


@dataclass(frozen=True)
class ReadOut:
    """One way to match: nearest neighbours of tokens of a block, or its cross-attention.

    Attributes:
        kind: `encoder`, `encoder-centered`, `decoder`, `decoder-centered` or `attention`.
        block: counted from 0 in the encoder or decoder; `ALL_BLOCKS`: the mean of all attention.
    """

    kind: str
    block: int

    def __str__(self) -> str:
        return f"{self.kind} {'mean' if self.block == ALL_BLOCKS else self.block + 1}"

    @property
    def part(self) -> str:
        """The kind without "-centered"."""
        return self.kind.removesuffix(CENTERED)


@dataclass(frozen=True)
class PairFeatures:
    """Features of B pairs: tokens (2B, N, C) per block, view 1 of all pairs first, and attention (B, N, N).

    Attention from view 1 to view 2 is the mean of both orders: that of (view 1, view 2), and the transpose of that of
    (view 2, view 1), as in ZeroCo.
    """

    spec: FeatureSpec
    encoder: Sequence[Tensor]
    decoder: Sequence[Tensor] = ()
    attention: Sequence[Tensor] = ()
    means: Means = field(default_factory=dict)

    def tokens(self, read_out: ReadOut) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, C) of both views that a read-out of tokens compares, in float64."""
        both = (self.encoder if read_out.part == "encoder" else self.decoder)[read_out.block].double()
        if read_out.kind.endswith(CENTERED):
            both = both - self.means[read_out.part][read_out.block]
        first, second = both.chunk(2)
        return first, second

    def map(self, read_out: ReadOut) -> Tensor:
        """Attention (B, N, N) of a read-out of attention, in float64."""
        if read_out.block == ALL_BLOCKS:
            return torch.stack(list(self.attention)).double().mean(dim=0)
        return self.attention[read_out.block].double()

    def grid(self, read_out: ReadOut) -> Size:
        """Grid (h, w) of a read-out's tokens."""
        return self.spec.grid_of(read_out.block) if read_out.part == "encoder" else self.spec.grid

    def read_outs(self) -> tuple[ReadOut, ...]:
        """All ways that these features offer."""
        found = []
        for part, blocks in (("encoder", self.encoder), ("decoder", self.decoder)):
            for kind in (part, f"{part}{CENTERED}")[: 1 + (part in self.means)]:
                found += [ReadOut(kind, block) for block in range(len(blocks))]
        found += [ReadOut("attention", block) for block in range(len(self.attention))]
        return (*found, *([ReadOut("attention", ALL_BLOCKS)] if len(self.attention) > 1 else []))


def pair_features(network: nn.Module, batch: Batch, means: Means) -> PairFeatures:
    """The features of a prepared batch. Each image is encoded once; pairs are decoded in both orders."""
    bare = cast(BareBackbone, network)
    backbone = bare.backbone
    images = bare.normalized(torch.cat([batch["image1"], batch["image2"]]))
    encoder = backbone.encode(images)
    if not (isinstance(backbone, PairBackbone) and backbone.binocular):
        return PairFeatures(backbone.feature_spec(), encoder, means=means)
    first, second = encoder[-1].chunk(2)
    decoder, maps = backbone.decode_with_attention(torch.cat([first, second]), torch.cat([second, first]))
    halves = [weights.chunk(2) for weights in maps]
    attention = [(forth + back.mT) / 2 for forth, back in halves]
    return PairFeatures(backbone.feature_spec(), encoder, decoder, attention, means)


def mean_tokens(network: nn.Module, batches: Iterable[Batch]) -> dict[str, list[Tensor]]:
    """The mean of each block's tokens over all images, position by position; nothing without batches."""
    totals: dict[str, list[Tensor]] = {}
    images = 0
    for batch in batches:
        features = pair_features(network, batch, {})
        images += 2 * len(batch["image1"])
        for part, blocks in (("encoder", features.encoder), ("decoder", features.decoder)):
            sums = [block.float().sum(dim=0) for block in blocks]
            totals[part] = (
                [one + two for one, two in zip(totals.get(part, sums), sums, strict=True)] if part in totals else sums
            )
    return {part: [total / images for total in sums] for part, sums in totals.items() if sums}


@dataclass(frozen=True)
class Matcher:
    """Reads the matches of points.

    Attributes:
        candidates: positions that matches by tokens may have.
        mutual: where a match's own match is farther from its point, there is no answer; a share of the sides (x, y), None: off.
    """

    candidates: Candidates
    mutual: tuple[float, float] | None = None

    def matches(self, features: PairFeatures, points: Tensor) -> Iterator[Tensor]:
        """Matches (B, P, 2) of points (B, P, 2), in shares of the sides, for each of `features.read_outs()`."""
        for read_out in features.read_outs():
            yield self._confirmed(points, *self._there_and_back(features, read_out, points))

    def _there_and_back(
        self, features: PairFeatures, read_out: ReadOut, points: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Matches (B, P, 2), and where mutual ones are asked for, their own matches in view 1."""
        grid = features.grid(read_out)
        if read_out.kind == "attention":
            weights = features.map(read_out)
            found = by_attention(weights, grid, points)
            return found, by_attention(weights.mT, grid, found) if self.mutual else None
        one, two = features.tokens(read_out)
        found = self.candidates.nearest(tokens_at(one, grid, points), two, grid)
        return found, self.candidates.nearest(tokens_at(two, grid, found), one, grid) if self.mutual else None

    def _confirmed(self, points: Tensor, found: Tensor, back: Tensor | None) -> Tensor:
        if back is None or self.mutual is None:
            return found
        limits = torch.stack([points.new_full((), limit) for limit in self.mutual])
        away = ((back - points) / limits).norm(dim=-1, keepdim=True)
        return torch.where(away <= 1, found, torch.nan)
