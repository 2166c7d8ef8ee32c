"""Reading and writing weight files. Nothing in a file is ever run."""

from __future__ import annotations

import argparse
import difflib
import errno
import hashlib
import json
import pathlib
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from croco_bench.backbones.formats.base import RawCheckpoint, State
from croco_bench.backbones.formats.croco import FINETUNED
from croco_bench.contracts import Backbone
from croco_bench.errors import CheckpointError
from croco_bench.files import atomic

_numpy_scalar = np.float64().__reduce__()[0]

# What the official files hold beside tensors. Nothing here does anything when it is unpickled.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    pathlib.PosixPath,
    pathlib.PurePosixPath,
    OrderedDict,
    np.dtype,
    *((_numpy_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),  # before and since numpy 2
    *(type(np.dtype(kind)) for kind in ("float16", "float32", "float64", "int32", "int64", "bool")),
]
# What `save_finetuned` and `save_backbone` call their formats.
OWN = "croco-bench fine-tuned"
PRETRAINED = "croco-bench pre-trained"
# Where the official files keep the network's tensors; `teacher` is DINO's better half.
_CONTAINERS = ("model", "teacher", "state_dict", "model_state_dict", "student")
_WRAPPERS = ("module.", "_orig_mod.", "backbone.")
_SEVERAL_HEADS = re.compile(r"^(head|projection_head|dino_head|ibot_head)\.")


def read_checkpoint(path: Path) -> RawCheckpoint:
    """The content of a `.pth`, `.pt` or `.safetensors` file; the kind is recognised from its first bytes.

    Raises:
        CheckpointError: it isn't there, isn't whole, isn't a checkpoint, or would run code.
    """
    try:
        head = _first_bytes(path)
        if len(head) >= 9 and head[8:9] == b"{":
            state, extras = _read_safetensors(path)
        elif head.startswith((b"PK\x03\x04", b"\x80")):
            state, extras = _unpack(_read_torch(path), path)
        else:
            raise CheckpointError(f"{path} {_what_else(head)}")
        if extras.get("format") not in (OWN, PRETRAINED):
            state = _without_wrappers(state, path)
        return RawCheckpoint(str(path), _checked(state, path), extras, _sha256(path))
    except OSError as error:
        raise CheckpointError(
            f"{path} can't be read: {error.strerror or error}", "check the path and its permissions"
        ) from error


def _first_bytes(path: Path) -> bytes:
    if not path.exists():
        folder = path.parent
        names = [item.name for item in folder.iterdir()] if folder.is_dir() else []
        near = difflib.get_close_matches(path.name, names, n=1)
        hint = f"did you mean {folder / near[0]}?" if near else "check the path"
        raise CheckpointError(f"there is no file {path}", f"{hint}")
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder, not a checkpoint", "name the .pth or .safetensors file in it")
    with path.open("rb") as stream:
        return stream.read(512)


def _what_else(head: bytes) -> str:
    """What a file that is no checkpoint seems to be."""
    text = head.lstrip().lower()
    if not head:
        return "is empty; download it again"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not a checkpoint; the download link led to a page: fetch the file itself"
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights; run git lfs pull"
    if b"/annex/objects/" in text:
        return "is a git-annex pointer, not the weights; run git annex get"
    return "is neither a torch nor a safetensors file; expected .pth, .pt or .safetensors content"


def _read_torch(path: Path) -> Any:
    if _is_foreign_archive(path):
        raise CheckpointError(f"{path} is an archive, but not one of torch.save", "expected a file with a state dict")
    try:
        # torch warns on stderr about pickles of other versions; whatever can't be read is said below.
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: torch looked before the file's start
            raise
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused and isinstance(error, pickle.UnpicklingError):
            raise CheckpointError(
                f"{path} wants to run code on loading ({refused.group(1)}), which is refused",
                "ask its authors for a file with tensors only, or convert it to .safetensors where you trust it",
            ) from error
        raise CheckpointError(f"{path} is truncated or damaged", "download it again") from error


def _is_foreign_archive(path: Path) -> bool:
    """Whether this is a zip file, but not what `torch.save` writes (TorchScript and numpy write zips too)."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.rpartition("/")[2] for name in archive.namelist()]
    except (zipfile.BadZipFile, NotImplementedError, ValueError):  # torch will say what is wrong with it
        return False
    return "data.pkl" not in names or "constants.pkl" in names


def _read_safetensors(path: Path) -> tuple[State, dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            return {name: stream.get_tensor(name) for name in stream.keys()}, _parse_metadata(metadata)  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is truncated or damaged ({error})", "download it again") from error


def _parse_metadata(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Metadata values are strings; those that hold JSON objects or lists become such."""
    return {key: json.loads(text) if text.startswith(("{", "[")) else text for key, text in metadata.items()}


def _unpack(content: Any, path: Path) -> tuple[State, dict[str, Any]]:
    """The network's tensors, and the rest of the file."""
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


def _without_wrappers(state: State, path: Path) -> State:
    """Names without what DDP, torch.compile and DINO put before them."""
    while wrapper := next((w for w in _WRAPPERS if any(name.startswith(w) for name in state)), None):
        # In DINO's files only the backbone carries the prefix; its projection head stands beside it.
        inner = {name.removeprefix(wrapper): tensor for name, tensor in state.items() if name.startswith(wrapper)}
        rest = [name for name in state if not name.startswith(wrapper) and not _SEVERAL_HEADS.match(name)]
        if rest:
            raise CheckpointError(f"{path}: some weights begin with {wrapper!r} and others, such as {rest[0]}, don't")
        state = inner
    return state


def _checked(state: State, path: Path) -> State:
    """Float32 where floating; refuses values that are not finite, and tensors of kinds that no checkpoint has."""
    whole = {}
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_complex() or tensor.is_quantized or tensor.is_meta:
            raise CheckpointError(f"{path}: {name} should be a plain tensor of real numbers", "the file is damaged")
        if tensor.is_floating_point():
            tensor = tensor.float()
            if not torch.isfinite(tensor).all():
                raise CheckpointError(
                    f"{path}: {name} holds NaN or infinite values", "the training that wrote it diverged"
                )
        whole[name] = tensor
    return whole


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fill(module: nn.Module, state: State, source: str) -> None:
    """Loads a state strictly; all that is missing, left over or of another shape goes into one sentence.

    Raises:
        CheckpointError: the names or shapes differ from the module's.
    """
    own = module.state_dict()
    complaints = [f"lacks {name}" for name in own if name not in state]
    complaints += [f"has an unexpected {name}" for name in state if name not in own]
    complaints += [
        f"has {name} of shape {tuple(state[name].shape)} where {tuple(own[name].shape)} belongs"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if complaints:
        more = f", and {len(complaints) - 3} more such" if len(complaints) > 3 else ""
        raise CheckpointError(f"{source} {', '.join(complaints[:3])}{more}")
    module.load_state_dict(state)


@dataclass(frozen=True)
class Finetuned:
    """A fine-tuned network from a file.

    Attributes:
        format: `OWN` for files of `save_finetuned`, else the name of the official format.
        backbone: the backbone's weights; in this project's names where the format is `OWN`.
        head: the head's weights, in the file's own names without `head.`; see `croco_bench.heads` for those of others.
        metadata: what `save_finetuned` was given, and what `load_backbone` needs; values that were JSON are parsed. Of
            official files, the arguments of their training that are plain values.
    """

    format: str
    backbone: State
    head: State
    metadata: Mapping[str, Any]


def as_finetuned(raw: RawCheckpoint) -> Finetuned | None:
    """Backbone and head of a fine-tuned file of this project, of CroCo-Flow or of CroCo-Stereo; None for any other."""
    if raw.extras.get("format") == OWN:
        return Finetuned(OWN, _below(raw.state, "backbone."), _below(raw.state, "head."), raw.extras)
    head = _below(raw.state, "head.")
    if head and FINETUNED.matches(frozenset(raw.state)):
        backbone = {name: tensor for name, tensor in raw.state.items() if not name.startswith("head.")}
        return Finetuned(FINETUNED.name, backbone, head, _plain_arguments(raw.extras.get("args")))
    return None


def _plain_arguments(args: object) -> dict[str, Any]:
    """The arguments that are words, numbers, or lists of them."""

    def plain(value: object) -> bool:
        if isinstance(value, list | tuple):
            return all(plain(item) for item in value)
        return value is None or isinstance(value, str | int | float)

    found = vars(args) if isinstance(args, argparse.Namespace) else {}
    return {str(name): value for name, value in found.items() if plain(value)}


def read_finetuned(path: Path) -> Finetuned | None:
    """See `as_finetuned`; reads the file first."""
    return as_finetuned(read_checkpoint(path))


def _below(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def save_finetuned(path: Path, backbone: Backbone, head: nn.Module, metadata: Mapping[str, str]) -> None:
    """Writes backbone and head into one `.safetensors` file, atomically, with what rebuilds the backbone.

    Raises:
        RecordError: the file can't be written; whatever stood there is untouched.
    """
    parts: Iterable[tuple[str, nn.Module]] = (("backbone", backbone), ("head", head))
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for part, module in parts
        for name, tensor in module.state_dict().items()
    }
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata={**metadata, **backbone.metadata(), "format": OWN})


def save_backbone(path: Path, backbone: Backbone, metadata: Mapping[str, str]) -> None:
    """Writes a pre-trained backbone alone, in half precision (tables of positions in float32), to be handed on.

    Raises:
        RecordError: the file can't be written; whatever stood there is untouched.
    """
    tensors = {
        f"backbone.{name}": tensor.detach().cpu().to(torch.float32 if name.endswith("positions") else torch.float16)
        for name, tensor in backbone.state_dict().items()
    }
    whole = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    with atomic(path) as temporary:
        save_file(whole, temporary, metadata={**metadata, **backbone.metadata(), "format": PRETRAINED})
