"""Backbone architectures as plain data. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter

from croco_bench.backbones.networks.facts import Activation, Channels, Positive, Resampling
from croco_bench.types import Size

Plain = TypeVar("Plain", "Architecture", "Decoder")
# Bounds of what a file may say of its network: far above all that are published.
Count = Annotated[int, Field(gt=0, le=2**16)]
Depth = Annotated[int, Field(gt=0, le=256)]
Grid = tuple[Count, Count]
_CLOSED = ConfigDict(extra="forbid", allow_inf_nan=False)
# Which parts of the joint projection of queries, keys and values have a bias.
ProjectionBias = Literal["all", "no keys", "none"]
# Which tokens of view 2 a decoder attends to; see `Decoder`.
Memory = Literal["fixed", "shared", "own"]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

# Heads of published ViTs by width.
_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
_DECODER_HEADS = {**_HEADS, 512: 16}


def heads_of(width: int, *, decoder: bool = False) -> int:
    """The usual number of heads of a transformer: that of published ViTs, else 64 or 32 channels per head."""
    known = (_DECODER_HEADS if decoder else _HEADS).get(width)
    return known or (width // 64 if width % 64 == 0 and width >= 256 else max(width // 32, 1))


@dataclass(frozen=True)
class Decoder:
    """A cross-view decoder.

    Attributes:
        width: channels.
        depth: blocks.
        heads: attention heads.
        hidden: width of the MLP.
        norm_memory: whether cross blocks norm the tokens of view 2.
        kind: `cross`: view 1 attends to view 2; `cat`: self-attention over the tokens of both views in one sequence.
        memory: tokens of view 2 that cross blocks attend to: its embedded encoder output in all blocks (`fixed`: CroCo); or
            those of the same depth, where view 2 passes the same blocks (`shared`: Reloc3r) or a second decoder (`own`:
            DUSt3R, MASt3R), and attends to view 1 in turn.
    """

    __pydantic_config__ = _CLOSED

    width: Count
    depth: Depth
    heads: Count
    hidden: Count
    norm_memory: bool = True
    kind: Literal["cross", "cat"] = "cross"
    memory: Memory = "fixed"


@dataclass(frozen=True)
class Rotary:
    """Coordinates of rotary positions.

    Attributes:
        coordinates: `index`: of the row and column (CroCo); `extent`: patch centers from -π to π over the height and over
            the width of the image, whatever its size (DINOv3).
        start: index of the first row and column. Prefix tokens are at 0.
        scale: factor on the indices (MUSt3R at sizes other than those of its pre-training).
        periods: of the rotations, head_dim / 4 of them, where a file holds rounded ones; None: powers of `rope_base`.
    """

    coordinates: Literal["index", "extent"] = "index"
    start: int = 0
    scale: Positive = 1.0
    periods: tuple[float, ...] | None = None


CROCO_ROTARY = Rotary()


@dataclass(frozen=True)
class BlockOptions:
    """Parts of an encoder block that differ between families.

    Attributes:
        norm_eps: epsilon of the layer norms.
        activation: of the MLP, unless it is gated.
        layer_scale: whether attention and MLP each end with a learned factor per channel.
        gated: whether the MLP is SwiGLU: silu(a) * b, where a and b are the halves of the first layer's output.
        qk_norm: whether queries and keys pass a layer norm over the channels of their head.
        qkv_bias: which of queries, keys and values have a bias.
    """

    norm_eps: float = 1e-6
    activation: Activation = "gelu"
    layer_scale: bool = False
    gated: bool = False
    qk_norm: bool = False
    qkv_bias: ProjectionBias = "all"


PLAIN_BLOCK = BlockOptions()


@dataclass(frozen=True)
class Architecture:
    """A plain ViT encoder, with a decoder or without.

    Attributes:
        family: the pre-training method.
        width: channels.
        depth: blocks.
        heads: attention heads.
        hidden: width of the MLP; of a gated one, that of each half.
        patch_size: in pixels.
        grid: patch grid (h, w) of the position table.
        prefix_tokens: number of class, global or register tokens.
        class_tokens: how many of these are class tokens, from the first; several are averaged for heads.
        positions: a table that fine-tuning leaves as it is (`fixed`) or trains (`learned`), or rotary positions.
        rope_base: base of the rotary frequencies.
        final_norm: whether a layer norm follows the last block.
        decoder: the cross-view decoder, if there is one.
        mean: of the RGB channels in pre-training, for images in [0, 1].
        std: standard deviation of these channels.
        norm_eps: epsilon of the encoder's layer norms.
        activation: of the encoder's MLPs.
        layer_scale: see `BlockOptions`; so are `gated`, `qk_norm` and `qkv_bias`.
        resampling: how the position table is brought to another grid.
        rotary: coordinates of rotary positions.
    """

    __pydantic_config__ = _CLOSED

    family: Literal["croco", "mae", "multimae", "vit"]
    width: Count
    depth: Depth
    heads: Count
    hidden: Count
    patch_size: Count
    grid: Grid
    prefix_tokens: Annotated[int, Field(ge=0, le=2**16)]
    positions: Literal["fixed", "learned", "rope"]
    rope_base: Positive = 100.0
    final_norm: bool = True
    decoder: Decoder | None = None
    mean: Channels = IMAGENET[0]
    std: tuple[Positive, Positive, Positive] = IMAGENET[1]
    norm_eps: Positive = 1e-6
    activation: Activation = "gelu"
    layer_scale: bool = False
    gated: bool = False
    qk_norm: bool = False
    qkv_bias: ProjectionBias = "all"
    class_tokens: Annotated[int, Field(ge=0, le=2**16)] = 1
    resampling: Resampling = "bicubic"
    rotary: Rotary = CROCO_ROTARY

    @property
    def block(self) -> BlockOptions:
        """The options of the encoder's blocks."""
        return BlockOptions(**{item.name: getattr(self, item.name) for item in fields(BlockOptions)})

    def to_plain(self) -> dict[str, Any]:
        """Values for JSON."""
        return asdict(self)

    @classmethod
    def from_plain(cls, values: object) -> Architecture:
        """The inverse of `to_plain`, from parsed JSON.

        Raises:
            ValueError: a value is missing, unknown, of another type, or beyond what a network can have.
        """
        if isinstance(values, dict) and values.get("rotary", 0) is None:
            values = {key: value for key, value in values.items() if key != "rotary"}
        return from_json(cls, values)


def from_json(kind: type[Plain], values: object) -> Plain:
    """An `Architecture` or `Decoder` from parsed JSON.

    Raises:
        ValueError: a value is missing, unknown, of another type, or beyond what a network can have.
    """
    return TypeAdapter(kind).validate_json(json.dumps(values), strict=True)


@dataclass(frozen=True)
class TimmNetwork:
    """A network of timm.

    Attributes:
        name: in timm.
        arguments: of `timm.create_model` that differ from those of the name, as JSON values; `norm_eps` is the epsilon of
            all layer norms, `without_norm` leaves out the final one.
        image_size: in pixels, if the weights belong to one; otherwise timm resamples them.
        decoder: added to it, if any.
        mean: of the RGB channels in pre-training, for images in [0, 1]; None: timm's for this name.
        std: standard deviation of these channels; None: timm's.
        positions: whether fine-tuning trains the table of absolute positions, if there is one.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    image_size: Size | None = None
    decoder: Decoder | None = None
    mean: Channels | None = None
    std: Channels | None = None
    positions: Literal["fixed", "learned"] = "fixed"


@dataclass(frozen=True)
class CodeNetwork:
    """A network that other code builds: the checkpoint string that names this code, and the image size in pixels."""

    code: str
    image_size: Size


def _vit(family: Literal["croco", "mae", "multimae", "vit"], width: int, depth: int, **changes: Any) -> Architecture:
    base = Architecture(
        family=family,
        width=width,
        depth=depth,
        heads=heads_of(width),
        hidden=4 * width,
        patch_size=16,
        grid=(14, 14),
        prefix_tokens=0 if family == "croco" else 1,
        positions="fixed",
        final_norm=family != "multimae",
    )
    return replace(base, **changes)


_SMALL = Decoder(width=512, depth=8, heads=16, hidden=2048)
_BASE = Decoder(width=768, depth=12, heads=12, hidden=3072)
_MINI = Decoder(width=96, depth=3, heads=3, hidden=384)
_MINI_ENCODER = {"patch_size": 8, "grid": (8, 8)}

_BOTH = replace(_BASE, memory="own")
_DUST3R = _vit("croco", 1024, 24, positions="rope", decoder=_BOTH, mean=HALF[0], std=HALF[1])

ARCHITECTURES: dict[str, Architecture] = {
    "croco-v1": _vit("croco", 768, 12, decoder=_SMALL),
    "croco-v2-vitb-small": _vit("croco", 768, 12, positions="rope", decoder=_SMALL),
    "croco-v2-vitb-base": _vit("croco", 768, 12, positions="rope", decoder=_BASE),
    "croco-v2-vitl-base": _vit("croco", 1024, 24, positions="rope", decoder=_BASE),
    "mae-vitb": _vit("mae", 768, 12),
    "mae-vitl": _vit("mae", 1024, 24),
    "mae-vith": _vit("mae", 1280, 32, patch_size=14, grid=(16, 16)),
    "multimae-vitb": _vit("multimae", 768, 12),
    "dust3r-224-linear": _DUST3R,
    "dust3r-512-linear": replace(_DUST3R, grid=(32, 32)),
    "dust3r-512-dpt": replace(_DUST3R, grid=(32, 32)),
    "mast3r-512": replace(_DUST3R, grid=(32, 32)),
    "mini-croco": _vit("croco", 128, 4, positions="rope", decoder=_MINI, **_MINI_ENCODER),
    "mini-croco-cat": _vit("croco", 128, 4, positions="rope", decoder=replace(_MINI, kind="cat"), **_MINI_ENCODER),
    "mini-mae": _vit("mae", 128, 4, **_MINI_ENCODER),
    "mini-multimae": _vit("multimae", 128, 4, **_MINI_ENCODER),
}
