"""Several training sets as one, with weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from croco_bench.contracts import Reader
from croco_bench.data.splitting import assumptions_of
from croco_bench.errors import DataError, UsageError, unknown
from croco_bench.files import fingerprint
from croco_bench.seeding import make_rng

# Share of the first dataset held out for selection, where no dataset of a mixture has a selection part.
HELD_OUT = 0.05


class Mixture:
    """A reader over several readers. One pass shows each item of a reader as often as the reader's weight.

    A fractional weight repeats a fixed random subset once more: 1.5 shows all items once and half of them twice.

    Attributes:
        readers: what is mixed.
    """

    def __init__(self, readers: Sequence[Reader], weights: Sequence[float], seed: int, *, split: str = "train") -> None:
        self.readers, self.split = list(readers), split
        self.dataset = "+".join(
            reader.dataset if weight == 1 else f"{weight:g}*{reader.dataset}"
            for reader, weight in zip(readers, weights, strict=True)
        )
        self.miniature = any(reader.miniature for reader in readers)
        self.assumptions = assumptions_of(*readers)
        counts = [max(round(weight * len(reader)), 1) for reader, weight in zip(readers, weights, strict=True)]
        self._ends = np.cumsum(counts)
        self._orders = [
            make_rng(seed, "mixture", i).permutation(len(reader)).astype(np.int64) for i, reader in enumerate(readers)
        ]
        self.available = int(self._ends[-1])

    def __len__(self) -> int:
        return self.available

    def __getitem__(self, index: int) -> dict[str, Any]:
        i, item = self._locate(index)
        return self.readers[i][item]

    def _locate(self, index: int) -> tuple[int, int]:
        """Index of the reader, and of the item within it."""
        i = int(np.searchsorted(self._ends, index, side="right"))
        offset = index - (int(self._ends[i - 1]) if i else 0)
        order = self._orders[i]
        return i, int(order[offset % len(order)])

    @property
    def groups(self) -> Sequence[str]:
        """For every item: index of its reader, and its group there."""
        groups = [reader.groups for reader in self.readers]
        located = (self._locate(index) for index in range(len(self)))
        return [f"{i}/{groups[i][item]}" for i, item in located]

    def fingerprint(self) -> str:
        """Hash of all readers' fingerprints and the weights."""
        return fingerprint(",".join([*(reader.fingerprint() for reader in self.readers), *map(str, self._ends)]))


def check_weights(weights: Mapping[str, float], known: Iterable[str], what: str, example: str) -> None:
    """Checks a mixture given as `task.train_on`.

    Args:
        weights: dataset name -> weight.
        known: names of all datasets.
        what: quantity that the datasets have, for the message.
        example: dataset name for the advice.

    Raises:
        UsageError: the mixture is empty, names an unknown dataset, or has a weight that isn't positive.
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
        DataError: there is no such folder; the advice is the mixture without the dataset.
    """
    path = data_root / folder
    if path.is_dir():
        return path
    raise DataError(f"there is no folder {path}, which task.train_on names", f"{left_out(name, weights)}")


def left_out(name: str, weights: Mapping[str, float]) -> str:
    """Advice: the setting of the mixture without dataset `name`."""
    rest = ", ".join(f"{other} = {weight:g}" for other, weight in weights.items() if other != name)
    leave = f"leave it out with --set 'task.train_on={{{rest}}}'" if rest else "give task.train_on another dataset"
    return f"{leave}, or see croco-bench data list"
