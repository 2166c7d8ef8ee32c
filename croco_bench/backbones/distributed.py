"""Folders of torch's distributed checkpoints (FSDP): `.metadata` and files `*.distcp`. Nothing in them is run."""

from __future__ import annotations

import io
import pickle
from pathlib import Path, PosixPath, PurePosixPath
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint import filesystem, metadata

from croco_bench.backbones.parts import METADATA
from croco_bench.errors import CheckpointError
from croco_bench.files import archive_fault

# Classes in `.metadata`: plain records, and functions of torch that look up a constant by its name.
_ALLOWED: dict[str, Any] = {
    **{
        f"torch.distributed.checkpoint.metadata.{name}": getattr(metadata, name)
        for name in (
            "Metadata",
            "MetadataIndex",
            "TensorStorageMetadata",
            "BytesStorageMetadata",
            "ChunkStorageMetadata",
            "TensorProperties",
            "StorageMeta",
            "_MEM_FORMAT_ENCODING",
        )
    },
    "torch.distributed.checkpoint.filesystem._StorageInfo": filesystem._StorageInfo,
    "torch.serialization._get_layout": torch.serialization._get_layout,
    "torch.Size": torch.Size,
    "pathlib.PosixPath": PosixPath,
    "pathlib.PurePosixPath": PurePosixPath,
    **{
        f"torch.{name}": getattr(torch, name)
        for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
    },
}


class _Unpickler(pickle._Unpickler):  # in Python: that in C takes memory for as many objects as a file numbers
    def find_class(self, module: str, name: str) -> Any:
        """The class; `UnpicklingError` for all that aren't allowed."""
        if (found := _ALLOWED.get(f"{module}.{name}")) is None:
            raise pickle.UnpicklingError(f"{module}.{name} isn't allowed")
        return found


def files_of(folder: Path) -> list[Path]:
    """The files of a distributed checkpoint, sorted; the description is the first."""
    return [folder / METADATA, *sorted(folder.glob("*.distcp"))]


def read_distributed(folder: Path) -> dict[str, Any]:
    """Tensors by name, nested as they were saved: {"model": {"a.weight": ...}}. Other values are left out.

    Raises:
        CheckpointError: the folder is damaged or incomplete, or would run code.
        OSError: a file can't be read.
    """
    try:
        described = _Unpickler(io.BytesIO((folder / METADATA).read_bytes())).load()
        content: dict[str, Any] = {}
        for name, plan in described.state_dict_metadata.items():
            if isinstance(plan, metadata.TensorStorageMetadata):
                parts = [str(part) for part in (described.planner_data or {}).get(name, (name,))]
                _put(content, parts, _tensor(folder, name, plan, described.storage_data))
        return content
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} lacks {Path(str(error.filename)).name}, a part of its checkpoint", "copy all of its files"
        ) from error
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        if "isn't allowed" in str(error):
            raise CheckpointError(
                f"{folder / METADATA} wants to run code on loading, which is refused: {error}"
            ) from error
        raise CheckpointError(f"{folder} is truncated or damaged", "copy or download it again") from error


def _tensor(folder: Path, name: str, plan: metadata.TensorStorageMetadata, storage: dict[Any, Any]) -> Tensor:
    """One tensor, put together from its chunks."""
    parts = [(index, info) for index, info in storage.items() if index.fqn == name]
    size, dtype = torch.Size(plan.size), plan.properties.dtype
    if size.numel() * dtype.itemsize > sum(info.length for _, info in parts):
        raise ValueError(f"{name} is larger than what is stored of it")
    whole = torch.empty(size, dtype=dtype)
    filled = 0
    for index, info in parts:
        chunk = _chunk(folder, info)
        offsets = index.offset or (0,) * whole.ndim
        whole[tuple(slice(start, start + size) for start, size in zip(offsets, chunk.shape, strict=True))] = chunk
        filled += chunk.numel()
    if filled != whole.numel():
        raise ValueError(f"{name} has {whole.numel()} values, but its chunks have {filled}")
    return whole


def _chunk(folder: Path, info: Any) -> Tensor:
    file = folder / Path(info.relative_path).name
    with file.open("rb") as stream:
        stream.seek(info.offset)
        content = io.BytesIO(stream.read(min(info.length, file.stat().st_size)))
    if fault := archive_fault(content):
        raise ValueError(fault)
    content.seek(0)
    chunk: Tensor = torch.load(content, map_location="cpu", weights_only=True)
    return chunk


def _put(content: dict[str, Any], parts: list[str], tensor: Tensor) -> None:
    for part in parts[:-1]:
        content = content.setdefault(part, {})
    content[parts[-1]] = tensor
