"""Parts of a split: a selection part carved out of train by scene, and limited runs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from croco_bench.contracts import Reader
from croco_bench.errors import DataError
from croco_bench.seeding import generator


class Subset:
    """Some items of a reader, itself a reader. `available` stays that of the whole split."""

    def __init__(self, reader: Reader, indices: Sequence[int], split: str) -> None:
        self._reader, self._indices = reader, [int(index) for index in indices]
        self.dataset, self.split, self.miniature = reader.dataset, split, reader.miniature
        self.groups = [reader.groups[index] for index in self._indices]
        self.available = reader.available

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._reader[self._indices[index]]

    def fingerprint(self) -> str:
        """Of the whole split and of the choice."""
        text = f"{self._reader.fingerprint()}:{','.join(map(str, self._indices))}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def carve(reader: Reader, fraction: float, *, seed: int, split: str = "select") -> tuple[Subset, Subset]:
    """Train and selection parts: whole groups (scenes) go to one side, about `fraction` of the items to selection.

    Which groups go depends on their names and the seed alone, so that all backbones are selected on the same images.

    Raises:
        DataError: there are fewer than two groups.
    """
    names = sorted(set(reader.groups))
    if len(names) < 2:
        raise DataError(
            f"{reader.dataset}: the {reader.split} split has {len(names)} scene; a selection part needs at least two"
        )
    names.sort(key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).hexdigest())
    wanted, chosen, count = fraction * len(reader), set[str](), 0
    for name in names[:-1]:
        if chosen and count >= wanted:
            break
        chosen.add(name)
        count += sum(group == name for group in reader.groups)
    inside = [index for index, group in enumerate(reader.groups) if group in chosen]
    outside = [index for index, group in enumerate(reader.groups) if group not in chosen]
    return Subset(reader, outside, reader.split), Subset(reader, inside, f"{split} (of {reader.split})")


def limit(reader: Reader, count: int, seed: int) -> Reader:
    """At most `count` items, drawn at random (lists are often sorted), in the order of the split."""
    if count >= len(reader):
        return reader
    chosen = generator(seed, "limit", reader.split).choice(len(reader), count, replace=False)
    return Subset(reader, sorted(int(index) for index in chosen), reader.split)
