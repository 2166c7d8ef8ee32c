"""Several sets of training data as one, with weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from croco_bench.contracts import Reader
from croco_bench.errors import DataError, UsageError, unknown
from croco_bench.seeding import make_rng

# Where none of a mixture's datasets has a part to select by: the share of the first that is kept from training.
HELD_OUT = 0.05


class Mixture:
    """A reader over several. One pass shows every item of a set as often as the set's weight says.

    Of a weight's fraction, a fixed random part of the set comes up once more: 1.5 shows all once and half of them twice.
    """

    def __init__(self, readers: Sequence[Reader], weights: Sequence[float], seed: int, *, split: str = "train") -> None:
        self._readers, self.split = list(readers), split
        self.dataset = "+".join(
            reader.dataset if weight == 1 else f"{weight:g}*{reader.dataset}"
            for reader, weight in zip(readers, weights, strict=True)
        )
        self.miniature = any(reader.miniature for reader in readers)
        counts = [max(round(weight * len(reader)), 1) for reader, weight in zip(readers, weights, strict=True)]
        self._ends = np.cumsum(counts)
        self._orders = [
            make_rng(seed, "mixture", place).permutation(len(reader)).astype(np.int64)
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


def check_weights(weights: Mapping[str, float], known: Iterable[str], what: str, example: str) -> None:
    """Refuses a mixture (`task.train_on`) of nothing, of unknown datasets, or with weights that aren't positive.

    Raises:
        UsageError: so it is.
    """
    if not weights:
        raise UsageError(
            "task.train_on names no dataset", f"write for instance --set 'task.train_on={{{example} = 1}}'"
        )
    for name, weight in weights.items():
        if name not in known:
            raise unknown(f"dataset of {what} to train on", name, known)
        if not weight > 0:
            raise UsageError(f"task.train_on.{name}={weight:g} should be more than 0", f"leave {name} out instead")


def folder_for(data_root: Path, folder: str, name: str, weights: Mapping[str, float]) -> Path:
    """The folder of the mixture's dataset `name`.

    Raises:
        DataError: it isn't there; the sentence says how to leave the dataset out.
    """
    place = data_root / folder
    if place.is_dir():
        return place
    raise DataError(f"there is no folder {place}, which task.train_on names", f"{left_out(name, weights)}")


def left_out(name: str, weights: Mapping[str, float]) -> str:
    """What to do without a dataset of the mixture."""
    rest = ", ".join(f"{other} = {weight:g}" for other, weight in weights.items() if other != name)
    leave = f"leave it out with --set 'task.train_on={{{rest}}}'" if rest else "give task.train_on another dataset"
    return f"{leave}, or see croco-bench data list"
