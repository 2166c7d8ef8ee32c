"""Facts about a checkpoint that its tensors don't show, as a user can state them. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
Channels = tuple[Finite, Finite, Finite]
Activation = Literal["gelu", "gelu_tanh", "quick_gelu"]
# How a position table is brought to another grid; see `position_tables.resample`.
Resampling = Literal["bicubic", "antialiased", "offset"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class BackboneFacts:
    """What a user knows about a file. None: taken from the file, from files next to it, from the zoo, or assumed and noted.

    Attributes:
        state: entry of the file that holds the weights, `model_ema` for instance.
        heads: attention heads of the encoder.
        decoder_heads: attention heads of the decoder.
        patch_size: in pixels; a file with another one is refused.
        mean: of the RGB channels that the network was trained with, for images in [0, 1].
        std: standard deviation of these channels.
        norm_eps: epsilon of the layer norms.
        activation: of the MLPs.
        positions: whether fine-tuning trains the position table (`learned`) or not (`fixed`, the default for all networks,
            as in MultiMAE's code).
        resampling: how the position table is brought to another image size: `bicubic`, `antialiased` (timm's rule), or
            `offset` (that of DINOv2 without registers).
        final_norm: whether the last block's output passes the checkpoint's final norm; default: where there is one.
    """

    state: str | None = None
    heads: Annotated[int, Field(gt=0)] | None = None
    decoder_heads: Annotated[int, Field(gt=0)] | None = None
    patch_size: Annotated[int, Field(gt=0)] | None = None
    mean: Channels | None = None
    std: tuple[Positive, Positive, Positive] | None = None
    norm_eps: Positive | None = None
    activation: Activation | None = None
    positions: Literal["fixed", "learned"] | None = None
    resampling: Resampling | None = None
    final_norm: bool | None = None
