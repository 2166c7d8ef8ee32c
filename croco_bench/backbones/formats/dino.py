"""Files of DINOv2 and DINOv3, and of networks with their names: Franca, VGGT's image encoder, DUNE, MuM."""

from __future__ import annotations

import torch
from torch import Tensor

from croco_bench.backbones.formats import Converted, Format, RawCheckpoint
from croco_bench.backbones.formats.encoder_blocks import rotate_by_quarters, take_encoder_blocks
from croco_bench.backbones.formats.names import Names, checked_heads, encoder_heads, patch_shape
from croco_bench.backbones.formats.vit import convert_vit, is_vit, take_token
from croco_bench.backbones.networks.architecture import IMAGENET, Architecture, Rotary
from croco_bench.errors import CheckpointError

_HEADS = {384: 6, 768: 12, 1024: 16, 1280: 20, 1536: 24, 4096: 32}
_STATISTICS = {"mean": IMAGENET[0], "std": IMAGENET[1], "activation": "gelu"}
_DINOV2 = {**_STATISTICS, "norm_eps": 1e-6, "heads": _HEADS}
_BASE = 100.0  # of the rotary frequencies


def _convert_dinov2(names: Names) -> Converted:
    """With registers, tables are resampled with a filter; without, as in the first release."""
    resampling = "antialiased" if names.has("register_tokens") else "offset"
    return convert_vit(names, "vit", "norm", known={**_DINOV2, "resampling": resampling})


def _convert_vggt(names: Names) -> Converted:
    """The encoder of single images: DINOv2 with registers, fine-tuned."""
    names.rename("aggregator.patch_embed.", "")
    note = "of VGGT the image encoder was read, without the attention between views"
    return convert_vit(names, "vit", "norm", (note,), {**_DINOV2, "resampling": "antialiased"})


def _convert_dune(names: Names) -> Converted:
    names.rename("encoder.", "")
    note = "DUNE was trained without the final norm, which its encoder applies alone (backbone.final_norm=false leaves it out)"
    return convert_vit(names, "vit", "norm", (note,), {**_DINOV2, "resampling": "offset"})


def _convert_dinov3(names: Names) -> Converted:
    """No position table: patches are rotated by their place in the image, class token and registers aren't."""
    width, patch_size = patch_shape(names, "patch_embed.proj")
    names.take_layer("patch_embed.proj", "patch_embed")
    parts = ("cls_token", "storage_tokens") if names.has("storage_tokens") else ("cls_token",)
    names.out["prefix"] = torch.cat([take_token(names, part, width) for part in parts], dim=1)
    names.take_layer("norm", "norm")
    periods = _take_periods(names)
    heads = _heads(names, width, periods)
    blocks = take_encoder_blocks(names)
    rotate_by_quarters(names, heads)
    facts = {**_STATISTICS, "norm_eps": 1e-5}
    architecture = Architecture(
        family="vit",
        width=width,
        heads=heads,
        patch_size=patch_size,
        grid=(224 // patch_size, 224 // patch_size),
        prefix_tokens=names.out["prefix"].shape[1],
        positions="rope",
        rope_base=_BASE,
        rotary=Rotary(coordinates="extent", periods=_rounded(periods)),
        **blocks,
        **{key: names.facts.pick(key, known=value) for key, value in facts.items()},
    )
    return Converted(architecture, names.out)


def _take_periods(names: Names) -> Tensor | None:
    """Periods of the rotations; None where a file holds none, as in transformers' names."""
    if not names.has("rope_embed.periods"):
        return None
    names.shape("rope_embed.periods", "periods")
    periods = names.pop("rope_embed.periods")
    if not (periods > 0).all():
        raise CheckpointError(f"{names.source}: rope_embed.periods should be positive")
    return periods


def _heads(names: Names, width: int, periods: Tensor | None) -> int:
    """Heads have four channels per period."""
    if periods is None:
        return encoder_heads(names, width, _HEADS)
    heads = names.facts.pick("heads", stated=width // (4 * len(periods)))
    return checked_heads(heads, width, names.source, "encoder", rope=True)


def _rounded(periods: Tensor | None) -> tuple[float, ...] | None:
    """Periods other than the usual ones: released files hold them rounded to bfloat16, and so they were used."""
    if periods is None:
        return None
    usual = _BASE ** (torch.arange(len(periods), dtype=torch.float32) / len(periods))
    return None if torch.allclose(periods, usual, rtol=1e-6) else tuple(periods.tolist())


def _is_dinov2(raw: RawCheckpoint) -> bool:
    mask = raw.state.get("mask_token")
    own = "register_tokens" in raw.state or (mask is not None and mask.ndim == 2)
    return is_vit(raw) and "pos_embed" in raw.state and own


def _is_vggt(raw: RawCheckpoint) -> bool:
    return raw.has("aggregator.patch_embed.blocks.")


def _is_dune(raw: RawCheckpoint) -> bool:
    return raw.has("encoder.blocks.") and raw.has("projectors.", "teacher_norms.")


def _is_dinov3(raw: RawCheckpoint) -> bool:
    own = "rope_embed.periods" in raw.state or "storage_tokens" in raw.state
    return is_vit(raw) and "pos_embed" not in raw.state and own


def _is_mum(raw: RawCheckpoint) -> bool:
    return _is_dinov3(raw) and not raw.has("blocks.0.ls1.", "storage_tokens")


_CLASSIFIER = (r"head\.", r"linear_head\.")
_VGGT_PARTS = (
    r"aggregator\.(?!patch_embed\.)",
    r"aggregator\.patch_embed\.mask_token$",
    r"(camera|point|depth|track)_head\.",
)

FORMATS = (
    Format("VGGT", _is_vggt, _convert_vggt, _VGGT_PARTS),
    Format("DUNE", _is_dune, _convert_dune, (r"projectors\.", r"teacher_norms\.", r"encoder\.mask_token$")),
    Format("MuM", _is_mum, _convert_dinov3, (r"decoder_", r"mask_token$", r"rope_embed_decoder\.")),
    Format("DINOv3", _is_dinov3, _convert_dinov3, (*_CLASSIFIER, r"mask_token$", r"local_cls_norm\.")),
    Format("DINOv2", _is_dinov2, _convert_dinov2, (*_CLASSIFIER, r"mask_token$")),
)
