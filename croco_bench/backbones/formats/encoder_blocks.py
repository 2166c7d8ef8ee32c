"""Reads encoder blocks in timm's and DINO's names, with whatever parts they have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from croco_bench.backbones.formats.names import Names
from croco_bench.backbones.networks.architecture import ProjectionBias
from croco_bench.errors import CheckpointError


def rotate_by_quarters(names: Names, heads: int) -> None:
    """Reorders channels of queries and keys that were taken from DINO's order of rotary channels to CroCo's.

    DINO rotates channel j of a head together with channel j + head_dim/2, by the row in the first and third quarter of the
    channels; here, rows rotate the first two quarters. Products of queries and keys don't depend on the order.
    """
    for name, tensor in names.out.items():
        if ".attn.qkv." in name and len(tensor) % (12 * heads) == 0:
            parts = tensor.reshape(3, heads, 4, len(tensor) // (12 * heads), *tensor.shape[1:])
            query_key = parts[:2][:, :, [0, 2, 1, 3]]
            names.out[name] = torch.cat([query_key, parts[2:]]).reshape(tensor.shape)


def take_encoder_blocks(names: Names, prefix: str = "blocks") -> dict[str, Any]:
    """Takes all blocks `<prefix>.<k>` of an encoder; returns fields of its `Architecture`.

    Every block must have the parts of the first one.
    """
    depth = names.depth(prefix)
    first = f"{prefix}.0"
    options = {
        "layer_scale": names.has(f"{first}.ls1."),
        "qk_norm": names.has(f"{first}.attn.q_norm."),
        "qkv_bias": _qkv_bias(names, first),
        **_mlp_options(names, first),
    }
    for index in range(depth):
        _take_block(names, f"{prefix}.{index}", f"blocks.{index}", options)
    return {"depth": depth, **options}


def _qkv_bias(names: Names, block: str) -> ProjectionBias:
    if names.has(f"{block}.attn.qkv.bias_mask") or names.has(f"{block}.attn.q_bias"):
        return "no keys"
    return "all" if names.has(f"{block}.attn.qkv.bias") else "none"


def _mlp_options(names: Names, block: str) -> dict[str, Any]:
    """Whether the MLP is gated, and its width, which is that of the second layer's input."""
    if names.has(f"{block}.mlp.w3."):  # SwiGLU with DINO's names
        _, hidden = names.shape(f"{block}.mlp.w3.weight", "width, hidden")
        return {"gated": True, "hidden": hidden}
    rows, _ = names.shape(f"{block}.mlp.fc1.weight", "hidden, width")
    _, hidden = names.shape(f"{block}.mlp.fc2.weight", "width, hidden")
    gated = rows == 2 * hidden
    return {"gated": gated, "hidden": hidden if gated else rows}


def _take_block(names: Names, name: str, new: str, options: dict[str, Any]) -> None:
    for part in ("norm1", "norm2", "attn.proj"):
        names.take_layer(f"{name}.{part}", f"{new}.{part}")
    names.take(f"{name}.attn.qkv.weight", f"{new}.attn.qkv.weight")
    if options["qkv_bias"] == "all":
        names.take(f"{name}.attn.qkv.bias", f"{new}.attn.qkv.bias")
    elif options["qkv_bias"] == "no keys":
        names.out[f"{new}.attn.qkv.bias"] = _bias_without_keys(names, f"{name}.attn")
    if options["qk_norm"]:
        names.take_layer(f"{name}.attn.q_norm", f"{new}.attn.q_norm")
        names.take_layer(f"{name}.attn.k_norm", f"{new}.attn.k_norm")
    if options["layer_scale"]:
        for part in ("ls1.gamma", "ls2.gamma"):
            names.take(f"{name}.{part}", f"{new}.{part}")
    _take_mlp(names, f"{name}.mlp", f"{new}.mlp")


def _bias_without_keys(names: Names, name: str) -> Tensor:
    """The bias of the joint projection, zero for keys: from those of queries and values, or from all and their mask."""
    if names.has(f"{name}.q_bias"):
        query, value = names.pop(f"{name}.q_bias"), names.pop(f"{name}.v_bias")
        return torch.cat([query, torch.zeros_like(query), value])
    bias, mask = names.pop(f"{name}.qkv.bias"), names.pop(f"{name}.qkv.bias_mask")
    if bias.shape != mask.shape or bias.ndim != 1:
        shapes = f"{tuple(bias.shape)} and {tuple(mask.shape)}"
        raise CheckpointError(f"{names.source}: {name}.qkv.bias and its mask have the shapes {shapes}")
    expected = torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(len(mask) // 3)
    if not torch.equal(mask, expected):
        raise CheckpointError(
            f"{names.source}: {name}.qkv.bias_mask should hide the biases of the keys, and only those"
        )
    return bias * mask


def _take_mlp(names: Names, name: str, new: str) -> None:
    """Takes both layers; those of SwiGLU, in one tensor or in two, as `fc1` (gate, then values) and `fc2`."""
    if names.has(f"{name}.w12."):
        names.take_layer(f"{name}.w12", f"{new}.fc1")
        names.take_layer(f"{name}.w3", f"{new}.fc2")
    elif names.has(f"{name}.w3."):
        for kind in ("weight", "bias"):
            halves: list[Tensor] = [names.pop(f"{name}.{part}.{kind}") for part in ("w1", "w2")]
            names.out[f"{new}.fc1.{kind}"] = torch.cat(halves)
        names.take_layer(f"{name}.w3", f"{new}.fc2")
    else:
        names.take_layer(f"{name}.fc1", f"{new}.fc1")
        names.take_layer(f"{name}.fc2", f"{new}.fc2")
