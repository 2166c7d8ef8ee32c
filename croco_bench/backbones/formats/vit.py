"""Files with timm's names: MAE (pre-trained, fine-tuned, linear probe), MultiMAE's export, plain and DINO ViTs."""

from __future__ import annotations

from typing import Literal

from croco_bench.backbones.architecture import Architecture, heads_of
from croco_bench.backbones.formats.base import Converted, Format, Names, checked_heads, patch_shape, square_grid
from croco_bench.backbones.formats.multimae import NO_NORM
from croco_bench.errors import CheckpointError

Family = Literal["mae", "multimae", "vit"]


def _convert(names: Names, family: Family, norm: str | None, notes: tuple[str, ...] = ()) -> Converted:
    """`norm` is the name of the final norm in the file, None where the family has none."""
    width, patch_size = patch_shape(names, "patch_embed.proj")
    hidden, _ = names.shape("blocks.0.mlp.fc1.weight", "hidden, width")
    _, _, columns = names.shape("pos_embed", "1, positions, width")
    if columns != width:
        raise CheckpointError(f"{names.source}: pos_embed has width {columns}, but the patches have {width}")
    names.take_layer("patch_embed.proj", "patch_embed")
    table = names.take("pos_embed", "positions")[0]
    # Only a plain ViT may be without a class token.
    prefix = int(family != "vit" or names.has("cls_token"))
    if prefix:
        if names.shape("cls_token", "1, 1, width")[2] != width:
            raise CheckpointError(f"{names.source}: cls_token should have width {width}", "the file is damaged")
        names.out["prefix"] = names.take("cls_token", "prefix") + table[:1]
        table = table[1:]
    names.out["positions"] = table
    if norm:
        names.take_layer(norm, "norm")
    architecture = Architecture(
        family=family,
        width=width,
        depth=names.take_blocks("blocks", "blocks"),
        heads=checked_heads(names.extras.get("num_heads", heads_of(width)), width, names.source, "encoder"),
        hidden=hidden,
        patch_size=patch_size,
        grid=square_grid(len(table), names.source, "pos_embed"),
        prefix_tokens=prefix,
        positions="learned" if family == "vit" else "fixed",
        final_norm=norm is not None,
    )
    return Converted(architecture, names.out, notes)


def _convert_mae(names: Names) -> Converted:
    return _convert(names, "mae", "norm")


def _convert_finetuned_mae(names: Names) -> Converted:
    note = "fine-tuned with average pooling: fc_norm, trained on pooled tokens, stands for the final norm"
    return _convert(names, "mae", "fc_norm", (note,))


def _convert_multimae_export(names: Names) -> Converted:
    names.shape("pos_embed", "1, positions, width")
    if names.look("pos_embed")[0, 0].any():  # the export's class token is a global token, which has no position
        raise CheckpointError(
            f"{names.source}: the final norm (norm.weight) is missing, and this is no MultiMAE export, the one ViT "
            "without a norm",
            "the file is incomplete",
        )
    return _convert(names, "multimae", None, (NO_NORM,))


def _convert_plain(names: Names) -> Converted:
    return _convert(names, "vit", "norm")


def _is_vit(names: frozenset[str]) -> bool:
    return any(name.startswith("blocks.") for name in names)


def _is_finetuned_mae(names: frozenset[str]) -> bool:
    return _is_vit(names) and "fc_norm.weight" in names and "norm.weight" not in names


def _is_probe(names: frozenset[str]) -> bool:
    return _is_vit(names) and "head.1.weight" in names


_DECODER = (r"decoder_", r"mask_token$")
_CLASSIFIER = (r"head\.",)

FORMATS = (
    Format("MAE pre-trained", lambda names: _is_vit(names) and "decoder_embed.weight" in names, _convert_mae, _DECODER),
    Format("MAE fine-tuned", _is_finetuned_mae, _convert_finetuned_mae, _CLASSIFIER),
    Format("MAE linear probe", _is_probe, _convert_mae, _CLASSIFIER),
    Format(
        "MultiMAE export",
        lambda names: _is_vit(names) and "norm.weight" not in names,
        _convert_multimae_export,
        _CLASSIFIER,
    ),
    Format("ViT", _is_vit, _convert_plain, (*_CLASSIFIER, r"mask_token$")),
)
