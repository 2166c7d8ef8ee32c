"""Files with timm's names: MAE (pre-trained, fine-tuned, linear probe), MultiMAE's export, plain and DINO ViTs."""

from __future__ import annotations

from typing import Any, Literal

from croco_bench.backbones.formats import Converted, Format, RawCheckpoint
from croco_bench.backbones.formats.multimae import NO_NORM
from croco_bench.backbones.formats.names import Names, encoder_heads, patch_shape, square_grid
from croco_bench.backbones.networks.architecture import IMAGENET, Architecture
from croco_bench.errors import CheckpointError

Family = Literal["mae", "multimae", "vit"]


def convert_vit(names: Names, family: Family, norm: str | None, notes: tuple[str, ...] = ()) -> Converted:
    """A ViT in timm's names. `norm` is the name of the final norm in the file; None for a family without."""
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
        heads=encoder_heads(names, width),
        hidden=hidden,
        patch_size=patch_size,
        grid=square_grid(len(table), names.source, "pos_embed"),
        prefix_tokens=prefix,
        final_norm=norm is not None,
        **_conventions(names, family),
    )
    return Converted(architecture, names.out, notes)


def _conventions(names: Names, family: Family) -> dict[str, Any]:
    """Facts that MAE and MultiMAE fix, and that other ViTs only usually have."""
    usual = {"mean": IMAGENET[0], "std": IMAGENET[1], "norm_eps": 1e-6, "activation": "gelu"}
    if family == "vit":
        return {key: names.facts.pick(key, assumed=value) for key, value in {**usual, "positions": "learned"}.items()}
    return {key: names.facts.pick(key, known=value) for key, value in {**usual, "positions": "fixed"}.items()}


def _convert_mae(names: Names) -> Converted:
    return convert_vit(names, "mae", "norm")


def _convert_finetuned_mae(names: Names) -> Converted:
    note = "fine-tuned with average pooling: fc_norm, trained on pooled tokens, stands for the final norm"
    return convert_vit(names, "mae", "fc_norm", (note,))


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
    return convert_vit(names, "vit", "norm")


def _is_vit(raw: RawCheckpoint) -> bool:
    return raw.has("blocks.")


def _is_pretrained_mae(raw: RawCheckpoint) -> bool:
    return _is_vit(raw) and "decoder_embed.weight" in raw.state


def _is_finetuned_mae(raw: RawCheckpoint) -> bool:
    return _is_vit(raw) and "fc_norm.weight" in raw.state and "norm.weight" not in raw.state


def _is_probe(raw: RawCheckpoint) -> bool:
    return _is_vit(raw) and "head.1.weight" in raw.state


def _is_without_norm(raw: RawCheckpoint) -> bool:
    return _is_vit(raw) and "norm.weight" not in raw.state


_DECODER = (r"decoder_", r"mask_token$")
_CLASSIFIER = (r"head\.",)

FORMATS = (
    Format("MAE pre-trained", _is_pretrained_mae, _convert_mae, _DECODER),
    Format("MAE fine-tuned", _is_finetuned_mae, _convert_finetuned_mae, _CLASSIFIER),
    Format("MAE linear probe", _is_probe, _convert_mae, _CLASSIFIER),
    Format("MultiMAE export", _is_without_norm, _convert_multimae_export, _CLASSIFIER, general=True),
    Format("ViT", _is_vit, _convert_plain, (*_CLASSIFIER, r"mask_token$"), general=True),
)
