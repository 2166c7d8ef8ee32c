"""Files with timm's names: MAE (pre-trained, fine-tuned, linear probe), MultiMAE's export, plain and DINO ViTs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from croco_bench.backbones.formats import Converted, Format, RawCheckpoint
from croco_bench.backbones.formats.encoder_blocks import take_encoder_blocks
from croco_bench.backbones.formats.multimae import NO_NORM
from croco_bench.backbones.formats.names import Names, encoder_heads, patch_shape, square_grid
from croco_bench.backbones.networks.architecture import IMAGENET, Architecture
from croco_bench.backbones.networks.position_tables import sincos
from croco_bench.errors import CheckpointError

Family = Literal["mae", "multimae", "vit"]
_USUAL = MappingProxyType(
    {"mean": IMAGENET[0], "std": IMAGENET[1], "norm_eps": 1e-6, "activation": "gelu", "resampling": "bicubic"}
)
# Tokens before the patches, in the order in which networks concatenate them.
_PREFIX = ("cls_token", "dist_token", "reg_token", "register_tokens")


def convert_vit(
    names: Names,
    family: Family,
    norm: str | None,
    notes: tuple[str, ...] = (),
    known: Mapping[str, Any] = MappingProxyType({}),
) -> Converted:
    """A ViT in timm's names.

    Args:
        names: tensors of the file.
        family: what `Architecture` calls it.
        norm: name of the final norm in the file; None for a family without.
        notes: facts for the result.
        known: facts that hold for all files of a format; MAE and MultiMAE fix all but the heads, other ViTs none.
    """
    width, patch_size = patch_shape(names, "patch_embed.proj")
    _, _, columns = names.shape("pos_embed", "1, positions, width")
    if columns != width:
        raise CheckpointError(f"{names.source}: pos_embed has width {columns}, but the patches have {width}")
    names.take_layer("patch_embed.proj", "patch_embed")
    if family != "vit":
        names.look("cls_token")
    positions = _take_positions(names, width)
    if norm:
        names.take_layer(norm, "norm")
    architecture = Architecture(
        family=family,
        width=width,
        heads=encoder_heads(names, width, known.get("heads")),
        patch_size=patch_size,
        final_norm=norm is not None,
        **positions,
        **take_encoder_blocks(names),
        **_conventions(names, _USUAL if family != "vit" else known),
    )
    return Converted(architecture, names.out, notes)


def _take_positions(names: Names, width: int) -> dict[str, Any]:
    """Takes prefix tokens and the position table; returns fields of the `Architecture`.

    The table has rows for the patches of a square, and before them for all prefix tokens, for the class tokens alone
    (DINOv2 with registers), or for none of them (DeiT III). Prefix tokens are stored with their positions added.
    """
    table = names.take("pos_embed", "positions")[0]
    parts = {part: take_token(names, part, width) for part in _PREFIX if names.has(part)}
    prefix = torch.cat([torch.zeros(1, 0, width), *parts.values()], dim=1)
    count, classes = prefix.shape[1], parts["cls_token"].shape[1] if "cls_token" in parts else 0
    rows = next((n for n in (count, classes, 0) if _is_square(len(table) - n)), None)
    if rows is None:
        raise CheckpointError(
            f"{names.source}: pos_embed has {len(table)} rows, which aren't those of a square grid of patches and of "
            f"{count} prefix tokens",
            "this variant of the network isn't known",
        )
    if count:
        names.out["prefix"] = torch.cat([prefix[:, :rows] + table[:rows], prefix[:, rows:]], dim=1)
    names.out["positions"] = table[rows:]
    grid = square_grid(len(table) - rows, names.source, "pos_embed")
    return {"grid": grid, "prefix_tokens": count, "class_tokens": classes}


def take_token(names: Names, part: str, width: int) -> Tensor:
    """Takes prefix tokens (1, tokens, C)."""
    *_, columns = names.shape(part, "1, tokens, width")
    if columns != width:
        raise CheckpointError(f"{names.source}: {part} should have width {width}, but has {columns}")
    return names.pop(part)


def _is_square(count: int) -> bool:
    return count > 0 and math.isqrt(count) ** 2 == count


def _conventions(names: Names, known: Mapping[str, Any]) -> dict[str, Any]:
    """Facts that tensors don't show: those that are known, and for the others the usual values."""
    found = {key: names.facts.pick(key, known=known.get(key), assumed=value) for key, value in _USUAL.items()}
    return {**found, "positions": "fixed"}


def _convert_mae(names: Names) -> Converted:
    return convert_vit(names, "mae", "norm")


def _convert_finetuned_mae(names: Names) -> Converted:
    return convert_vit(names, "mae", "fc_norm", (_POOLED,))


def _convert_crossmae(names: Names) -> Converted:
    norm = "norm" if names.has("norm.") else None
    return convert_vit(names, "mae", norm, () if norm else (_NO_NORM,))


def _convert_multimae_export(names: Names) -> Converted:
    names.shape("pos_embed", "1, positions, width")
    if names.look("pos_embed")[0, 0].any():  # the class token of an export is a global token, without position
        raise CheckpointError(
            f"{names.source}: the final norm (norm.weight) is missing, and this is no MultiMAE export, the one ViT "
            "without a norm",
            "the file is incomplete",
        )
    return convert_vit(names, "multimae", None, (NO_NORM,))


def _convert_plain(names: Names) -> Converted:
    if names.has("norm.") or not names.has("fc_norm."):
        names.drop("fc_norm.")
        return convert_vit(names, "vit", "norm")
    return convert_vit(names, "vit", "fc_norm", (_POOLED,))


def is_vit(raw: RawCheckpoint) -> bool:
    """Whether the blocks have timm's names."""
    return raw.has("blocks.")


def _is_pretrained_mae(raw: RawCheckpoint) -> bool:
    return is_vit(raw) and "decoder_embed.weight" in raw.state


def _is_crossmae(raw: RawCheckpoint) -> bool:
    return is_vit(raw) and raw.has("decoder_blocks.0.cross_attn.") and "decoder_embed.weight" not in raw.state


def _is_mae_encoder(raw: RawCheckpoint) -> bool:
    """MAE's released files: a plain ViT whose position table is the fixed one, with a zero row for the class token."""
    table = raw.state.get("pos_embed")
    if not is_vit(raw) or table is None or table.ndim != 3 or not {"cls_token", "norm.weight"} <= raw.state.keys():
        return False
    _, rows, width = table.shape
    if not _is_square(rows - 1) or width % 4 or table[0, 0].any():
        return False
    fixed = sincos(width, square_grid(rows - 1, raw.source, "pos_embed"))
    return torch.allclose(table[0, 1:].float(), fixed, atol=5e-3)  # half precision


def _is_finetuned_mae(raw: RawCheckpoint) -> bool:
    own = {"fc_norm.weight", "cls_token"} <= raw.state.keys()
    return is_vit(raw) and own and "norm.weight" not in raw.state and not raw.has("blocks.0.ls1.")


def _is_probe(raw: RawCheckpoint) -> bool:
    return is_vit(raw) and "head.1.weight" in raw.state


def _is_without_norm(raw: RawCheckpoint) -> bool:
    return is_vit(raw) and not raw.has("norm.", "fc_norm.")


_NO_NORM = "the file has no final norm: the last block's output is used as it is"
_POOLED = "trained with average pooling: fc_norm, meant for pooled tokens, stands for the final norm"
_DECODER = (r"decoder_", r"discriminator_", r"mask_token$")
# CrossMAE weights the outputs of its encoder's blocks for its decoder.
_CROSS_DECODER = (*_DECODER, r"dec_norms\.", r"wfm\.")
_CLASSIFIER = (r"head\.",)

FORMATS = (
    Format("MAE pre-trained", _is_pretrained_mae, _convert_mae, _DECODER),
    Format("CrossMAE", _is_crossmae, _convert_crossmae, _CROSS_DECODER),
    Format("MAE fine-tuned", _is_finetuned_mae, _convert_finetuned_mae, _CLASSIFIER),
    Format("MAE linear probe", _is_probe, _convert_mae, _CLASSIFIER),
    Format("MAE encoder", _is_mae_encoder, _convert_mae, (*_CLASSIFIER, r"mask_token$"), general=True),
    Format("MultiMAE export", _is_without_norm, _convert_multimae_export, _CLASSIFIER, general=True),
    Format(
        "ViT", is_vit, _convert_plain, (*_CLASSIFIER, r"head_dist\.", r"mask_token$", r"masked_embed$"), general=True
    ),
)
