"""Parts of a split: a selection part taken out of train by scene, limited runs, evenly spaced samples."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from croco_bench.data.listed_lines import Labels
from croco_bench.errors import DataError, UsageError
from croco_bench.files import fingerprint_of, joined
from croco_bench.seeding import make_rng
from croco_bench.types import Array

if TYPE_CHECKING:  # contracts import torch, which processes that only read data shouldn't
    from croco_bench.contracts import Reader

# Indices per step, where they become Python's numbers.
_STEP = 2**16


def assumptions_of(*readers: Reader) -> tuple[str, ...]:
    """What readers assume about their files or leave out: their `assumptions` if they have any, each once."""
    notes = (f"{reader.dataset}: {note}" for reader in readers for note in getattr(reader, "assumptions", ()))
    return tuple(dict.fromkeys(notes))


class Subset:
    """The items `indices` (n,) of a reader; itself a reader.

    `available` is the size of the whole split, or that of a part that is a split of its own.
    """

    def __init__(
        self, reader: Reader, indices: Sequence[int] | Array, split: str, *, available: int | None = None
    ) -> None:
        self._reader, self.indices = reader, _compact(indices)
        self.dataset, self.split, self.miniature = reader.dataset, split, reader.miniature
        self.available = reader.available if available is None else available
        self.assumptions: Sequence[str] = getattr(reader, "assumptions", ())
        self.usual: Mapping[str, tuple[float, float]] = getattr(reader, "usual", {})
        self.meters: bool = getattr(reader, "meters", True)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._reader[int(self.indices[index])]

    @property
    def groups(self) -> Sequence[str]:
        """The groups of the chosen items."""
        groups = self._reader.groups
        return [groups[index] for index in self.indices]

    def fingerprint(self) -> str:
        """Hash of the whole split's fingerprint and the indices."""
        steps = (self.indices[first : first + _STEP].tolist() for first in range(0, len(self), _STEP))
        indices = map(str, chain.from_iterable(steps))
        return fingerprint_of(chain([f"{self._reader.fingerprint()}:"], joined(",", indices)))


def _compact(indices: Sequence[int] | Array) -> Array:
    """As int32, where they are not too large for it."""
    found = np.asarray(indices)
    small = not found.size or int(found.max()) < 2**31
    return found.astype(np.int32 if small else np.int64)


def _where(mask: Array) -> Array:
    """Indices of the true values, without a long array of int64 on the way."""
    found = np.empty(np.count_nonzero(mask), dtype=np.int32 if len(mask) < 2**31 else np.int64)
    filled = 0
    for first in range(0, len(mask), _STEP):
        inside = np.flatnonzero(mask[first : first + _STEP])
        found[filled : filled + len(inside)] = first + inside
        filled += len(inside)
    return found


def split_by_group(reader: Reader, fraction: float, *, seed: int, split: str = "select") -> tuple[Subset, Subset]:
    """Splits a reader by group (scene) into a training and a selection part with about `fraction` of the items.

    The choice depends only on the groups' names and the seed, so all backbones are selected on the same images. Each part
    has at least one group.

    Raises:
        UsageError: `fraction` isn't between 0 and 1.
        DataError: there are fewer than two groups.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"the share of training images held out for selection is {fraction:g}", "give one from 0 to 1")
    groups = reader.groups
    labels = groups if isinstance(groups, Labels) else Labels(groups, len(groups))
    sizes = labels.sizes()
    if len(sizes) < 2:
        raise DataError(
            f"{reader.dataset}: the {reader.split} split has {len(sizes)} scene(s)",
            "holding some out for selection needs at least two",
        )
    names = sorted(sizes, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    wanted, chosen, count = fraction * len(reader), set[str](), 0
    for name in names[:-1]:
        if count >= wanted:
            break
        chosen.add(name)
        count += sizes[name]
    held = labels.among(chosen)
    inside, outside = _where(held), _where(~held)
    return Subset(reader, outside, reader.split), Subset(reader, inside, f"{split} (of {reader.split})")


def limit(reader: Reader, count: int, seed: int) -> Reader:
    """At most `count` items, drawn at random because lists are often sorted, in the order of the split.

    Raises:
        UsageError: `count` isn't positive.
    """
    if count < 1:
        raise UsageError(f"a limit of {count} images leaves nothing to do", "give at least 1")
    if count >= len(reader):
        return reader
    chosen = make_rng(seed, "limit", reader.split).choice(len(reader), count, replace=False)
    return Subset(reader, sorted(int(index) for index in chosen), reader.split)


def take_share(reader: Reader, share: float, seed: int) -> Reader:
    """A random share in (0, 1] of the items, one at least, in the order of the split; smaller shares are parts of larger ones."""
    if share >= 1:
        return reader
    order = make_rng(seed, "share", reader.split).permutation(len(reader))
    chosen = order[: max(1, round(share * len(reader)))]
    return Subset(reader, sorted(int(index) for index in chosen), reader.split)


def spread_indices(n: int, count: int) -> list[int]:
    """`count` evenly spaced indices of `n` items, ascending and unique; all of them where `n` is not larger.

    The first item is always among them, the last one from a count of 2 on.
    """
    return [int(i) for i in np.linspace(0, n - 1, min(n, count))]
