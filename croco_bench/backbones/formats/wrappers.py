"""Around a network's weights: the entry of the file that holds them, and prefixes that training code adds to their names.

A file may hold several state dicts (`_ENTRIES`), and prefixes may be nested in any order: `model._orig_mod.backbone.x`.
Prefixes are removed one by one until a format recognises the names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from croco_bench.backbones.formats.libraries import DIALECTS
from croco_bench.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from croco_bench.backbones.formats import RawCheckpoint

# Entries of a file that hold a state dict, the preferred one first: of student and teacher (DINO, I-JEPA), the teacher
# (EMA) is the one to evaluate; of raw and averaged weights (timm, MAE), the raw ones, as their own evaluation does.
_ENTRIES = (
    "model",
    "teacher",
    "state_dict",
    "model_state_dict",
    "student",
    "model_ema",
    "state_dict_ema",
    "ema_state_dict",
    "ema",
    "target_encoder",
    "encoder",
    "backbone",
    "module",
    "net",
    "network",
)
# Parts of names that wrappers insert anywhere: DDP, torch.compile, FSDP, activation checkpointing.
_INSERTED = re.compile(r"(^|\.)(?:(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.)+")
# DINOv2's training keeps blocks in groups: `blocks.GROUP.NUMBER.`, numbered throughout.
_GROUPED = re.compile(r"^((?:.*\.)?blocks)\.\d+\.(\d+)\.")
# Attributes that hold the backbone in training code (Lightning, solo-learn, DINO, MoCo v3, Depth Anything), the preferred
# one first.
_PREFIXES = (
    "teacher.",
    "model.",
    "net.",
    "network.",
    "base_model.",
    "base_encoder.",
    "backbone.",
    "encoder.",
    "trunk.",
    "pretrained.",
)
# What may stand next to the backbone under a prefix and isn't needed to encode images.
_BESIDE = re.compile(
    r"^(\w+_)?(heads?|cls_head|classifier|fc|neck|projector|projection_head|predictor|prototypes|decoder|decode_head"
    r"|student|momentum_\w+|queue\w*|mask_token|loss\w*|criterion|metrics?|\w+_metrics?)(\.|$)"
)


def unpack(content: Any, path: Path, entry: str | None = None) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """A state dict of a file, the rest of the file's content, and notes.

    Args:
        content: of the file.
        path: for messages.
        entry: name of the state dict; default: the first of the table.

    Raises:
        CheckpointError: there is no state dict.
        UsageError: there is none called `entry`.
    """
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds an object of type {type(content).__name__}, not a dictionary of weights")
    states = dict(_state_dicts(content))
    if entry is not None and entry not in states:
        known = f"it has {', '.join(states)}" if states else "its weights stand at the top"
        raise UsageError(
            f"{path} has no state dict called {entry!r}", f"leave backbone.state out or correct it: {known}"
        )
    chosen = entry or next((key for key in _ENTRIES if key in states), None) or _nested(states)
    if chosen is None:
        if not (state := _tensors(content)):
            found = f", but has {', '.join(states)}: name one with backbone.state" if states else ""
            raise CheckpointError(
                f"{path} holds no tensors of a network", f"expected a state dict, or one under 'model'{found}"
            )
        return state, {}, []
    extras = {key: value for key, value in content.items() if key != chosen}
    others = [key for key in states if key != chosen and key in _ENTRIES]
    note = f"of the state dicts {chosen} and {', '.join(others)} in the file, {chosen} was read (backbone.state)"
    return states[chosen], extras, [note] if others and entry is None else []


def _state_dicts(content: Mapping[Any, Any], depth: int = 3) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """State dicts in a file with their names; those of nested tables have names such as `state.model`."""
    for key, value in content.items():
        if tensors := _tensors(value):
            yield str(key), tensors
        elif (
            isinstance(value, Mapping) and depth > 1 and not re.match(r"(optim|sched|scaler|loops|callbacks)", str(key))
        ):
            yield from ((f"{key}.{name}", state) for name, state in _state_dicts(value, depth - 1))


def _nested(states: Mapping[str, object]) -> str | None:
    """The preferred one of state dicts in nested tables, by the last part of its name or else by the first."""
    nested = [name.split(".") for name in states if "." in name]
    found = (parts for key in _ENTRIES for place in (-1, 0) for parts in nested if parts[place] == key)
    return next((".".join(parts) for parts in found), None)


def _tensors(value: object) -> dict[str, Tensor]:
    if not isinstance(value, Mapping):
        return {}
    return {str(name): tensor for name, tensor in value.items() if isinstance(tensor, Tensor)}


def unwrapped_stages(raw: RawCheckpoint) -> Iterator[RawCheckpoint]:
    """The file with fewer and fewer additions of other code to its names: wrappers, a library's own names, prefixes.

    Raises:
        CheckpointError: weights outside a prefix might belong to the network.
    """
    current: RawCheckpoint | None = without_insertions(raw)
    while current is not None:
        while dialect := next((one for one in DIALECTS if one.matches(current)), None):
            current = dialect.translate(current)
        yield current
        current = without_prefix(current)


def without_insertions(raw: RawCheckpoint) -> RawCheckpoint:
    """The file with names as the network's own code writes them: nothing inserted by wrappers, blocks not in groups."""
    state = {_GROUPED.sub(r"\1.\2.", _INSERTED.sub(r"\1", name)): tensor for name, tensor in raw.state.items()}
    if len(state) < len(raw.state):
        return raw  # without the wrappers' parts, two names would be equal
    return replace(raw, state=state)


def without_prefix(raw: RawCheckpoint) -> RawCheckpoint | None:
    """The file without the first prefix of the table that occurs in its names; None if there is none.

    Raises:
        CheckpointError: weights outside the prefix might belong to the network.
    """
    prefix = next((one for one in _PREFIXES if raw.has(one)), None)
    if prefix is None:
        return None
    rest = [name for name in raw.state if not name.startswith(prefix)]
    if unknown := [name for name in rest if not _BESIDE.match(name)]:
        raise CheckpointError(
            f"{raw.source}: some weights begin with {prefix!r} and others, such as {unknown[0]}, don't",
            "save the backbone's state dict alone",
        )
    inner = {name.removeprefix(prefix): tensor for name, tensor in raw.state.items() if name.startswith(prefix)}
    left_out = sorted({name.partition(".")[0] for name in rest})
    notes = [f"of the file, {prefix.removesuffix('.')} was read and {', '.join(left_out)} left out"] if rest else []
    return replace(raw, state=inner, notes=(*raw.notes, *notes))
