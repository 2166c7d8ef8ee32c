"""Reads weight files. No code in a file is ever run."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from croco_bench.backbones.formats import RawCheckpoint, State
from croco_bench.backbones.formats.wrappers import unpack
from croco_bench.backbones.parts import METADATA, check_whole, parts_of, weights_in
from croco_bench.backbones.pickles import read_torch
from croco_bench.errors import CheckpointError, UsageError
from croco_bench.files import parse_json


def read_checkpoint(path: Path, entry: str | None = None) -> RawCheckpoint:
    """The content of a torch or safetensors file, of an index of several, or of a folder with one of them or with a
    distributed checkpoint.

    The kind is recognised from the first bytes.

    Args:
        path: the file or folder.
        entry: which state dict of the file to read, `model_ema` for instance; default: see `formats.wrappers`.

    Raises:
        CheckpointError: the file is missing, damaged, no checkpoint, or would run code.
        UsageError: the file has no such entry.
    """
    try:
        if (path / METADATA).is_file():
            return _read_distributed(path, entry)
        if path.is_dir():
            path = weights_in(path)
        head = _first_bytes(path)
        if head.lstrip().startswith(b"{") and b"\0" not in head:  # JSON; safetensors may begin with this byte, too
            return _read_parts(path, entry)
        check_whole(path)
        state, extras, notes = _read_file(path, head, entry)
        return RawCheckpoint(str(path), _checked(state, path), extras, _sha256(path), tuple(notes))
    except OSError as error:
        raise CheckpointError(
            f"{path} can't be read: {error.strerror or error}", "check the path and its permissions"
        ) from error


def _read_distributed(folder: Path, entry: str | None) -> RawCheckpoint:
    # torch's own module takes a second to import, and few checkpoints need it.
    from croco_bench.backbones.distributed import files_of, read_distributed

    state, _, notes = unpack(read_distributed(folder), folder, entry)
    digest = hashlib.sha256()
    for path in files_of(folder):
        digest.update(bytes.fromhex(_sha256(path)))
    return RawCheckpoint(str(folder), _checked(state, folder), {}, digest.hexdigest(), tuple(notes))


def _read_parts(index: Path, entry: str | None) -> RawCheckpoint:
    """All parts of an index as one checkpoint; its hash is that of the parts' hashes."""
    parts = parts_of(index)
    state: State = {}
    digest = hashlib.sha256()
    for path in parts:
        state |= _read_file(path, _first_bytes(path), entry)[0]
        digest.update(bytes.fromhex(_sha256(path)))
    return RawCheckpoint(str(index), _checked(state, index), {}, digest.hexdigest())


def _read_file(path: Path, head: bytes, entry: str | None) -> tuple[State, dict[str, Any], list[str]]:
    """State, everything else, notes."""
    if len(head) >= 9 and head[8:9] == b"{":
        if entry is not None:
            raise UsageError(f"{path} has one state dict only", "leave backbone.state out")
        return *_read_safetensors(path), []
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return unpack(read_torch(path), path, entry)
    raise CheckpointError(f"{path} {_what_else(head)}")


def _first_bytes(path: Path) -> bytes:
    if not path.exists():
        folder = path.parent
        names = [item.name for item in folder.iterdir()] if folder.is_dir() else []
        near = difflib.get_close_matches(path.name, names, n=1)
        hint = f"did you mean {folder / near[0]}?" if near else "check the path"
        raise CheckpointError(f"there is no file {path}", f"{hint}")
    with path.open("rb") as stream:
        return stream.read(512)


# How files of other programs begin, and what to do with them.
_FOREIGN = {
    b"\x89HDF": "is an HDF5 file, as Keras writes; convert it to .safetensors",
    b"\x1f\x8b": "is compressed with gzip; unpack it",
    b"BZh": "is compressed with bzip2; unpack it",
    b"\xfd7zXZ": "is compressed with xz; unpack it",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd; unpack it",
    b"\x93NUMPY": "is an array of numpy; expected a state dict in .pth, .pt or .safetensors",
    b"GGUF": "is a GGUF file; convert it to .safetensors",
}


def _what_else(head: bytes) -> str:
    """A guess at the kind of a file that is no checkpoint, and advice."""
    text = head.lstrip().lower()
    if not head:
        return "is empty; download it again"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not a checkpoint; the download link led to a page: fetch the file itself"
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights; run git lfs pull"
    if b"/annex/objects/" in text:
        return "is a git-annex pointer, not the weights; run git annex get"
    if (known := next((one for one in _FOREIGN if head.startswith(one)), None)) is not None:
        return _FOREIGN[known]
    if head[257:262] == b"ustar":
        return (
            "is a tar archive; unpack it. If torch before 0.1.10 wrote it, reading it would run code: convert it to "
            ".safetensors where you trust it"
        )
    return "is neither a torch nor a safetensors file; expected .pth, .pt or .safetensors content"


def _read_safetensors(path: Path) -> tuple[State, dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            return {name: stream.get_tensor(name) for name in stream.keys()}, _parse_metadata(metadata)  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is truncated or damaged ({error})", "download it again") from error


def _parse_metadata(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Metadata with JSON objects and lists parsed; other values stay strings."""
    return {key: parse_json(text) if text.startswith(("{", "[")) else text for key, text in metadata.items()}


def _checked(state: State, path: Path) -> State:
    """Floating-point tensors as float32; refuses values that aren't finite and unusual kinds of tensors."""
    checked = {}
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_complex() or tensor.is_quantized or tensor.is_meta:
            raise CheckpointError(f"{path}: {name} should be a plain tensor of real numbers", "save it as one")
    _require_stored(state, path)
    for name, tensor in state.items():
        if tensor.is_floating_point():
            tensor = tensor.float()
            if not torch.isfinite(tensor).all():
                raise CheckpointError(
                    f"{path}: {name} holds NaN or infinite values",
                    "the training that wrote it diverged, or a conversion to half precision overflowed",
                )
        checked[name] = tensor
    matrices = [tensor for tensor in checked.values() if tensor.ndim > 1]
    if matrices and not any(tensor.any() for tensor in matrices):
        raise CheckpointError(
            f"{path}: all weights are zero", "name another state dict of the file with backbone.state"
        )
    return checked


# Tensors may share memory, as tied weights do, and be stored in a fourth of the bytes that float32 takes.
_MOST_SHARED, _SMALL = 16, 2**26


def _require_stored(state: State, path: Path) -> None:
    """Refuses tensors that would take much more memory than they are stored in: a file can repeat one number at will."""
    stored = {(part := tensor.untyped_storage()).data_ptr(): part.nbytes() for tensor in state.values()}
    size, held = 4 * sum(tensor.numel() for tensor in state.values()), sum(stored.values())
    if size > _MOST_SHARED * held + _SMALL:
        raise CheckpointError(
            f"{path}: its tensors have {size:,} bytes, but share {held:,}", "save contiguous copies of them"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fill(module: nn.Module, state: State, source: str) -> None:
    """Loads a state strictly.

    Raises:
        CheckpointError: names or shapes differ from the module's; one sentence lists the differences.
    """
    require_same(module, state, source)
    module.load_state_dict(state)


def require_same(module: nn.Module, state: State, source: str) -> None:
    """Refuses a state that doesn't fit a module, which may have no memory yet; errors as `fill`."""
    complaints = differences(module.state_dict(), state)
    if complaints:
        more = f", and {len(complaints) - 3} more such" if len(complaints) > 3 else ""
        raise CheckpointError(f"{source} {', '.join(complaints[:3])}{more}")


def differences(own: State, state: State) -> list[str]:
    """What a state lacks, has too much, or has in another shape than a module's `own`."""
    lacking = [f"lacks {name}" for name in own if name not in state]
    unexpected = [f"has an unexpected {name}" for name in state if name not in own]
    misshapen = [
        f"has {name} of shape {tuple(state[name].shape)} where {tuple(own[name].shape)} belongs"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    return [*lacking, *unexpected, *misshapen]
