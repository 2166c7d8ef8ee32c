"""Files of CroCo v1 and v2, CroCo-Flow and -Stereo, DUSt3R and MASt3R."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from croco_bench.backbones.architecture import HALF, IMAGENET, Architecture, Decoder, heads_of
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

_DECODER_PARTS = (
    *("norm1", "attn.qkv", "attn.proj", "norm2", "norm3", "mlp.fc1", "mlp.fc2"),
    *("cross_attn.projq", "cross_attn.projk", "cross_attn.projv", "cross_attn.proj"),
)
# Parts that only pre-training or another task needs.
_UNUSED = ("mask_token", "prediction_head.", "head.", "downstream_head", "dec_blocks2.", "pose_head.")


def _kwargs(raw: RawCheckpoint) -> Mapping[str, Any]:
    """The network's arguments, from wherever the file keeps them; empty for the first release, which keeps none."""
    if isinstance(raw.extras.get("croco_kwargs"), Mapping):
        return dict(raw.extras["croco_kwargs"])
    args = raw.extras.get("args")
    nested = getattr(args, "croco_args", None)
    if isinstance(nested, Mapping):  # CroCo-Flow and CroCo-Stereo
        return dict(nested)
    text = getattr(args, "model", None)
    return parse_call(text, raw.source) if isinstance(text, str) and "(" in text else {}


def parse_call(text: str, source: str) -> dict[str, Any]:
    """Keyword arguments of a string such as "CroCoNet(enc_depth=24)"; literals only, nothing is run.

    Arguments that aren't literals (DUSt3R writes `inf` among its head's settings) are left out.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise CheckpointError(
            f"{source}: the model string {text[:60]!r} can't be parsed; the file is damaged"
        ) from error
    if not isinstance(call, ast.Call):
        raise CheckpointError(f"{source}: the model string {text[:60]!r} isn't a call such as CroCoNet(enc_depth=12)")
    values = {}
    for keyword in call.keywords:
        try:
            values[keyword.arg or ""] = ast.literal_eval(keyword.value)
        except ValueError:
            continue
    return values


def _positions(raw: RawCheckpoint, kwargs: Mapping[str, Any]) -> tuple[str, float, tuple[str, ...]]:
    """Kind, rotary base, notes."""
    said = str(kwargs.get("pos_embed", "cosine" if "enc_pos_embed" in raw.state else ""))
    if said == "cosine":
        return "fixed", 100.0, ()
    if said.startswith("RoPE"):
        try:
            return "rope", float(said.removeprefix("RoPE")), ()
        except ValueError as error:
            raise CheckpointError(f"{raw.source}: pos_embed={said!r} should be cosine or RoPE and a number") from error
    if said:
        raise CheckpointError(f"{raw.source}: pos_embed={said!r} isn't known; expected cosine or RoPE100")
    return "rope", 100.0, ("the file doesn't say its positions and has no table: RoPE100 was assumed",)


def _convert(raw: RawCheckpoint) -> Converted:
    kwargs = _kwargs(raw)
    width, patch_size = patch_shape(raw, "patch_embed.proj.weight")
    kind, base, notes = _positions(raw, kwargs)
    names = Names(raw)
    names.ignore(*_UNUSED)
    names.take_layer("patch_embed.proj", "patch_embed")
    depth = names.take_blocks("enc_blocks", "blocks")
    names.take_layer("enc_norm", "norm")
    size = kwargs.get("img_size", 224)
    grid = (size // patch_size,) * 2 if isinstance(size, int) else tuple(side // patch_size for side in size)
    if kind == "fixed":
        grid = square_grid(len(names.take("enc_pos_embed", "positions")), raw.source, "enc_pos_embed")
    decoder = _take_decoder(raw, names, kwargs, kind) if "decoder_embed.weight" in raw.state else None
    mean, std = HALF if _is_dust3r(frozenset(raw.state)) else IMAGENET
    architecture = Architecture(
        family="croco",
        width=width,
        depth=depth,
        heads=int(kwargs.get("enc_num_heads", heads_of(width))),
        hidden=hidden_width(raw, "enc_blocks.0"),
        patch_size=patch_size,
        grid=(grid[0], grid[1]),
        prefix_tokens=0,
        positions="fixed" if kind == "fixed" else "rope",
        rope_base=base,
        decoder=decoder,
        mean=mean,
        std=std,
    )
    return Converted(architecture, names.finish(), notes)


def _take_decoder(raw: RawCheckpoint, names: Names, kwargs: Mapping[str, Any], kind: str) -> Decoder:
    if kwargs.get("dec_block", "cross") != "cross":
        raise CheckpointError(
            f"{raw.source}: decoder blocks of kind {kwargs['dec_block']!r} aren't known; expected cross"
        )
    width = int(raw.state["decoder_embed.weight"].shape[0])
    names.take_layer("decoder_embed", "decoder_embed")
    norm_memory = "dec_blocks.0.norm_y.weight" in raw.state
    parts = (*_DECODER_PARTS, "norm_y") if norm_memory else _DECODER_PARTS
    depth = names.take_blocks("dec_blocks", "dec_blocks", parts)
    names.take_layer("dec_norm", "dec_norm")
    if kind == "fixed":
        names.take("dec_pos_embed", "dec_positions")
    heads = int(kwargs.get("dec_num_heads", heads_of(width, decoder=True)))
    return Decoder(width, depth, heads, hidden_width(raw, "dec_blocks.0"), norm_memory)


def _is_croco(names: frozenset[str]) -> bool:
    return any(name.startswith("enc_blocks.0.") for name in names)


def _is_dust3r(names: frozenset[str]) -> bool:
    return _is_croco(names) and any(name.startswith(("dec_blocks2.", "downstream_head")) for name in names)


def _is_downstream(names: frozenset[str]) -> bool:
    return _is_croco(names) and any(name.startswith("head.") for name in names)


FORMATS = (
    Format("DUSt3R", _is_dust3r, _convert),
    Format("CroCo fine-tuned", _is_downstream, _convert),
    Format("CroCo v2", lambda names: _is_croco(names) and "enc_pos_embed" not in names, _convert),
    Format("CroCo v1", _is_croco, _convert),
)
