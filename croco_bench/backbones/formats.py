"""What a checkpoint format is, and what all of them have in common: shapes are read from tensors, never from names."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from croco_bench.backbones.architecture import Architecture, Grid
from croco_bench.errors import CheckpointError

State = dict[str, Tensor]
_BLOCK_PARTS = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")


@dataclass(frozen=True)
class RawCheckpoint:
    """A file's content: tensors by name, and whatever else stood in it (`args`, `croco_kwargs`, …)."""

    source: str
    state: State
    extras: Mapping[str, Any]
    sha256: str | None = None


@dataclass(frozen=True)
class Converted:
    """Weights in this project's names, and the network they belong to. `notes` are facts for the result."""

    architecture: Architecture
    state: State
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """One official format: how its tensor names look, and how they become this project's."""

    name: str
    matches: Callable[[frozenset[str]], bool]
    convert: Callable[[RawCheckpoint], Converted]


class Names:
    """Takes tensors out of a state by name and remembers which, so that leftovers can be refused."""

    def __init__(self, raw: RawCheckpoint) -> None:
        self._raw, self._left = raw, dict(raw.state)
        self.out: State = {}

    def take(self, name: str, new: str) -> Tensor:
        """Moves one tensor to its new name."""
        if name not in self._left:
            raise CheckpointError(
                f"{self._raw.source}: the weights lack {name}; the file is damaged or of another model"
            )
        self.out[new] = self._left.pop(name)
        return self.out[new]

    def take_layer(self, name: str, new: str) -> None:
        """Moves `<name>.weight` and `<name>.bias`."""
        self.take(f"{name}.weight", f"{new}.weight")
        self.take(f"{name}.bias", f"{new}.bias")

    def take_blocks(self, prefix: str, new: str, parts: Iterable[str] = _BLOCK_PARTS) -> int:
        """Moves all transformer blocks `<prefix>.<k>.<part>`; returns how many there are."""
        depth = block_count(self._left, prefix)
        for index in range(depth):
            for part in parts:
                self.take_layer(f"{prefix}.{index}.{part}", f"{new}.{index}.{part}")
        return depth

    def ignore(self, *beginnings: str) -> None:
        """Drops tensors that encoding doesn't use."""
        self._left = {name: tensor for name, tensor in self._left.items() if not name.startswith(beginnings)}

    def finish(self) -> State:
        """Everything moved; raises if anything is left over."""
        if self._left:
            some = ", ".join(sorted(self._left)[:4])
            more = f" and {len(self._left) - 4} more" if len(self._left) > 4 else ""
            raise CheckpointError(
                f"{self._raw.source}: unexpected weights {some}{more}; this variant of the network isn't known "
                "(a ViT that timm knows can be given as timm:NAME)"
            )
        return self.out


def block_count(names: Iterable[str], prefix: str) -> int:
    """How many blocks `<prefix>.0.`, `<prefix>.1.`, … there are."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    found = {int(match.group(1)) for name in names if (match := pattern.match(name))}
    return max(found) + 1 if found else 0


def square_grid(count: int, source: str, table: str) -> Grid:
    """The grid (n, n) of a table with `count` positions."""
    side = math.isqrt(count)
    if side * side != count or not side:
        raise CheckpointError(f"{source}: {table} has {count} positions, which is no square grid; the file is damaged")
    return side, side


def patch_shape(raw: RawCheckpoint, name: str) -> tuple[int, int]:
    """Width and patch size, from the patch embedding's weight (width, 3, p, p)."""
    weight = raw.state.get(name)
    if weight is None or weight.ndim != 4 or weight.shape[1] != 3 or weight.shape[2] != weight.shape[3]:
        found = "nothing" if weight is None else "x".join(map(str, weight.shape))
        raise CheckpointError(f"{raw.source}: {name} should be (width, 3, p, p), but the file has {found}")
    return int(weight.shape[0]), int(weight.shape[2])


def hidden_width(raw: RawCheckpoint, first_block: str) -> int:
    """Width of the MLP, from `<first_block>.mlp.fc1.weight`."""
    weight = raw.state.get(f"{first_block}.mlp.fc1.weight")
    if weight is None:
        raise CheckpointError(f"{raw.source}: the weights lack {first_block}.mlp.fc1.weight; the file is damaged")
    return int(weight.shape[0])
