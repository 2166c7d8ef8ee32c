"""Writes backbones in the official formats, for the authors' code of CroCo, MAE and MultiMAE."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from croco_bench.backbones.networks.architecture import IMAGENET
from croco_bench.backbones.networks.blocks import Block
from croco_bench.backbones.networks.croco import CroCo
from croco_bench.backbones.networks.position_tables import sincos
from croco_bench.backbones.networks.vit import ViT
from croco_bench.errors import FitError
from croco_bench.files import atomic

State = dict[str, Tensor]
# Constructor arguments of CroCo's first release; files without arguments mean these.
CROCO_DEFAULTS = {
    **{"img_size": 224, "patch_size": 16, "mlp_ratio": 4.0, "norm_im2_in_dec": True, "pos_embed": "cosine"},
    **{"enc_embed_dim": 768, "enc_depth": 12, "enc_num_heads": 12},
    **{"dec_embed_dim": 512, "dec_depth": 8, "dec_num_heads": 16},
}


def write_official(backbone: ViT, path: Path, pretraining: Mapping[str, Tensor] = MappingProxyType({})) -> None:
    """Writes one `.pth` file in the format of the backbone's family, atomically.

    Args:
        backbone: a network of this project.
        path: of the file.
        pretraining: weights that only pre-training needs (mask token, prediction head, MAE's decoder), with official
            names. Missing ones are random, so that strict loaders find every name.

    Raises:
        FitError: the official format can't describe this network.
        RecordError: the file can't be written.
    """
    pretraining = {name: _copied(tensor) for name, tensor in pretraining.items()}
    if backbone.family == "croco":
        content = _croco(backbone, pretraining)
    elif backbone.family == "mae":
        content = {"model": {**_vit(backbone), **(pretraining or _mae_decoder(backbone))}, **_heads(backbone)}
    elif backbone.family == "multimae":
        content = {"model": {**_multimae(backbone), **pretraining}, **_heads(backbone)}
    else:
        content = _vit(backbone)
    # To an open file: given a path, torch writes the temporary name into the archive, and equal weights differ.
    with atomic(path) as temporary, temporary.open("wb") as stream:
        torch.save(content, stream)


def _renamed(backbone: ViT, names: Mapping[str, str]) -> State:
    """The state with the first part of its names replaced; position tables and prefix tokens are left out."""
    state = {}
    for name, tensor in backbone.state_dict().items():
        part, dot, rest = name.partition(".")
        if dot:
            state[f"{names.get(part, part)}.{rest}"] = _copied(tensor)
    return state


def _copied(tensor: Tensor) -> Tensor:
    """A copy on the CPU: a file written on a GPU is read on machines without one."""
    return tensor.detach().to("cpu", copy=True)


def _random(*shape: int) -> Tensor:
    return 0.02 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _croco(backbone: ViT, pretraining: Mapping[str, Tensor]) -> dict[str, Any]:
    decoder = backbone.architecture.decoder
    if not isinstance(backbone, CroCo) or decoder is None:
        raise FitError(f"{backbone.name} has no decoder, so it can't be written as a CroCo file")
    if decoder.memory != "fixed":
        raise FitError(f"{backbone.name} takes both views through its decoder, which CroCo's code doesn't")
    if (backbone.mean, backbone.std) != IMAGENET:
        raise FitError(f"{backbone.name} isn't normalised as CroCo is, which a CroCo file can't say")
    state = _renamed(backbone, {"patch_embed": "patch_embed.proj", "blocks": "enc_blocks", "norm": "enc_norm"})
    values = 3 * backbone.patch_size**2
    state["mask_token"] = _random(1, 1, decoder.width)
    state["prediction_head.weight"], state["prediction_head.bias"] = _random(values, decoder.width), torch.zeros(values)
    if backbone.positions is not None and backbone.dec_positions is not None:
        state["enc_pos_embed"], state["dec_pos_embed"] = _copied(backbone.positions), _copied(backbone.dec_positions)
    kwargs = croco_arguments(backbone)
    content: dict[str, Any] = {"model": {**state, **pretraining}}
    return content if kwargs == CROCO_DEFAULTS else {**content, "croco_kwargs": kwargs}


def croco_arguments(backbone: CroCo) -> dict[str, Any]:
    """Constructor arguments of this network in CroCo's code (`croco_kwargs` in its files)."""
    plan, decoder = backbone.architecture, backbone.architecture.decoder
    if decoder is None:
        raise FitError(f"{backbone.name} has no decoder, so CroCo's code can't build it")
    height, width = backbone.image_size
    return {
        **({"dec_block": "cat"} if decoder.kind == "cat" else {}),  # CroCo's own code has cross blocks only
        "img_size": height if height == width else (height, width),
        "patch_size": plan.patch_size,
        "mlp_ratio": plan.hidden / plan.width,
        "norm_im2_in_dec": decoder.norm_memory,
        "pos_embed": f"RoPE{plan.rope_base:g}" if plan.positions == "rope" else "cosine",
        "enc_embed_dim": plan.width,
        "enc_depth": plan.depth,
        "enc_num_heads": plan.heads,
        "dec_embed_dim": decoder.width,
        "dec_depth": decoder.depth,
        "dec_num_heads": decoder.heads,
    }


def _heads(backbone: ViT) -> dict[str, int]:
    """An extra entry of MAE's and MultiMAE's files, which otherwise don't say the number of heads."""
    return {"num_heads": backbone.architecture.heads}


def _vit(backbone: ViT) -> State:
    """The state in timm's names. The class token includes its position, so its row of the table is zero."""
    if backbone.architecture.prefix_tokens > 1:
        raise FitError(f"{backbone.name} has several prefix tokens, for which {backbone.family} files have no place")
    if backbone.positions is None or backbone.grid[0] != backbone.grid[1]:
        raise FitError(
            f"{backbone.name} can't be written as a {backbone.family} file: that needs a square position table"
        )
    state = _renamed(backbone, {"patch_embed": "patch_embed.proj"})
    table = _copied(backbone.positions)
    if backbone.prefix is not None:
        state["cls_token"] = _copied(backbone.prefix)
        table = torch.cat([torch.zeros(1, table.shape[1]), table])
    return {**state, "pos_embed": table[None]}


def _mae_decoder(backbone: ViT) -> State:
    """MAE's decoder with random weights: width 512 and 8 blocks for encoders as wide as the published ones, else smaller."""
    width, depth, heads = (512, 8, 16) if backbone.embed_dim >= 768 else (96, 3, 3)
    values = 3 * backbone.patch_size**2
    table = torch.cat([torch.zeros(1, width), sincos(width, backbone.grid)])
    state = {
        "mask_token": _random(1, 1, width),
        "decoder_pos_embed": table[None],
        "decoder_embed.weight": _random(width, backbone.embed_dim),
        "decoder_embed.bias": torch.zeros(width),
        "decoder_norm.weight": torch.ones(width),
        "decoder_norm.bias": torch.zeros(width),
        "decoder_pred.weight": _random(values, width),
        "decoder_pred.bias": torch.zeros(values),
    }
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Block(width, heads, 4 * width).state_dict().items()}
    for name, shape in shapes.items():
        neutral = torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
        for index in range(depth):
            state[f"decoder_blocks.{index}.{name}"] = _random(*shape) if len(shape) == 2 else neutral.clone()
    return state


def _multimae(backbone: ViT) -> State:
    if backbone.positions is None or backbone.prefix is None:
        raise FitError(f"{backbone.name} lacks the global token and position table of a MultiMAE file")
    state = _renamed(backbone, {"patch_embed": "input_adapters.rgb.proj", "blocks": "encoder"})
    state["global_tokens"] = _copied(backbone.prefix)
    state["input_adapters.rgb.pos_emb"] = _copied(backbone.positions).T.reshape(1, -1, *backbone.grid).contiguous()
    return state
