"""What the feature cache keeps of each image: pooled vectors and labels, or tokens of some blocks and targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from croco_bench.contracts import Evaluation, Features, PooledHead
from croco_bench.engine.network import Network, spec_for
from croco_bench.errors import DataError
from croco_bench.probing.entry_files import Spec
from croco_bench.types import Array, Batch, Sample

HALF = np.dtype(np.float16)


class Content(ABC):
    """Arrays of features in half precision, and those of prepared samples as they are.

    Attributes:
        kind: what the features are called in messages.
    """

    kind: str

    @property
    @abstractmethod
    def key(self) -> list[Any]:
        """Part of an entry's key: what is kept. Contents that can share an entry have equal keys."""

    @property
    @abstractmethod
    def specs(self) -> dict[str, Spec]:
        """Type and shape of each array, for one image."""

    @abstractmethod
    def features(self, features: Features) -> dict[str, torch.Tensor]:
        """The arrays of features (B, ...) of a batch."""

    @abstractmethod
    def targets(self, batch: Batch) -> dict[str, Array]:
        """The arrays of samples (B, ...) of a batch."""


@dataclass(frozen=True)
class PooledVectors(Content):
    """One vector for each pooling of a head, and the labels of the images."""

    network: Network
    kind = "vectors"

    @property
    def _head(self) -> PooledHead:
        assert isinstance(self.network.head, PooledHead)
        return self.network.head

    @property
    def key(self) -> list[Any]:
        """See `Content.key`."""
        return [self._head.poolings]

    @property
    def specs(self) -> dict[str, Spec]:
        """See `Content.specs`."""
        width = self.network.backbone.embed_dim
        return {**dict.fromkeys(self._head.poolings, (HALF, (width,))), "labels": (np.dtype(np.int64), ())}

    def features(self, features: Features) -> dict[str, torch.Tensor]:
        """See `Content.features`."""
        return {how: self._head.pooled(features, how) for how in self._head.poolings}

    def targets(self, batch: Batch) -> dict[str, Array]:
        """See `Content.targets`."""
        return {"labels": np.array([int(label) for label in batch["label"]], dtype=np.int64)}


@dataclass(frozen=True)
class BlockTokens(Content):
    """Tokens of some blocks, the class token if there is one, and the targets of the prepared samples.

    Attributes:
        network: gives the tokens.
        evaluation: prepares the samples; all targets of one name have one shape.
        blocks: indices of the block outputs.
    """

    network: Network
    evaluation: Evaluation
    blocks: tuple[int, ...]
    kind = "tokens"

    @property
    def key(self) -> list[Any]:
        """See `Content.key`: entries of different blocks are one, to which missing blocks are added."""
        return ["tokens", self.network.views]

    @cached_property
    def _first(self) -> Sample:
        return self.evaluation.prepare(self.evaluation.reader[0])

    @property
    def specs(self) -> dict[str, Spec]:
        """See `Content.specs`."""
        spec = spec_for(self.network.backbone, self.network.views)
        sizes: dict[str, tuple[int, ...]] = {
            name_of(block): (_area(spec.grid_of(block)), spec.widths[block]) for block in self.blocks
        }
        if spec.has_cls:
            sizes["cls"] = (spec.widths[-1],)
        found: dict[str, Spec] = {name: (HALF, shape) for name, shape in sizes.items()}
        for name, value in _targets_of(self._first).items():
            found[target_name(name)] = (value.dtype, value.shape)
        return found

    @property
    def target_names(self) -> list[str]:
        """Names in the prepared samples."""
        return list(_targets_of(self._first))

    def features(self, features: Features) -> dict[str, torch.Tensor]:
        """See `Content.features`."""
        found = {name_of(block): features.tokens[block] for block in self.blocks}
        return found if features.cls is None else {**found, "cls": features.cls}

    def targets(self, batch: Batch) -> dict[str, Array]:
        """See `Content.targets`.

        Raises:
            DataError: the targets of two images differ in shape.
        """
        found = {}
        for name, first in _targets_of(self._first).items():
            values = [_array(value) for value in batch[name]]
            odd = next((value.shape for value in values if value.shape != first.shape), None)
            if odd is not None:
                raise DataError(
                    f"{name} of two images has the shapes {first.shape} and {odd}: the task has no targets of one size",
                    "train without [token_probe]",
                )
            found[target_name(name)] = np.stack(values)
        return found


def name_of(block: int) -> str:
    """The array of a block's tokens."""
    return f"block{block:02d}"


def target_name(name: str) -> str:
    """The array of a target."""
    return f"target_{name}"


def _area(grid: Sequence[int]) -> int:
    return grid[0] * grid[1]


def _array(value: Any) -> Array:
    return value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _targets_of(sample: Sample) -> dict[str, Array]:
    """Everything in a prepared sample but its images."""
    return {name: _array(value) for name, value in sample.items() if not name.startswith("image")}
