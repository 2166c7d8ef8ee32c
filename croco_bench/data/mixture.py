"""Several sets of training data as one, with weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from croco_bench.contracts import Reader
from croco_bench.seeding import generator


class Mixture:
    """A reader over several. One pass shows every item of a set as often as the set's weight says.

    Of a weight's fraction, a fixed random part of the set comes up once more: 1.5 shows all once and half of them twice.
    """

    split = "train"

    def __init__(self, readers: Sequence[Reader], weights: Sequence[float], seed: int) -> None:
        self._readers = list(readers)
        self.dataset = "+".join(
            reader.dataset if weight == 1 else f"{weight:g}*{reader.dataset}"
            for reader, weight in zip(readers, weights, strict=True)
        )
        self.miniature = any(reader.miniature for reader in readers)
        counts = [max(round(weight * len(reader)), 1) for reader, weight in zip(readers, weights, strict=True)]
        self._ends = np.cumsum(counts)
        self._orders = [
            generator(seed, "mixture", place).permutation(len(reader)).astype(np.int64)
            for place, reader in enumerate(readers)
        ]
        self.available = int(self._ends[-1])

    def __len__(self) -> int:
        return self.available

    def __getitem__(self, index: int) -> dict[str, Any]:
        place, item = self._locate(index)
        return self._readers[place][item]

    def _locate(self, index: int) -> tuple[int, int]:
        """Which set, and which of its items."""
        place = int(np.searchsorted(self._ends, index, side="right"))
        inside = index - (int(self._ends[place - 1]) if place else 0)
        order = self._orders[place]
        return place, int(order[inside % len(order)])

    @property
    def groups(self) -> Sequence[str]:
        """The set and the group within it, for every item."""
        groups = [reader.groups for reader in self._readers]
        places = (self._locate(index) for index in range(len(self)))
        return [f"{place}/{groups[place][item]}" for place, item in places]

    def fingerprint(self) -> str:
        """Of all sets and the weights."""
        text = ",".join([*(reader.fingerprint() for reader in self._readers), *map(str, self._ends)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]
