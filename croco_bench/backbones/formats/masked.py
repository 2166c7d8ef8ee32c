"""Files of Pixio and Muskie, which learn from masked images as MAE and CroCo do, with networks of their own."""

from __future__ import annotations

import torch

from croco_bench.backbones.formats import Converted, Format, RawCheckpoint
from croco_bench.backbones.formats.names import Names, checked_heads, patch_shape
from croco_bench.backbones.formats.vit import convert_vit, is_vit
from croco_bench.backbones.networks.architecture import HALF, IMAGENET, Architecture, Rotary, heads_of

_PIXIO = {
    **{"mean": IMAGENET[0], "std": IMAGENET[1], "norm_eps": 1e-6, "activation": "gelu", "resampling": "bicubic"},
    "heads": {768: 12, 1024: 16, 1280: 16, 1536: 24, 3072: 32},
}
# Parts of a block of Muskie, as two blocks here: attention within each view, then among all views.
_HALVES = (
    {"norm1": "norm1", "frame_attn": "attn", "norm2": "norm2", "frame_mlp": "mlp"},
    {"norm3": "norm1", "global_atten": "attn", "norm4": "norm2", "global_mlp": "mlp"},
)


def _convert_pixio(names: Names) -> Converted:
    """MAE's encoder with eight class tokens, which have rows in the position table."""
    return convert_vit(names, "vit", "norm", known=_PIXIO)


def _convert_muskie(names: Names) -> Converted:
    """Registers at position 0, patches from position 1 on. With one view, attention among views is within it."""
    width, patch_size = patch_shape(names, "patch_embed.proj")
    *_, registers, _ = names.shape("register_tokens", "1, 1, tokens, width")
    hidden, _ = names.shape("blocks.0.frame_mlp.fc1.weight", "hidden, width")
    names.take_layer("patch_embed.proj", "patch_embed")
    names.out["prefix"] = names.pop("register_tokens")[0]
    depth = names.depth("blocks")
    for index in range(depth):
        for half, parts in enumerate(_HALVES):
            _take_half(names, f"blocks.{index}", f"blocks.{2 * index + half}", parts)
    usual = {384: 6, 768: 12, 1024: 16, 1280: 16}.get(width)
    heads = names.facts.pick("heads", known=usual, assumed=heads_of(width))
    architecture = Architecture(
        family="vit",
        width=width,
        depth=2 * depth,
        heads=checked_heads(heads, width, names.source, "encoder", rope=True),
        hidden=hidden,
        patch_size=patch_size,
        grid=(224 // patch_size, 224 // patch_size),
        prefix_tokens=registers,
        class_tokens=0,
        positions="rope",
        rotary=Rotary(start=1),
        final_norm=False,
        mean=names.facts.pick("mean", known=HALF[0]),
        std=names.facts.pick("std", known=HALF[1]),
        norm_eps=names.facts.pick("norm_eps", known=1e-5),
    )
    return Converted(
        architecture, names.out, ("Muskie's blocks count twice: attention within a view, then among views",)
    )


def _take_half(names: Names, name: str, new: str, parts: dict[str, str]) -> None:
    for part, own in parts.items():
        layers = {"attn": (".qkv", ".proj"), "mlp": (".fc1", ".fc2")}.get(own, ("",))
        for layer in layers:
            names.take_layer(f"{name}.{part}{layer}", f"{new}.{own}{layer}")


def _is_pixio(raw: RawCheckpoint) -> bool:
    token = raw.state.get("cls_token", torch.zeros(1, 1, 1))
    return is_vit(raw) and token.ndim == 3 and token.shape[1] > 1


def _is_muskie(raw: RawCheckpoint) -> bool:
    return raw.has("blocks.0.frame_attn.") and raw.has("register_tokens")


_DECODER = (r"decoder_", r"mask_token$", r"mask_placeholder$")

FORMATS = (
    Format("Pixio", _is_pixio, _convert_pixio, _DECODER),
    Format("Muskie", _is_muskie, _convert_muskie, _DECODER),
)
