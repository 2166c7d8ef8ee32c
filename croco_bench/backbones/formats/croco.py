"""Files of CroCo v1 and v2, CroCo-Flow and -Stereo, DUSt3R and MASt3R."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from typing import Any, Literal

from croco_bench.backbones.formats import Converted, Format, RawCheckpoint
from croco_bench.backbones.formats.names import Names, checked_heads, patch_shape, square_grid
from croco_bench.backbones.networks.architecture import HALF, IMAGENET, Architecture, Decoder, Grid, heads_of
from croco_bench.errors import CheckpointError

_SELF_ATTENTION = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
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


def _positions(names: Names, kwargs: Mapping[str, Any]) -> tuple[Literal["fixed", "rope"], float, tuple[str, ...]]:
    """Kind, rotary base, notes."""
    given = kwargs.get("pos_embed", "cosine" if names.has("enc_pos_embed") else None)
    if given == "cosine":
        return "fixed", 100.0, ()
    if given is None:
        return "rope", 100.0, ("the file doesn't say its positions and has no table: RoPE100 was assumed",)
    try:
        base = float(str(given).removeprefix("RoPE")) if str(given).startswith("RoPE") else math.nan
    except ValueError:
        base = math.nan
    if not 0 < base < math.inf:
        raise CheckpointError(
            f"{names.source}: pos_embed={given!r} isn't known", "expected cosine, or RoPE and a number"
        )
    return "rope", base, ()


def _grid(names: Names, kwargs: Mapping[str, Any], patch_size: int, kind: str) -> Grid:
    """The patch grid (h, w) of pre-training."""
    given = kwargs.get("img_size", 224)
    size = (given, given) if isinstance(given, int) else tuple(given) if isinstance(given, list | tuple) else ()
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise CheckpointError(f"{names.source}: img_size={given!r} should be a whole number or a pair of them")
    grid = (size[0] // patch_size, size[1] // patch_size)
    if kind == "rope":
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


def _convert(
    names: Names, statistics: tuple[tuple[float, float, float], ...] = IMAGENET, notes: tuple[str, ...] = ()
) -> Converted:
    kwargs = network_arguments(names.extras, names.source)
    width, patch_size = patch_shape(names, "patch_embed.proj")
    kind, base, assumed = _positions(names, kwargs)
    hidden, _ = names.shape("enc_blocks.0.mlp.fc1.weight", "hidden, width")
    grid = _grid(names, kwargs, patch_size, kind)
    if kind == "fixed":
        names.take("enc_pos_embed", "positions")
    names.take_layer("patch_embed.proj", "patch_embed")
    depth = names.take_blocks("enc_blocks", "blocks")
    names.take_layer("enc_norm", "norm")
    _agree(names, kwargs, enc_embed_dim=width, enc_depth=depth, patch_size=patch_size)
    # The first release has no arguments: it is a ViT-B.
    known = heads_of(width) if not kwargs and width == 768 else None
    heads = names.facts.pick("heads", stated=kwargs.get("enc_num_heads"), known=known, assumed=heads_of(width))
    architecture = Architecture(
        family="croco",
        width=width,
        depth=depth,
        heads=checked_heads(heads, width, names.source, "encoder", rope=kind == "rope"),
        hidden=hidden,
        patch_size=patch_size,
        grid=grid,
        prefix_tokens=0,
        positions=kind,
        rope_base=base,
        decoder=_take_decoder(names, kwargs, kind),
        mean=names.facts.pick("mean", known=statistics[0]),
        std=names.facts.pick("std", known=statistics[1]),
    )
    return Converted(architecture, names.out, (*assumed, *notes))


def _take_decoder(names: Names, kwargs: Mapping[str, Any], kind: str) -> Decoder | None:
    """The decoder; None for files of single-view networks, which hold its position table at most."""
    if not any(names.has(part) for part in ("decoder_embed.", "dec_blocks.", "dec_norm.")):
        names.drop("dec_pos_embed")
        return None
    blocks = kwargs.get("dec_block", "cross")
    if blocks not in ("cross", "cat"):
        raise CheckpointError(
            f"{names.source}: decoder blocks of kind {blocks!r} aren't known", "expected cross or cat"
        )
    width, _ = names.shape("decoder_embed.weight", "decoder width, encoder width")
    hidden, _ = names.shape("dec_blocks.0.mlp.fc1.weight", "hidden, width")
    norm_memory = bool(kwargs.get("norm_im2_in_dec", True))
    names.take_layer("decoder_embed", "decoder_embed")
    parts: tuple[str, ...] = _SELF_ATTENTION
    if blocks == "cross":
        parts = (*_SELF_ATTENTION, *_CROSS_ATTENTION, *(["norm_y"] if norm_memory else []))
    depth = names.take_blocks("dec_blocks", "dec_blocks", parts)
    names.take_layer("dec_norm", "dec_norm")
    if kind == "fixed":
        names.take("dec_pos_embed", "dec_positions")
    _agree(names, kwargs, dec_embed_dim=width, dec_depth=depth)
    usual = heads_of(width, decoder=True)
    known = usual if not kwargs and width == 512 else None
    given = names.facts.pick("decoder_heads", stated=kwargs.get("dec_num_heads"), known=known, assumed=usual)
    heads = checked_heads(given, width, names.source, "decoder", rope=kind == "rope")
    return Decoder(width, depth, heads, hidden, norm_memory, blocks)


def _convert_dust3r(names: Names) -> Converted:
    # In DUSt3R, each decoder attends to the other decoder's tokens of the same depth; here, to the encoder's.
    note = "of DUSt3R's two decoders the first is used, as CroCo's: view 2's tokens don't evolve"
    return _convert(names, HALF, (note,))


def _is_croco(raw: RawCheckpoint) -> bool:
    return raw.has("enc_blocks.")


def _is_dust3r(raw: RawCheckpoint) -> bool:
    return _is_croco(raw) and raw.has("dec_blocks2.", "downstream_head")


def _is_finetuned(raw: RawCheckpoint) -> bool:
    return _is_croco(raw) and raw.has("head.", "pose_head.")


def _is_v1(raw: RawCheckpoint) -> bool:
    return _is_croco(raw) and "enc_pos_embed" in raw.state


_PRETRAINING = (r"mask_token$", r"prediction_head\.")

FINETUNED = Format(
    "CroCo fine-tuned", _is_finetuned, _convert, (*_PRETRAINING, r"head\.", r"pose_head\."), general=True
)

FORMATS = (
    Format("DUSt3R", _is_dust3r, _convert_dust3r, (*_PRETRAINING, r"dec_blocks2\.", r"downstream_head\d\.")),
    FINETUNED,
    Format("CroCo v1", _is_v1, _convert, _PRETRAINING, general=True),
    Format("CroCo v2", _is_croco, _convert, _PRETRAINING, general=True),
)
