"""Files of CroCo v1 and v2, CroCo-Flow and -Stereo; tools for those of networks that descend from CroCo."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from croco_bench.backbones.formats import Converted, Format, RawCheckpoint
from croco_bench.backbones.formats.names import Names, checked_heads, patch_shape, square_grid
from croco_bench.backbones.networks.architecture import (
    CROCO_ROTARY,
    IMAGENET,
    Architecture,
    Decoder,
    Grid,
    Memory,
    Rotary,
    heads_of,
)
from croco_bench.backbones.networks.facts import Channels
from croco_bench.errors import CheckpointError

_SELF_ATTENTION = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
# RoPE, its base, and maybe two image sizes: positions at the second one are scaled to those of the first (MUSt3R).
_ROPE = re.compile(r"RoPE(\d+(?:\.\d+)?)(?:_(\d+):(\d+))?")
_CROSS_ATTENTION = ("cross_attn.projq", "cross_attn.projk", "cross_attn.projv", "cross_attn.proj", "norm3")
# Constructor arguments that are read; others are ignored.
_READ = frozenset(
    {"pos_embed", "img_size", "patch_size", "norm_im2_in_dec", "dec_block"}
    | {"enc_embed_dim", "enc_depth", "enc_num_heads", "dec_embed_dim", "dec_depth", "dec_num_heads"}
)


def network_arguments(extras: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Constructor arguments of the network, from any of the entries that hold them; {} for the first release, without any."""
    args = extras.get("args")
    for given in (extras.get("croco_kwargs"), getattr(args, "croco_args", None)):  # the latter: CroCo-Flow and -Stereo
        if isinstance(given, Mapping):
            return dict(given)
        if given is not None:
            raise CheckpointError(
                f"{source}: croco_kwargs should be a table of arguments, but is a {type(given).__name__}"
            )
    text = getattr(args, "model", None)
    return parse_call(text, source) if isinstance(text, str) and "(" in text else {}


def parse_call(text: str, source: str) -> dict[str, Any]:
    """Keyword arguments of a string such as "CroCoNet(enc_depth=24)". Only literals are read; nothing is run.

    Other arguments than those of `_READ` are left out if they aren't literals (DUSt3R has `inf` among its head's).

    Raises:
        CheckpointError: it isn't such a call, or an argument of `_READ` isn't a literal.
    """
    wrong = CheckpointError(f"{source}: the model string {text[:60]!r} isn't a call such as CroCoNet(enc_depth=12)")
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise wrong from error
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        raise wrong
    values = {}
    for keyword in call.keywords:
        try:
            values[keyword.arg or "**"] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, RecursionError) as error:
            if keyword.arg in _READ:
                raise wrong from error
    if "**" in values:
        raise wrong
    return values


def _positions(names: Names, kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Fields of the `Architecture` that describe positions, and notes."""
    given = kwargs.get("pos_embed", "cosine" if names.has("enc_pos_embed") else None)
    if given == "cosine":
        return {"positions": "fixed"}, ()
    if given is None:
        return {"positions": "rope"}, ("the file doesn't say its positions and has no table: RoPE100 was assumed",)
    match = _ROPE.fullmatch(str(given))
    if match is None or any(value is not None and not float(value) for value in match.groups()):
        raise CheckpointError(
            f"{names.source}: pos_embed={given!r} isn't known", "expected cosine, or RoPE and a number"
        )
    base, before, after = (None if value is None else float(value) for value in match.groups())
    rotary = Rotary(scale=before / after) if before and after else CROCO_ROTARY
    return {"positions": "rope", "rope_base": base, "rotary": rotary}, ()


def _grid(names: Names, kwargs: Mapping[str, Any], patch_size: int, *, rope: bool) -> Grid:
    """The patch grid (h, w) of pre-training."""
    given = kwargs.get("img_size", 224)
    size = (given, given) if isinstance(given, int) else tuple(given) if isinstance(given, list | tuple) else ()
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise CheckpointError(f"{names.source}: img_size={given!r} should be a whole number or a pair of them")
    grid = (size[0] // patch_size, size[1] // patch_size)
    if rope:
        return grid
    count, _ = names.shape("enc_pos_embed", "positions, width")
    return grid if count == grid[0] * grid[1] else square_grid(count, names.source, "enc_pos_embed")


def _agree(names: Names, kwargs: Mapping[str, Any], **counted: int) -> None:
    """Refuses a file whose arguments contradict its weights (missing blocks, for example)."""
    for key, value in counted.items():
        if key in kwargs and kwargs[key] != value:
            raise CheckpointError(
                f"{names.source}: {key} should be {kwargs[key]!r}, but the weights have {value}",
                "the file is incomplete",
            )


def convert_croco(
    names: Names,
    kwargs: Mapping[str, Any],
    statistics: tuple[Channels, Channels] = IMAGENET,
    *,
    heads: Mapping[int, int] = MappingProxyType({}),
    memory: Memory = "fixed",
) -> Converted:
    """An encoder with CroCo's names, and its decoder if there is one.

    Args:
        names: tensors of the file.
        kwargs: constructor arguments in the file; {} if it has none.
        statistics: mean and deviation of the images that the family was trained with.
        heads: by width, in encoders and decoders of a file without arguments, where the family fixes them.
        memory: see `Decoder`.
    """
    width, patch_size = patch_shape(names, "patch_embed.proj")
    positions, notes = _positions(names, kwargs)
    rope = positions["positions"] == "rope"
    hidden, _ = names.shape("enc_blocks.0.mlp.fc1.weight", "hidden, width")
    grid = _grid(names, kwargs, patch_size, rope=rope)
    if not rope:
        names.take("enc_pos_embed", "positions")
    names.take_layer("patch_embed.proj", "patch_embed")
    depth = names.take_blocks("enc_blocks", "blocks")
    names.take_layer("enc_norm", "norm")
    _agree(names, kwargs, enc_embed_dim=width, enc_depth=depth, patch_size=patch_size)
    known = None if kwargs else heads.get(width)
    count = names.facts.pick("heads", stated=kwargs.get("enc_num_heads"), known=known, assumed=heads_of(width))
    architecture = Architecture(
        family="croco",
        width=width,
        depth=depth,
        heads=checked_heads(count, width, names.source, "encoder", rope=rope),
        hidden=hidden,
        patch_size=patch_size,
        grid=grid,
        prefix_tokens=0,
        decoder=_take_decoder(names, kwargs, heads, memory, rope=rope),
        mean=names.facts.pick("mean", known=statistics[0]),
        std=names.facts.pick("std", known=statistics[1]),
        **positions,
    )
    return Converted(architecture, names.out, notes)


def _take_decoder(
    names: Names, kwargs: Mapping[str, Any], heads: Mapping[int, int], memory: Memory, *, rope: bool
) -> Decoder | None:
    """The decoder; None for files of single-view networks, which hold its position table at most."""
    if not any(names.has(part) for part in ("decoder_embed.", "dec_blocks.", "dec_norm.")):
        names.drop("dec_pos_embed")
        return None
    kind = kwargs.get("dec_block", "cross")
    if kind not in ("cross", "cat"):
        raise CheckpointError(f"{names.source}: decoder blocks of kind {kind!r} aren't known", "expected cross or cat")
    width, _ = names.shape("decoder_embed.weight", "decoder width, encoder width")
    hidden, _ = names.shape("dec_blocks.0.mlp.fc1.weight", "hidden, width")
    norm_memory = bool(kwargs.get("norm_im2_in_dec", True))
    names.take_layer("decoder_embed", "decoder_embed")
    depth = _take_decoder_blocks(names, kind, memory, norm_memory=norm_memory)
    names.take_layer("dec_norm", "dec_norm")
    if not rope:
        names.take("dec_pos_embed", "dec_positions")
    _agree(names, kwargs, dec_embed_dim=width, dec_depth=depth)
    known = None if kwargs else heads.get(width)
    usual = heads_of(width, decoder=True)
    count = names.facts.pick("decoder_heads", stated=kwargs.get("dec_num_heads"), known=known, assumed=usual)
    checked = checked_heads(count, width, names.source, "decoder", rope=rope)
    return Decoder(width, depth, checked, hidden, norm_memory, kind, memory)


def _take_decoder_blocks(names: Names, kind: str, memory: Memory, *, norm_memory: bool) -> int:
    """Takes the blocks of the decoder, and those of a second one but the last, whose output only its own head reads."""
    parts: tuple[str, ...] = _SELF_ATTENTION
    if kind == "cross":
        parts = (*_SELF_ATTENTION, *_CROSS_ATTENTION, *(["norm_y"] if norm_memory else []))
    depth = names.take_blocks("dec_blocks", "dec_blocks", parts)
    if memory == "own":
        names.drop(f"dec_blocks2.{depth - 1}.")
        if depth > 1 and names.take_blocks("dec_blocks2", "dec_blocks2", parts) != depth - 1:
            raise CheckpointError(f"{names.source}: dec_blocks2 hasn't as many blocks as dec_blocks")
    return depth


def _convert(names: Names) -> Converted:
    return convert_croco(names, network_arguments(names.extras, names.source), heads=_FIRST_RELEASE)


def is_croco(raw: RawCheckpoint) -> bool:
    """Whether the encoder has CroCo's names."""
    return raw.has("enc_blocks.")


def _is_finetuned(raw: RawCheckpoint) -> bool:
    return is_croco(raw) and raw.has("head.")


def _is_v1(raw: RawCheckpoint) -> bool:
    return is_croco(raw) and "enc_pos_embed" in raw.state


PRETRAINING = (r"mask_token$", r"prediction_head\.")
# The first release, which has no arguments, is a ViT-B with a small decoder.
_FIRST_RELEASE = {768: 12, 512: 16}

FINETUNED = Format("CroCo fine-tuned", _is_finetuned, _convert, (*PRETRAINING, r"head\."), general=True)

FORMATS = (
    FINETUNED,
    Format("CroCo v1", _is_v1, _convert, PRETRAINING, general=True),
    Format("CroCo v2", is_croco, _convert, PRETRAINING, general=True),
)
