"""Checkpoint formats: one module of this folder per family.

Each module that defines a tuple `FORMATS` takes part; no other place names it. A file has the first format that matches
it. Formats marked `general` are tried last, because files of other families have such names too; otherwise the order is
that of the modules' names, then that of `FORMATS`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from torch import Tensor

from croco_bench.backbones.formats.facts import Facts
from croco_bench.backbones.formats.names import Names
from croco_bench.backbones.formats.unread import unknown_network, unread_family
from croco_bench.backbones.formats.wrappers import unwrapped_stages
from croco_bench.backbones.networks.architecture import Architecture, CodeNetwork, TimmNetwork
from croco_bench.contracts import Pretraining
from croco_bench.errors import CheckpointError, UsageError

State = dict[str, Tensor]


@dataclass(frozen=True)
class RawCheckpoint:
    """The content of a file.

    Attributes:
        source: the file, for messages.
        state: tensors by name.
        extras: everything else in the file (`args`, `croco_kwargs`, metadata of safetensors).
        sha256: of the file.
        notes: facts for the result: which part of the file was read.
        facts: keys of `BackboneFacts` that hold for all files of the library that wrote this one.
    """

    source: str
    state: State
    extras: Mapping[str, Any]
    sha256: str | None = None
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def has(self, *beginnings: str) -> bool:
        """Whether the name of any tensor has one of these beginnings."""
        return any(name.startswith(beginnings) for name in self.state)


@dataclass(frozen=True)
class Converted:
    """A network and its weights in this project's names.

    Attributes:
        network: what to build.
        state: the weights.
        notes: facts for the result.
        license: of the weights, if the file says it.
        pretraining: how this project made them.
    """

    network: Architecture | TimmNetwork | CodeNetwork
    state: State
    notes: tuple[str, ...] = ()
    license: str | None = None
    pretraining: Pretraining | None = None


@dataclass(frozen=True)
class Format:
    """One checkpoint format.

    Attributes:
        name: as results and messages call it.
        matches: whether a file has this format.
        convert: takes the tensors that the network needs.
        ignored: regular expressions for the beginnings of tensor names that encoding never uses.
        general: whether files of other formats match as well; such a format is tried last.
    """

    name: str
    matches: Callable[[RawCheckpoint], bool]
    convert: Callable[[Names], Converted]
    ignored: tuple[str, ...] = ()
    general: bool = False

    def read(self, raw: RawCheckpoint, facts: Facts) -> Converted:
        """The network and its weights, with notes about the facts used.

        Raises:
            CheckpointError: a tensor is missing, is neither ignored nor taken, or has a shape that doesn't fit.
            UsageError: the user stated a fact or a setting that has no meaning for this format.
        """
        facts.add_known(raw.facts)
        names = Names(raw, facts, self.ignored)
        converted = with_settings(self.convert(names), facts, raw.source)
        names.finish()
        return replace(converted, notes=(*raw.notes, *converted.notes, *facts.notes(raw.source)))


def with_settings(converted: Converted, facts: Facts, source: str) -> Converted:
    """The network with the user's choice of what fine-tuning does with its position table and its final norm.

    Raises:
        UsageError: the final norm of a network without one is asked for.
    """
    plan = converted.network
    if isinstance(plan, CodeNetwork):
        return converted
    if not isinstance(plan, Architecture):
        return replace(converted, network=replace(plan, positions=facts.pick("positions", known=plan.positions)))
    if plan.positions != "rope":
        chosen = {key: facts.pick(key, known=getattr(plan, key)) for key in ("positions", "resampling")}
        plan = replace(plan, **chosen)
    final_norm = facts.pick("final_norm", known=plan.final_norm)
    if final_norm == plan.final_norm:
        return replace(converted, network=plan)
    if final_norm:
        raise UsageError(f"{source} has no final norm", "leave backbone.final_norm out")
    state = {name: tensor for name, tensor in converted.state.items() if not name.startswith("norm.")}
    note = "the checkpoint's final norm is left out (backbone.final_norm)"
    return replace(converted, network=replace(plan, final_norm=False), state=state, notes=(*converted.notes, note))


@cache
def all_formats() -> tuple[Format, ...]:
    """The formats of all modules of this folder, in the order in which they are tried."""
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    formats: list[Format] = [one for module in modules for one in getattr(module, "FORMATS", ())]
    return tuple(sorted(formats, key=lambda one: one.general))


def recognize(raw: RawCheckpoint) -> tuple[Format, RawCheckpoint]:
    """The format of a file, and the file with the names of that format, without what training code adds to them.

    Raises:
        CheckpointError: no format matches, or weights outside a prefix might belong to the network.
    """
    try:
        for unwrapped in unwrapped_stages(raw):
            if (own := _match(unwrapped, general=False)) is not None:
                return own, unwrapped
            if (error := unread_family(unwrapped)) is not None:
                raise error
            if (shared := _match(unwrapped, general=True)) is not None:
                return shared, unwrapped
    except CheckpointError as error:  # weights outside a prefix
        raise unread_family(raw) or error from None
    raise unknown_network(raw, [one.name for one in all_formats()])


def _match(raw: RawCheckpoint, *, general: bool) -> Format | None:
    return next((one for one in all_formats() if one.general == general and one.matches(raw)), None)
