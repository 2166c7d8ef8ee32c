"""Targets: files of weights."""

from __future__ import annotations

import argparse
import io
import json
import struct
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors.torch import save as to_safetensors
from torch import Tensor
from torch.distributed.checkpoint.state_dict_saver import save as save_distributed

from croco_bench import load_backbone
from croco_bench.backbones.networks.architecture import ARCHITECTURES, Decoder
from croco_bench.backbones.networks.croco import CroCo
from croco_bench.backbones.save import read_finetuned, save_backbone, save_finetuned
from croco_bench.contracts import Origin
from tests.fuzz.damage import ODD_VALUES, damaged_bytes, damaged_json
from tests.fuzz.target import Target, of_file, of_folder

_PTH, _SAFE = ".pth", ".safetensors"
_SIZE = 32
_CONFIG = {"hidden_size": 48, "num_attention_heads": 3, "patch_size": 8, "layer_norm_eps": 1e-6, "hidden_act": "gelu"}
_ODD_TENSORS: list[Any] = [
    *(torch.zeros(0), torch.tensor(1.0), torch.full((48,), float("nan")), torch.zeros(48, dtype=torch.int64)),
    *(torch.zeros(48, dtype=torch.complex64), torch.zeros(3, 3).to_sparse(), torch.zeros(1, 1).expand(1000, 1000)),
    *(
        torch.zeros(48, dtype=torch.bool),
        torch.ones(2, 3, 4, 5),
        torch.zeros(1).expand(10**6, 10**5),
        "x",
        None,
        {},
        [],
    ),
]


def state_of_vit() -> dict[str, Tensor]:
    """A ViT of two blocks, 48 wide, in timm's names."""
    torch.manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"patch_embed.proj.weight": (48, 3, 8, 8), "patch_embed.proj.bias": (48,)}
    shapes |= {"cls_token": (1, 1, 48), "pos_embed": (1, 17, 48), "norm.weight": (48,), "norm.bias": (48,)}
    for block in range(2):
        for part, rows, columns in (
            ("attn.qkv", 144, 48),
            ("attn.proj", 48, 48),
            ("mlp.fc1", 192, 48),
            ("mlp.fc2", 48, 192),
        ):
            shapes |= {f"blocks.{block}.{part}.weight": (rows, columns), f"blocks.{block}.{part}.bias": (rows,)}
        for part in ("norm1", "norm2"):
            shapes |= {f"blocks.{block}.{part}.weight": (48,), f"blocks.{block}.{part}.bias": (48,)}
    return {name: 0.1 * torch.randn(shape) for name, shape in shapes.items()}


def checkpoints() -> list[Target]:
    """Files of torch.save, of safetensors, folders of both, and distributed checkpoints."""
    content = {"model": state_of_vit(), "epoch": 3, "args": argparse.Namespace(model="x", lr=0.1)}
    pths = {"zip": _saved(content), "protocol 4": _saved(content, pickle_protocol=4)}
    pths["legacy"] = _saved(content, _use_new_zipfile_serialization=False)
    found = [
        of_file(f"{kind} x.pth", _PTH, saved, _loaded, knowable=_is_zip, file="x.pth") for kind, saved in pths.items()
    ]
    found.append(
        of_file("odd content", _PTH, pths["zip"], _loaded, damaged=lambda _: _odd_contents(content), file="x.pth")
    )
    found.append(
        of_folder("distributed", _PTH, partial(_distributed, content), _loaded, lambda _, before: damaged_bytes(before))
    )
    for name, make in (("pre-trained", _pretrained), ("fine-tuned", _finetuned), ("plain", _plain)):
        found.append(of_folder(name, _SAFE, make, _loaded_file, _damaged_safetensors))
    return [*found, of_folder("two parts", _SAFE, _parts, _loaded, _damaged_safetensors)]


def _is_zip(before: bytes, after: bytes) -> bool:
    """Archives have checksums of their members."""
    return before[:2] == b"PK"


def _saved(content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def _loaded(path: Path) -> object:
    """What a run has of a checkpoint: outputs, statistics of images, notes."""
    backbone = load_backbone(path, image_size=_SIZE, name="x")
    images = torch.linspace(-1, 1, 3 * _SIZE * _SIZE).reshape(1, 3, _SIZE, _SIZE)
    with torch.no_grad():
        tokens = backbone.encode(images)
    return [*tokens, backbone.mean, backbone.std, backbone.origin.notes, backbone.origin.license]


def _loaded_file(folder: Path) -> object:
    path = folder / "x.safetensors"
    finetuned = read_finetuned(path)
    return [_loaded(path), finetuned and finetuned.head, finetuned and finetuned.metadata]


def _odd_contents(content: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Sound archives of odd states: other tensors, names that are no text, other kinds of entries."""
    names = list(content["model"])
    change = st.tuples(
        st.sampled_from([*names, "new", 3, None, ("a",), "", "blocks.7.norm1.weight"]), st.sampled_from(_ODD_TENSORS)
    )
    states = st.lists(change, min_size=1, max_size=2).map(lambda pairs: {**content["model"], **dict(pairs)})
    entries = states.map(lambda state: {**content, "model": state})
    others = st.sampled_from(
        [*ODD_VALUES, torch.zeros(3), [torch.zeros(3)], {"model": {"model": {}}}, {"state_dict": None}]
    )
    fewer = st.sets(st.sampled_from(names), min_size=1, max_size=5).map(
        lambda gone: {key: value for key, value in content["model"].items() if key not in gone}
    )
    return st.one_of(entries, states, others, fewer, others.map(lambda one: {**content, "model": one})).map(_saved)


def _distributed(content: dict[str, Any], folder: Path) -> None:
    save_distributed({"model": content["model"]}, checkpoint_id=folder, no_dist=True)


def _network() -> CroCo:
    decoder = Decoder(width=48, depth=1, heads=3, hidden=96)
    plan = replace(ARCHITECTURES["mini-croco"], width=48, depth=2, heads=3, hidden=96, grid=(4, 4), decoder=decoder)
    torch.manual_seed(0)
    network = CroCo(plan, (_SIZE, _SIZE), Origin("x", "random"), "x")
    network.initialize()
    return network


def _pretrained(folder: Path) -> None:
    save_backbone(folder / "x.safetensors", _network(), {"pretraining": json.dumps({"settings": {"mask": 0.9}})})


def _finetuned(folder: Path) -> None:
    head = torch.nn.Linear(48, 3)
    save_finetuned(
        folder / "x.safetensors", _network(), head, {"task": "x", "recipe": "y", "task_state": '{"a": [1.5]}'}
    )


def _plain(folder: Path) -> None:
    (folder / "x.safetensors").write_bytes(to_safetensors(state_of_vit(), metadata={"format": "pt"}))
    (folder / "config.json").write_text(json.dumps(_CONFIG))


def _parts(folder: Path) -> None:
    state = state_of_vit()
    names = list(state)
    parts = {f"model-0000{k + 1}-of-00002.safetensors": names[k::2] for k in range(2)}
    for file, own in parts.items():
        (folder / file).write_bytes(to_safetensors({name: state[name] for name in own}))
    index = {"metadata": {"total_size": 1}, "weight_map": {name: file for file, own in parts.items() for name in own}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _damaged_safetensors(path: Path, content: bytes) -> st.SearchStrategy[bytes]:
    if path.suffix == ".json":
        return damaged_json(json.loads(content))
    size = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    ways = [damaged_bytes(content), damaged_json(header).map(partial(_with_header, data))]
    metadata = header.get("__metadata__", {})
    for key in metadata:
        if metadata[key].startswith("{"):
            inner = damaged_json(json.loads(metadata[key]))
            ways += [inner.map(partial(_with_metadata, header, data, key))] * 2
    return st.one_of(ways)


def _with_header(data: bytes, text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text + data


def _with_metadata(header: dict[str, Any], data: bytes, key: str, text: bytes) -> bytes:
    metadata = {**header["__metadata__"], key: text.decode("utf-8", "replace")}
    return _with_header(data, json.dumps({**header, "__metadata__": metadata}).encode())
