"""Writes a backbone as its authors' own code would: files that croco, mae and MultiMAE can load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from croco_bench.backbones.croco import CroCo
from croco_bench.backbones.vit import ViT
from croco_bench.errors import FitError
from croco_bench.files import atomic


def write_official(backbone: ViT, path: Path) -> None:
    """One `.pth` file in the format of the backbone's family.

    What belongs to pre-training only (mask token, prediction head) is written as zeros, so that strict loaders find it.

    Raises:
        FitError: there is no official format for this family.
    """
    if isinstance(backbone, CroCo) and backbone.binocular:
        content = _croco(backbone)
    elif backbone.family == "mae":
        content = {"model": _mae(backbone)}
    elif backbone.family == "multimae":
        content = {"model": _multimae(backbone)}
    elif backbone.family == "vit":
        content = _vit(backbone)
    else:
        raise FitError(f"{backbone.name} has no decoder left, so it can't be written as a CroCo file")
    with atomic(path) as temporary:
        torch.save(content, temporary)


def _renamed(backbone: ViT, names: dict[str, str]) -> dict[str, Tensor]:
    """The state with the beginnings of its names replaced; tables and prefixes are left to the caller."""
    state = {}
    for name, tensor in backbone.state_dict().items():
        part, dot, rest = name.partition(".")
        if dot:
            state[f"{names.get(part, part)}.{rest}"] = tensor.detach().clone()
    return state


def _croco(backbone: CroCo) -> dict[str, Any]:
    plan, decoder = backbone.architecture, backbone.architecture.decoder
    assert decoder is not None
    state = _renamed(backbone, {"patch_embed": "patch_embed.proj", "blocks": "enc_blocks", "norm": "enc_norm"})
    state["mask_token"] = torch.zeros(1, 1, decoder.width)
    state["prediction_head.weight"] = torch.zeros(3 * plan.patch_size**2, decoder.width)
    state["prediction_head.bias"] = torch.zeros(3 * plan.patch_size**2)
    if backbone.positions is not None and backbone.dec_positions is not None:
        state["enc_pos_embed"], state["dec_pos_embed"] = backbone.positions.clone(), backbone.dec_positions.clone()
    kwargs = {
        "img_size": backbone.image_size[0] if len(set(backbone.image_size)) == 1 else tuple(backbone.image_size),
        "patch_size": plan.patch_size,
        "enc_embed_dim": plan.width,
        "enc_depth": plan.depth,
        "enc_num_heads": plan.heads,
        "dec_embed_dim": decoder.width,
        "dec_depth": decoder.depth,
        "dec_num_heads": decoder.heads,
        "mlp_ratio": plan.hidden / plan.width,
        "norm_im2_in_dec": decoder.norm_memory,
        "pos_embed": f"RoPE{plan.rope_base:g}" if plan.positions == "rope" else "cosine",
    }
    return {"model": state, "croco_kwargs": kwargs}


def _vit(backbone: ViT) -> dict[str, Tensor]:
    """timm's plain names. The class token carries its position already, so its row of the table is zero."""
    assert backbone.positions is not None
    state = _renamed(backbone, {"patch_embed": "patch_embed.proj"})
    table = backbone.positions.detach()
    if backbone.prefix is not None:
        state["cls_token"] = backbone.prefix.detach().clone()
        table = torch.cat([torch.zeros(1, table.shape[1]), table])
    state["pos_embed"] = table[None].clone()
    return state


def _mae(backbone: ViT) -> dict[str, Tensor]:
    width = backbone.embed_dim
    decoder = {
        "mask_token": torch.zeros(1, 1, width),
        "decoder_embed.weight": torch.zeros(width, width),
        "decoder_embed.bias": torch.zeros(width),
    }
    return {**_vit(backbone), **decoder}


def _multimae(backbone: ViT) -> dict[str, Tensor]:
    assert backbone.prefix is not None and backbone.positions is not None
    state = _renamed(backbone, {"patch_embed": "input_adapters.rgb.proj", "blocks": "encoder"})
    state["global_tokens"] = backbone.prefix.detach().clone()
    state["input_adapters.rgb.pos_emb"] = backbone.positions.detach().T.reshape(1, -1, *backbone.grid).clone()
    return state
