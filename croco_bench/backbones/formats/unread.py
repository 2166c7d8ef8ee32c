"""Families whose files no format reads: by which names they are known, and what works instead."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from croco_bench.errors import CheckpointError

if TYPE_CHECKING:
    from croco_bench.backbones.formats import RawCheckpoint


@dataclass(frozen=True)
class Family:
    """A family of networks.

    Attributes:
        marker: regular expression for the beginning of a name that its files have.
        name: in messages, with an article.
        advice: what works instead.
    """

    marker: str
    name: str
    advice: str


def _by_timm(name: str) -> str:
    return f"give the name in timm that fits, such as timm:{name}@FILE"


_BY_CODE = "its own code can be given as python:MODULE:NAME@FILE"
_ANY = r"(?:[\w]+\.)*?"
FAMILIES = (
    Family(rf"{_ANY}patch_generator\.", "a RADIO", _by_timm("vit_base_patch16_radio_v3")),
    Family(r"(visual\.)?attn_pool\.probe$", "a Perception Encoder", _by_timm("vit_pe_core_base_patch16_224")),
    Family(
        r"(conv1|transformer\.resblocks\.0\.ln_1)\.",
        "an image tower of CLIP or a Perception Encoder alone, which differ in rotary positions that no tensor shows",
        _by_timm("vit_pe_spatial_base_patch16_512"),
    ),
    Family(rf"{_ANY}beit3\.", "a BEiT-3", _by_timm("beit3_base_patch16_224")),
    Family(r"(trunk\.)?preprocessor\.patchifier\.", "an AIMv2", _by_timm("aimv2_large_patch14_224")),
    Family(rf"{_ANY}layers\.0\.blocks\.0\.attn\.", "a Swin", _by_timm("swin_base_patch4_window7_224")),
    Family(
        rf"{_ANY}encoder\.layers\.0\.blocks\.0\.",
        "a Swin of transformers",
        "get the file of timm, and " + _by_timm("swin_tiny_patch4_window7_224"),
    ),
    Family(
        rf"{_ANY}(stages\.0\.(blocks\.)?0\.(conv_dw|dwconv)|downsample_layers\.0\.0)\.",
        "a ConvNeXt",
        _by_timm("convnext_base"),
    ),
    Family(rf"{_ANY}layer1\.0\.conv1\.weight", "a ResNet", _by_timm("resnet50")),
    Family(rf"{_ANY}encoder\.blocks\.0\.residual1\.", "a CAPI", _BY_CODE),
    Family(rf"{_ANY}modality_encoders\.", "a data2vec 2.0", _BY_CODE),
    Family(rf"{_ANY}(transformer\.h|h)\.0\.attn\.c_attn\.", "a language model", "give an image encoder"),
    Family(rf"{_ANY}(bert|roberta)\.encoder\.layer\.0\.", "a language model", "give an image encoder"),
    Family(r"(model\.)?diffusion_model\.", "a diffusion model", "give an image encoder"),
    Family(
        r".*lora_(A|B)\.",
        "a set of LoRA adapters",
        "merge them into their base network (peft: merge_and_unload) and save that",
    ),
    Family(r".*\.(weight_packed|qweight|weight_scale)$", "a quantized network", "give the weights in floating point"),
)


def unread_family(raw: RawCheckpoint) -> CheckpointError | None:
    """The error for a file of a family that isn't read; None if it is of no such family."""
    for family in FAMILIES:
        if any(re.match(family.marker, name) for name in raw.state):
            return CheckpointError(f"{raw.source} seems to hold {family.name}, which isn't read", family.advice)
    if any(tensor.ndim == 5 for name, tensor in raw.state.items() if "patch" in name):
        return CheckpointError(f"{raw.source} seems to hold a network for video", "give one for single images")
    return None


def unknown_network(raw: RawCheckpoint, known: list[str]) -> CheckpointError:
    """The error for a file of no known format and family."""
    some = ", ".join(sorted(raw.state)[:3])
    return CheckpointError(
        f"{raw.source} holds weights of no known network (such as {some})",
        f"known formats: {', '.join(known)}; a network that timm knows can be given as timm:NAME@FILE",
    )
