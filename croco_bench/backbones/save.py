"""Writes and reads files of this project: fine-tuned networks (backbone and head), and pre-trained backbones."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from croco_bench.backbones.formats import RawCheckpoint, State, recognize
from croco_bench.backbones.formats.croco import FINETUNED
from croco_bench.backbones.formats.native import EXTRA, OWN, PRETRAINED
from croco_bench.backbones.weights import read_checkpoint
from croco_bench.contracts import Backbone
from croco_bench.files import atomic


@dataclass(frozen=True)
class Finetuned:
    """A fine-tuned network from a file.

    Attributes:
        format: `OWN` for files of `save_finetuned`, else the name of the official format.
        head: the head's weights, with the file's names but without `head.`; see `croco_bench.heads` for official ones.
        metadata: the arguments of `save_finetuned` and the description of the network, JSON parsed; of official files
            the arguments of their training that are plain values.
    """

    format: str
    head: State
    metadata: Mapping[str, Any]

    @property
    def is_native(self) -> bool:
        """Whether `save_finetuned` wrote the file."""
        return self.format == OWN


def read_finetuned(path: Path) -> Finetuned | None:
    """The head of a fine-tuned file of this project, of CroCo-Flow or of CroCo-Stereo; None for any other file.

    Raises:
        CheckpointError: the file can't be read.
    """
    found, raw = recognize(read_checkpoint(path))
    head = {name.removeprefix("head."): tensor for name, tensor in raw.state.items() if name.startswith("head.")}
    if found.name == OWN:
        return Finetuned(OWN, head, raw.extras)
    return Finetuned(found.name, head, _plain_arguments(raw)) if found is FINETUNED and head else None


def _plain_arguments(raw: RawCheckpoint) -> dict[str, Any]:
    """The training arguments that are strings, numbers, or lists of them."""

    def plain(value: object) -> bool:
        if isinstance(value, list | tuple):
            return all(plain(item) for item in value)
        return value is None or isinstance(value, str | int | float)

    args = raw.extras.get("args")
    arguments = vars(args) if isinstance(args, argparse.Namespace) else {}
    return {str(name): value for name, value in arguments.items() if plain(value)}


def save_finetuned(path: Path, backbone: Backbone, head: nn.Module, metadata: Mapping[str, str]) -> None:
    """Writes backbone, head and the description of the backbone into one `.safetensors` file, atomically.

    Raises:
        RecordError: the file can't be written; an earlier file at `path` is untouched.
    """
    parts: Iterable[tuple[str, nn.Module]] = (("backbone", backbone), ("head", head))
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for part, module in parts
        for name, tensor in module.state_dict().items()
    }
    with atomic(path) as temporary:
        _save(tensors, temporary, {**metadata, **backbone.metadata(), "format": OWN})


def save_backbone(
    path: Path, backbone: Backbone, metadata: Mapping[str, str], extra: Mapping[str, Tensor] = MappingProxyType({})
) -> None:
    """Writes a pre-trained backbone in half precision, for sharing; position tables stay in float32.

    Args:
        path: of the `.safetensors` file.
        backbone: the network.
        metadata: about its pre-training.
        extra: weights that only pre-training needs, under official names; loading the backbone leaves them out.

    Raises:
        RecordError: the file can't be written; an earlier file at `path` is untouched.
    """
    tensors = {
        f"backbone.{name}": tensor.detach().cpu().to(torch.float32 if name.endswith("positions") else torch.float16)
        for name, tensor in backbone.state_dict().items()
    }
    tensors |= {f"{EXTRA}{name}": tensor.detach().cpu().to(torch.float16) for name, tensor in extra.items()}
    contiguous = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    with atomic(path) as temporary:
        _save(contiguous, temporary, {**metadata, **backbone.metadata(), "format": PRETRAINED})


def _save(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Writes a `.safetensors` file. Equal content gives equal bytes: the library's order of metadata is another each time."""
    save_file(dict(tensors), path, metadata=dict(metadata))
    with path.open("r+b") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
        header["__metadata__"] = dict(sorted(metadata.items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= size, "longer than the library's header: it would overwrite the first tensor"
        stream.seek(8)
        stream.write(text.ljust(size))  # the same characters in another order, with spaces up to the first tensor
