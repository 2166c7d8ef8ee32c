"""What training code puts around a state dict: the entry of the file that holds it, and prefixes of its names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from croco_bench.errors import CheckpointError

if TYPE_CHECKING:
    from croco_bench.backbones.formats import RawCheckpoint

# Entries of a file that hold a state dict, the preferred one first: DINO's files have student and teacher, and the
# teacher (EMA) is the one to evaluate.
_CONTAINERS = ("model", "teacher", "state_dict", "model_state_dict", "student")
# Prefixes of DDP, torch.compile and DINO.
_PREFIXES = ("module.", "_orig_mod.", "backbone.")
# In DINO's files only the backbone's names have the prefix.
_OUTSIDE = re.compile(r"^(head|projection_head|dino_head|ibot_head)\.")


def unpack(content: Any, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict of a file's content, and the rest of the content.

    Raises:
        CheckpointError: there is no state dict.
    """
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds an object of type {type(content).__name__}, not a dictionary of weights")
    extras: dict[str, Any] = {}
    container = next((key for key in _CONTAINERS if isinstance(content.get(key), Mapping)), None)
    if container:
        extras = {key: value for key, value in content.items() if key != container}
        content = content[container]
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise CheckpointError(f"{path} holds no tensors", "expected a state dict, or one under 'model'")
    return state, extras


def unwrap(raw: RawCheckpoint) -> RawCheckpoint | None:
    """The file without the first known prefix that occurs in its names; None if there is none.

    Raises:
        CheckpointError: some names lack the prefix.
    """
    prefix = next((one for one in _PREFIXES if any(name.startswith(one) for name in raw.state)), None)
    if prefix is None:
        return None
    rest = [name for name in raw.state if not name.startswith(prefix) and not _OUTSIDE.match(name)]
    if rest:
        raise CheckpointError(f"{raw.source}: some weights begin with {prefix!r} and others, such as {rest[0]}, don't")
    inner = {name.removeprefix(prefix): tensor for name, tensor in raw.state.items() if name.startswith(prefix)}
    return replace(raw, state=inner)
