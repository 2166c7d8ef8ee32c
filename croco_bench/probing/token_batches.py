"""Batches of kept tokens with their targets, and scores of heads on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from croco_bench.config.recipe import Train
from croco_bench.contracts import Evaluation, Features, Head
from croco_bench.engine.dataloading import Plan, upload
from croco_bench.engine.network import Network
from croco_bench.metrics.meter import stack
from croco_bench.probing.feature_cache import CachedTokens
from croco_bench.seeding import make_rng
from croco_bench.types import Array, Batch


class TokenBatches:
    """Rows of kept tokens as features on a device, in float32, with the targets of their images."""

    def __init__(self, kept: CachedTokens, network: Network, device: torch.device) -> None:
        self.kept, self.network, self._device = kept, network, device
        self._outputs = len(network.backbone.feature_spec().widths)

    def __len__(self) -> int:
        return len(self.kept)

    def features(self, rows: Array) -> Features:
        """Features of some images; outputs of blocks that weren't kept are empty."""
        nothing = torch.empty(len(rows), 0, device=self._device)
        tokens = [
            self._on_device(self.kept.blocks[i], rows) if i in self.kept.blocks else nothing
            for i in range(self._outputs)
        ]
        cls = None if self.kept.cls is None else self._on_device(self.kept.cls, rows)
        return Features(tokens, self.network.grid, cls, self.network.grids)

    def batch(self, rows: Array) -> tuple[Batch, Features]:
        """Targets as tensors, as the loader of a training collates them, and features."""
        targets = {name: upload(values[rows], self._device) for name, values in self.kept.targets.items()}
        return targets, self.features(rows)

    def _on_device(self, array: Array, rows: Array) -> Tensor:
        return upload(array[rows], self._device).float()


class _OnFeatures(nn.Module):
    """In the place of a network: the outputs of a head on features that are there already, whatever the images."""

    def __init__(self, network: Network, head: Head, features: Features) -> None:
        super().__init__()
        # In a tuple, so that they don't become parts of this module.
        self._parts = network, head, features

    def forward(self, _: Tensor) -> Tensor:
        network, head, features = self._parts
        output = network.predictions(head, features)
        assert isinstance(output, Tensor), "a head in eval mode has no auxiliary outputs"
        return output


def rows_of_step(plan: Plan, images: int, train: Train, seed: int, step: int) -> Array:
    """Indices of a step's images: those, in the order, of a training on images with the same seed."""
    epoch, position = divmod(step, plan.steps_per_epoch)
    order = make_rng(seed, "order", epoch).permutation(images)
    return order[position * train.batch_size :][: train.batch_size]


def score_on_tokens(
    evaluation: Evaluation, batches: TokenBatches, heads: Sequence[Head], metric: str
) -> list[float | None]:
    """A metric of each head (in eval mode) over all images; None where a prediction isn't finite."""
    rows: list[list[dict[str, float | Array]]] = [[] for _ in heads]
    finite = [True] * len(heads)
    for first in range(0, len(batches), evaluation.batch_size):
        indices = np.arange(first, min(first + evaluation.batch_size, len(batches)))
        samples = [{name: values[i] for name, values in batches.kept.targets.items()} for i in indices]
        with torch.inference_mode():
            features = batches.features(indices)
            images = torch.empty(len(indices), 0)  # nothing reads them
            batch: Batch = {"image": images, **{name: [one[name] for one in samples] for name in batches.kept.targets}}
            for number, head in enumerate(heads):
                predictions = evaluation.predict(_OnFeatures(batches.network, head, features), batch)
                finite[number] &= all(np.isfinite(one).all() for one in predictions)
                pairs = zip(predictions, samples, strict=True)
                rows[number] += (
                    [evaluation.meter.measure(one, sample) for one, sample in pairs] if finite[number] else []
                )
    return [
        evaluation.meter.reduce(stack(found))[metric] if good else None
        for found, good in zip(rows, finite, strict=True)
    ]
