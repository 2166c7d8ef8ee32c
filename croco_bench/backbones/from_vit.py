"""Files with timm's names: MAE (pre-trained, fine-tuned, linear probe), MultiMAE's export, plain and DINO ViTs."""

from __future__ import annotations

from typing import Literal

import torch

from croco_bench.backbones.architecture import Architecture, heads_of
from croco_bench.backbones.formats import (
    Converted,
    Format,
    Names,
    RawCheckpoint,
    hidden_width,
    patch_shape,
    square_grid,
)
from croco_bench.errors import CheckpointError

Family = Literal["mae", "multimae", "vit"]


def _convert(raw: RawCheckpoint, family: Family, norm: str | None, notes: tuple[str, ...] = ()) -> Converted:
    """`norm` is the name of the final norm in the file, None where the family has none."""
    width, patch_size = patch_shape(raw, "patch_embed.proj.weight")
    names = Names(raw)
    # Decoders, classifiers and mask tokens aren't part of the encoder.
    names.ignore("decoder_", "mask_token", "head.", "head_dist.", "norm." if norm == "fc_norm" else "fc_norm.")
    names.take_layer("patch_embed.proj", "patch_embed")
    table = names.take("pos_embed", "positions").reshape(-1, width)
    prefix = 0
    if "cls_token" in raw.state:
        prefix = 1
        names.out["prefix"] = names.take("cls_token", "prefix").reshape(1, 1, width) + table[:1]
        table = table[1:]
    names.out["positions"] = table
    depth = names.take_blocks("blocks", "blocks")
    if norm:
        names.take_layer(norm, "norm")
    architecture = Architecture(
        family=family,
        width=width,
        depth=depth,
        heads=heads_of(width),
        hidden=hidden_width(raw, "blocks.0"),
        patch_size=patch_size,
        grid=square_grid(len(table), raw.source, "pos_embed"),
        prefix_tokens=prefix,
        positions="learned" if family == "vit" else "fixed",
        final_norm=norm is not None,
    )
    return Converted(architecture, names.finish(), notes)


def _convert_finetuned_mae(raw: RawCheckpoint) -> Converted:
    note = "fine-tuned with average pooling: fc_norm, trained on pooled tokens, stands for the final norm"
    return _convert(raw, "mae", "fc_norm", (note,))


def _convert_multimae_export(raw: RawCheckpoint) -> Converted:
    table = raw.state["pos_embed"].reshape(-1, raw.state["pos_embed"].shape[-1])
    if not torch.equal(table[0], torch.zeros_like(table[0])):
        raise CheckpointError(
            f"{raw.source}: the final norm (norm.weight) is missing, and this is no MultiMAE export, the one ViT without "
            "a norm; the file is damaged"
        )
    return _convert(raw, "multimae", None, ("MultiMAE has no final norm: the last block's output is used as it is",))


def _is_vit(names: frozenset[str]) -> bool:
    return "pos_embed" in names and any(name.startswith("blocks.0.") for name in names)


def _is_mae(names: frozenset[str]) -> bool:
    return _is_vit(names) and "decoder_embed.weight" in names


FORMATS = (
    Format("MAE pre-trained", _is_mae, lambda raw: _convert(raw, "mae", "norm")),
    Format(
        "MAE fine-tuned",
        lambda names: _is_vit(names) and "fc_norm.weight" in names and "norm.weight" not in names,
        _convert_finetuned_mae,
    ),
    Format(
        "MAE linear probe",
        lambda names: _is_vit(names) and "head.1.weight" in names,
        lambda raw: _convert(raw, "mae", "norm"),
    ),
    Format("MultiMAE export", lambda names: _is_vit(names) and "norm.weight" not in names, _convert_multimae_export),
    Format("ViT", _is_vit, lambda raw: _convert(raw, "vit", "norm")),
)
