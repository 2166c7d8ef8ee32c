"""Tools of the formats: tensors are taken from a file by name, and sizes are read from their shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from croco_bench.backbones.formats.facts import Facts
from croco_bench.backbones.networks.architecture import Grid, heads_of
from croco_bench.errors import CheckpointError

if TYPE_CHECKING:
    from croco_bench.backbones.formats import RawCheckpoint

_BLOCK_PARTS = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")

_BY_TIMM = "a network that timm knows can be given as timm:NAME@FILE"


class Names:
    """The tensors of a file, to be taken one by one; missing ones and those left at the end are errors."""

    def __init__(self, raw: RawCheckpoint, facts: Facts, ignored: Iterable[str] = ()) -> None:
        self.source, self.extras, self.facts = raw.source, raw.extras, facts
        self.out: dict[str, Tensor] = {}
        patterns = [re.compile(pattern) for pattern in ignored]
        self._left = {name: tensor for name, tensor in raw.state.items() if not any(p.match(name) for p in patterns)}

    def has(self, beginning: str) -> bool:
        """Whether the name of any tensor begins with `beginning`."""
        return any(name.startswith(beginning) for name in self._left)

    def drop(self, beginning: str) -> None:
        """Leaves out all tensors with this beginning."""
        self._left = {name: tensor for name, tensor in self._left.items() if not name.startswith(beginning)}

    def rename(self, beginning: str, new: str) -> None:
        """Replaces the beginning of all names that have it."""
        self._left = {
            new + name.removeprefix(beginning) if name.startswith(beginning) else name: tensor
            for name, tensor in self._left.items()
        }

    def copy(self, beginning: str, new: str) -> None:
        """Adds all tensors whose names begin with `beginning` a second time, with another beginning."""
        same = {name: tensor for name, tensor in self._left.items() if name.startswith(beginning)}
        self._left |= {new + name.removeprefix(beginning): tensor for name, tensor in same.items()}

    def shape(self, name: str, axes: str) -> tuple[int, ...]:
        """The shape of a tensor, checked against `axes` such as "1, tokens, width"; an axis called 1 must have size 1."""
        shape, expected = tuple(self.look(name).shape), axes.split(", ")
        fits = len(shape) == len(expected)
        fits = fits and all(size > 0 and (axis != "1" or size == 1) for size, axis in zip(shape, expected, strict=True))
        if not fits:
            raise CheckpointError(f"{self.source}: {name} should have shape ({axes}), but has {shape}", _BY_TIMM)
        return shape

    def look(self, name: str) -> Tensor:
        """A tensor, without taking it."""
        if name not in self._left:
            raise self.lacks(name)
        return self._left[name]

    def lacks(self, name: str) -> CheckpointError:
        """The error for a missing weight."""
        return CheckpointError(
            f"{self.source}: the weights lack {name}", f"the file is incomplete or of another network; {_BY_TIMM}"
        )

    def pop(self, name: str) -> Tensor:
        """Takes a tensor of floating-point numbers that the converter changes before it adds it to `out`."""
        tensor = self.look(name)
        del self._left[name]
        if not tensor.is_floating_point():
            raise CheckpointError(f"{self.source}: {name} should hold floating-point numbers, but holds {tensor.dtype}")
        return tensor

    def take(self, name: str, new: str) -> Tensor:
        """Takes a tensor under a new name."""
        self.out[new] = tensor = self.pop(name)
        return tensor

    def take_below(self, prefix: str) -> None:
        """Takes all tensors whose names begin with `prefix`, which is removed; of any dtype."""
        inner = [name for name in self._left if name.startswith(prefix)]
        self.out |= {name.removeprefix(prefix): self._left.pop(name) for name in inner}

    def take_layer(self, name: str, new: str) -> None:
        """Takes `<name>.weight` and `<name>.bias`."""
        self.take(f"{name}.weight", f"{new}.weight")
        self.take(f"{name}.bias", f"{new}.bias")

    def depth(self, prefix: str) -> int:
        """The number of transformer blocks `<prefix>.<k>.`."""
        pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
        depth = max((int(match.group(1)) for name in self._left if (match := pattern.match(name))), default=-1) + 1
        if not depth:
            raise self.lacks(f"{prefix}.0")
        return depth

    def take_blocks(self, prefix: str, new: str, parts: Iterable[str] = _BLOCK_PARTS) -> int:
        """Takes all transformer blocks `<prefix>.<k>.<part>` and returns their number."""
        depth = self.depth(prefix)
        for index in range(depth):
            for part in parts:
                self.take_layer(f"{prefix}.{index}.{part}", f"{new}.{index}.{part}")
        return depth

    def finish(self) -> None:
        """Raises `CheckpointError` if any tensor is left."""
        if self._left:
            some = ", ".join(sorted(self._left)[:4])
            more = f" and {len(self._left) - 4} more" if len(self._left) > 4 else ""
            raise CheckpointError(
                f"{self.source}: unexpected weights {some}{more}",
                f"this variant of the network isn't known; {_BY_TIMM}",
            )


def square_grid(count: int, source: str, table: str) -> Grid:
    """The grid (n, n) of a table with `count` positions."""
    side = math.isqrt(count)
    if side * side != count or not side:
        raise CheckpointError(f"{source}: {table} has {count} positions, which is no square grid", _BY_TIMM)
    return side, side


def patch_shape(names: Names, layer: str) -> tuple[int, int]:
    """Width and patch size, from the patch embedding's weight (width, 3, p, p).

    Raises:
        CheckpointError: the weight has another shape, or another patch size than the user stated.
    """
    name = f"{layer}.weight"
    width, channels, height, breadth = names.shape(name, "width, 3, p, p")
    if channels != 3 or height != breadth:
        shape = (width, channels, height, breadth)
        raise CheckpointError(f"{names.source}: {name} should have shape (width, 3, p, p), but has {shape}")
    names.facts.check_patches(width, height, names.source)
    return width, height


def encoder_heads(names: Names, width: int, known: Mapping[int, int] | None = None) -> int:
    """Attention heads of an encoder.

    Args:
        names: tensors of the file, which may have an entry `num_heads`.
        width: channels.
        known: heads of the format's networks by width; for others the usual number is assumed.

    Raises:
        CheckpointError: the number doesn't suit the width.
    """
    of_format = known.get(width) if known else None
    heads = names.facts.pick("heads", stated=names.extras.get("num_heads"), known=of_format, assumed=heads_of(width))
    return checked_heads(heads, width, names.source, "encoder")


def checked_heads(heads: object, width: int, source: str, part: str, *, rope: bool = False) -> int:
    """`heads`, the number of attention heads, if it suits the width.

    Raises:
        CheckpointError: it isn't a whole number that divides the width; with RoPE, into multiples of four.
    """
    positive = isinstance(heads, int) and not isinstance(heads, bool) and heads > 0
    if not (isinstance(heads, int) and positive and width % heads == 0 and (not rope or width // heads % 4 == 0)):
        rule = f"divides {width} into multiples of 4, as RoPE needs" if rope else f"divides {width}"
        raise CheckpointError(
            f"{source}: the {part} of width {width} can't have {heads!r} heads", f"expected a number that {rule}"
        )
    return heads
