"""Names of other libraries, turned into timm's: one record per library, so that the formats here read its files.

A record says by which name it knows its files, how names are changed, which tensors of the three projections of attention
are stacked into one, and which facts hold for all files of the library.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from croco_bench.errors import CheckpointError

if TYPE_CHECKING:
    from croco_bench.backbones.formats import RawCheckpoint

State = dict[str, Tensor]

_PROJECTION = re.compile(r"(.*\.)(query|key|value)_(weight|bias)")
_TOKENS = ("cls_token", "pos_embed", "reg_token", "register_tokens", "dist_token", "storage_tokens")


@dataclass(frozen=True)
class Dialect:
    """The names of one library.

    Attributes:
        name: of the library, for the result.
        marker: regular expression for the beginning of a name that all its files have.
        renames: pairs of a regular expression and what it is replaced by, applied to each name in order.
        dropped: regular expressions for the beginnings of names of parts that encode no image.
        facts: keys of `BackboneFacts` that hold for all its files.
        reshape: changes tensors that are stored in another shape than timm's.
        needs: regular expression for the beginning of a name that they have besides the marker.
        unless: regular expression for the beginning of a name that only other libraries' files have.
    """

    name: str
    marker: str
    renames: tuple[tuple[str, str], ...]
    dropped: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    reshape: Callable[[State], State] = dict
    needs: str = ""
    unless: str | None = None

    def matches(self, raw: RawCheckpoint) -> bool:
        """Whether a file has names of this library."""

        def has(pattern: str) -> bool:
            return any(re.match(pattern, name) for name in raw.state)

        return has(self.marker) and has(self.needs) and not (self.unless and has(self.unless))

    def translate(self, raw: RawCheckpoint) -> RawCheckpoint:
        """The file in timm's names."""
        dropped = {name for name in raw.state if any(re.match(one, name) for one in self.dropped)}
        kept = {name: tensor for name, tensor in raw.state.items() if name not in dropped}
        state = {self._rename(name): tensor for name, tensor in kept.items()}
        notes = [f"names of {self.name}"]
        if parts := sorted(_first_parts(dropped) - _first_parts(kept)):
            notes[0] += f", without {', '.join(parts)}"
        state = self.reshape(_stacked(_with_batch_axis(state), raw.source))
        return replace(raw, state=state, facts={**raw.facts, **self.facts}, notes=(*raw.notes, *notes))

    def _rename(self, name: str) -> str:
        for pattern, by in self.renames:
            name = re.sub(pattern, by, name)
        return name


def _first_parts(names: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def _with_batch_axis(state: State) -> State:
    """Tokens and position tables with the shape (1, N, C); libraries store (C,) and (N, C) too."""
    return {
        name: tensor[(None,) * (3 - tensor.ndim)] if name in _TOKENS and tensor.ndim in (1, 2) else tensor
        for name, tensor in state.items()
    }


def _stacked(state: State, source: str) -> State:
    """The weights of queries, keys and values of each attention as one, `qkv.weight`; biases likewise.

    A network without a bias of the keys gets `q_bias` and `v_bias`, as in timm.

    Raises:
        CheckpointError: the projections of an attention differ in shape.
    """
    stacked: State = {}
    projections: dict[tuple[str, str], State] = {}
    for name, tensor in state.items():
        if match := _PROJECTION.fullmatch(name):
            projections.setdefault((match[1], match[3]), {})[match[2]] = tensor
        else:
            stacked[name] = tensor
    for (attention, kind), own in projections.items():
        if len({tensor.shape for tensor in own.values()}) > 1:
            raise CheckpointError(
                f"{source}: {kind}s of {' and '.join(sorted(own))} in {attention[:-1]} differ in shape"
            )
        if own.keys() == {"query", "key", "value"}:
            stacked[f"{attention}qkv.{kind}"] = torch.cat([own["query"], own["key"], own["value"]])
        else:
            short = {"query": "q", "key": "k", "value": "v"}
            stacked |= {f"{attention}{short[part]}_{kind}": tensor for part, tensor in own.items()}
    return stacked
