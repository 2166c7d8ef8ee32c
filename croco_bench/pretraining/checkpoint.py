"""Weights of a checkpoint that only pre-training needs: mask token, prediction head, MAE's decoder, MultiMAE's adapters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from croco_bench.backbones.formats import RawCheckpoint, State, recognize
from croco_bench.backbones.formats.facts import Facts
from croco_bench.backbones.formats.native import EXTRA
from croco_bench.backbones.locate import locate, parse_source
from croco_bench.backbones.networks.architecture import Architecture
from croco_bench.backbones.networks.facts import BackboneFacts
from croco_bench.backbones.weights import read_checkpoint
from croco_bench.files import parse_json
from croco_bench.types import Size


@dataclass(frozen=True)
class PretrainingFile:
    """What a checkpoint says beyond its backbone.

    Attributes:
        weights: all tensors of the file under the official names of those outside the backbone.
        image_size: (H, W) that it was pre-trained at; None if the file doesn't say it.
        settings: of its pre-training, where this project made it.
        sha256: of the file; None without one.
    """

    weights: State
    image_size: Size | None
    settings: Mapping[str, Any]
    sha256: str | None


def read_pretraining(ckpt: str) -> PretrainingFile:
    """Reads a checkpoint as `load_backbone` names it; without a file (`timm:`, `random:`) there is nothing.

    Raises:
        CheckpointError: the file can't be read.
    """
    source = parse_source(ckpt)
    if source.kind not in ("file", "url", "hub", "zoo"):
        return PretrainingFile({}, None, {}, None)
    path, _ = locate(source)
    found, raw = recognize(read_checkpoint(path))
    network = found.read(raw, Facts(BackboneFacts(), {})).network
    size = None
    if isinstance(network, Architecture):
        size = network.grid[0] * network.patch_size, network.grid[1] * network.patch_size
    own = {name.removeprefix(EXTRA): tensor for name, tensor in raw.state.items() if name.startswith(EXTRA)}
    return PretrainingFile(own or dict(raw.state), size, _settings(raw), raw.sha256)


def _settings(raw: RawCheckpoint) -> Mapping[str, Any]:
    """Settings of the pre-training in the metadata of this project's files."""
    facts = raw.extras.get("pretraining")
    try:
        facts = parse_json(facts) if isinstance(facts, str) else facts
    except ValueError:
        return {}
    settings = facts.get("settings") if isinstance(facts, Mapping) else None
    return settings if isinstance(settings, Mapping) else {}
