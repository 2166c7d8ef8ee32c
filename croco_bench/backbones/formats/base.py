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


class Names:
    """Takes tensors out of a file by name and remembers which, so that what is missing or left over can be refused."""

    def __init__(self, raw: RawCheckpoint, ignored: Iterable[str] = ()) -> None:
        self.source, self.extras, self.out = raw.source, raw.extras, State()
        patterns = [re.compile(pattern) for pattern in ignored]
        self._left = {name: tensor for name, tensor in raw.state.items() if not any(p.match(name) for p in patterns)}

    def has(self, beginning: str) -> bool:
        """Whether any tensor's name begins so."""
        return any(name.startswith(beginning) for name in self._left)

    def drop(self, beginning: str) -> None:
        """Leaves out what this network doesn't use."""
        self._left = {name: tensor for name, tensor in self._left.items() if not name.startswith(beginning)}

    def shape(self, name: str, axes: str) -> tuple[int, ...]:
        """The sizes of a tensor whose axes are called `axes`, as in "1, tokens, width"; an axis called 1 has size 1."""
        found, wanted = tuple(self.look(name).shape), axes.split(", ")
        fits = len(found) == len(wanted)
        fits = fits and all(size > 0 and (axis != "1" or size == 1) for size, axis in zip(found, wanted, strict=True))
        if not fits:
            raise CheckpointError(
                f"{self.source}: {name} should have shape ({axes}), but has {found}", "the file is damaged"
            )
        return found

    def look(self, name: str) -> Tensor:
        """A tensor that stays where it is."""
        if name not in self._left:
            raise self.lacks(name)
        return self._left[name]

    def lacks(self, name: str) -> CheckpointError:
        """The error for a weight that isn't there."""
        return CheckpointError(
            f"{self.source}: the weights lack {name}", "the file is incomplete or of another network"
        )

    def take(self, name: str, new: str) -> Tensor:
        """Moves one tensor to its new name."""
        tensor = self.look(name)
        del self._left[name]
        if not tensor.is_floating_point():
            raise CheckpointError(f"{self.source}: {name} should hold floating-point numbers, but holds {tensor.dtype}")
        self.out[new] = tensor
        return tensor

    def take_layer(self, name: str, new: str) -> None:
        """Moves `<name>.weight` and `<name>.bias`."""
        self.take(f"{name}.weight", f"{new}.weight")
        self.take(f"{name}.bias", f"{new}.bias")

    def take_blocks(self, prefix: str, new: str, parts: Iterable[str] = _BLOCK_PARTS) -> int:
        """Moves all transformer blocks `<prefix>.<k>.<part>`; returns how many there are."""
        pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
        found = {int(match.group(1)) for name in self._left if (match := pattern.match(name))}
        depth = max(found, default=-1) + 1
        if not depth:
            raise self.lacks(f"{prefix}.0")
        for index in range(depth):
            for part in parts:
                self.take_layer(f"{prefix}.{index}.{part}", f"{new}.{index}.{part}")
        return depth

    def finish(self) -> None:
        """Raises if anything is left over."""
        if self._left:
            some = ", ".join(sorted(self._left)[:4])
            more = f" and {len(self._left) - 4} more" if len(self._left) > 4 else ""
            raise CheckpointError(
                f"{self.source}: unexpected weights {some}{more}",
                "this variant of the network isn't known (a ViT that timm knows can be given as timm:NAME)",
            )


@dataclass(frozen=True)
class Format:
    """One official format: how its tensor names look, which of them encoding never uses, how the rest is renamed.

    `ignored` are patterns of a name's beginning. Whatever is neither ignored nor taken by `convert` is refused, and so
    is a file that lacks what `convert` takes.
    """

    name: str
    matches: Callable[[frozenset[str]], bool]
    convert: Callable[[Names], Converted]
    ignored: tuple[str, ...] = ()

    def read(self, raw: RawCheckpoint) -> Converted:
        """The weights in this project's names.

        Raises:
            CheckpointError: something is missing, left over, or of a shape that no such network has.
        """
        names = Names(raw, self.ignored)
        converted = self.convert(names)
        names.finish()
        return converted


def square_grid(count: int, source: str, table: str) -> Grid:
    """The grid (n, n) of a table with `count` positions."""
    side = math.isqrt(count)
    if side * side != count or not side:
        raise CheckpointError(
            f"{source}: {table} has {count} positions, which is no square grid", "the file is damaged"
        )
    return side, side


def patch_shape(names: Names, layer: str) -> tuple[int, int]:
    """Width and patch size, from the patch embedding's weight (width, 3, p, p)."""
    name = f"{layer}.weight"
    width, channels, height, breadth = names.shape(name, "width, 3, p, p")
    if channels != 3 or height != breadth:
        found = (width, channels, height, breadth)
        raise CheckpointError(f"{names.source}: {name} should have shape (width, 3, p, p), but has {found}")
    return width, height


def checked_heads(heads: object, width: int, source: str, part: str, *, rope: bool = False) -> int:
    """A number of attention heads, if a network of this width can have it.

    Raises:
        CheckpointError: it isn't a whole number that divides the width; with RoPE, into multiples of four.
    """
    whole = isinstance(heads, int) and not isinstance(heads, bool) and heads > 0
    if not (isinstance(heads, int) and whole and width % heads == 0 and (not rope or width // heads % 4 == 0)):
        rule = f"divides {width} into multiples of 4, as RoPE needs" if rope else f"divides {width}"
        raise CheckpointError(
            f"{source}: the {part} of width {width} can't have {heads!r} heads", f"expected a number that {rule}"
        )
    return heads
