"""ViTs that this project's own network can't represent, in timm's names: CLIP, EVA, EVA-02, BEiT, DINOv3 of timm.

timm's network does the work. Its arguments follow from the shapes of the tensors; what shapes don't show is a fact of the
family or is assumed and noted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from croco_bench.backbones.formats import Converted, Format, RawCheckpoint
from croco_bench.backbones.formats.names import Names, encoder_heads, patch_shape
from croco_bench.backbones.networks.architecture import HALF, IMAGENET, TimmNetwork

_HEADS = (
    r"(fc_)?head(_\w+)?\.",
    r"lm_head\.",
    r"attn_pool\.",
    r"mask_token$",
    r".*relative_position_index$",
    r"rope\.",
)
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def _common(names: Names) -> tuple[dict[str, Any], int]:
    """Arguments that all of timm's ViTs take, and the rows of the MLP's first layer."""
    width, patch_size = patch_shape(names, "patch_embed.proj")
    first = next(one for one in ("fc1", "fc1_g") if one == "fc1_g" or names.has(f"blocks.0.mlp.{one}."))
    hidden, _ = names.shape(f"blocks.0.mlp.{first}.weight", "hidden, width")
    arguments = {
        "patch_size": patch_size,
        "embed_dim": width,
        "depth": names.depth("blocks"),
        "mlp_ratio": (hidden + 0.5) / width,  # timm rounds down
    }
    return arguments, hidden


def _statistics(names: Names, mean_std: Any, eps: float, activation: str | None = "gelu") -> dict[str, Any]:
    facts = {"mean": mean_std[0], "std": mean_std[1], "norm_eps": eps}
    if activation:
        facts["activation"] = activation
    return {key: names.facts.pick(key, assumed=value) for key, value in facts.items()}


def _handed_over(names: Names, name: str, arguments: dict[str, Any], facts: dict[str, Any], *notes: str) -> Converted:
    names.take_below("")
    positions = names.facts.pick("positions", known="fixed")
    network = TimmNetwork(name, arguments, mean=facts["mean"], std=facts["std"], positions=positions)
    return Converted(network, names.out, notes)


def _final_norm(names: Names) -> bool:
    """Whether the last norm is `fc_norm`, made for pooled tokens; a norm that is missing is an error."""
    if names.has("fc_norm."):
        names.drop("norm.")
        return True
    names.look("norm.weight")
    return False


def _convert_pre_norm(names: Names) -> Converted:
    """CLIP's ViT: a norm before the blocks, patches without bias."""
    arguments, _ = _common(names)
    facts = _statistics(names, _CLIP, 1e-5)
    arguments |= {
        "num_heads": encoder_heads(names, arguments["embed_dim"]),
        "act_layer": facts["activation"],
        "norm_eps": facts["norm_eps"],
        "class_token": names.has("cls_token"),
        "global_pool": "",
        "fc_norm": _final_norm(names),
    }
    return _handed_over(names, "vit_base_patch16_clip_224", arguments, facts)


def _convert_beit(names: Names) -> Converted:
    arguments, _ = _common(names)
    shared = names.has("rel_pos_bias.")
    table = "rel_pos_bias." if shared else "blocks.0.attn."
    _, heads = names.shape(f"{table}relative_position_bias_table", "offsets, heads")
    facts = _statistics(names, HALF, 1e-6, None)
    arguments |= {
        "num_heads": names.facts.pick("heads", stated=heads),
        "norm_eps": facts["norm_eps"],
        "qkv_bias": names.has("blocks.0.attn.q_bias"),
        "init_values": 0.1 if names.has("blocks.0.gamma_1") else None,
        "use_abs_pos_emb": names.has("pos_embed"),
        "use_rel_pos_bias": not shared,
        "use_shared_rel_pos_bias": shared,
    }
    if not names.has("norm.") and not names.has("fc_norm."):  # data2vec before fine-tuning
        note = "the file has no final norm: the last block's output is used as it is"
        return _handed_over(names, "beit_base_patch16_224", {**arguments, "without_norm": True}, facts, note)
    arguments["use_fc_norm"] = _final_norm(names)
    return _handed_over(names, "beit_base_patch16_224", arguments, facts)


@dataclass(frozen=True)
class _Eva:
    """A family of timm's class Eva: the name whose other arguments hold, and what the family was trained with."""

    name: str
    statistics: Any
    eps: float


_EVA = _Eva("eva_giant_patch14_224", _CLIP, 1e-6)
_EVA02 = _Eva("eva02_base_patch14_224", _CLIP, 1e-6)
_DINOV3 = _Eva("vit_base_patch16_dinov3", IMAGENET, 1e-5)


def _convert_eva_family(names: Names, family: _Eva) -> Converted:
    arguments, hidden = _common(names)
    facts = _statistics(names, family.statistics, family.eps, None)
    separate = names.has("blocks.0.mlp.fc1_g.")
    packed = not separate and names.shape("blocks.0.mlp.fc2.weight", "width, hidden")[1] * 2 == hidden
    if packed:
        arguments["mlp_ratio"] = (hidden // 2 + 0.5) / arguments["embed_dim"]
    fused = names.has("blocks.0.attn.qkv.")
    arguments |= {
        "num_heads": encoder_heads(names, arguments["embed_dim"]),
        "norm_eps": facts["norm_eps"],
        "qkv_fused": fused,
        "qkv_bias": names.has("blocks.0.attn.q_bias") or names.has("blocks.0.attn.q_proj.bias"),
        "swiglu_mlp": separate or packed,
        "swiglu_align_to": 1 if separate else 0,
        "scale_mlp": names.has("blocks.0.mlp.norm."),
        "scale_attn_inner": names.has("blocks.0.attn.norm."),
        "init_values": 1e-5 if names.has("blocks.0.gamma_1") else None,
        "use_post_norm": arguments["embed_dim"] == 1792,  # EVA-02-CLIP-E, whose names are those of EVA
        "class_token": names.has("cls_token"),
        "num_reg_tokens": names.shape("reg_token", "1, tokens, width")[1] if names.has("reg_token") else 0,
        "use_abs_pos_emb": names.has("pos_embed"),
        "global_pool": "",
        "use_fc_norm": _final_norm(names),
    }
    return _handed_over(names, family.name, arguments, facts)


def _convert_sam(names: Names) -> Converted:
    """The image encoder of Segment Anything: windows in most blocks, relative positions in all."""
    arguments, _ = _common(names)
    _, channels = names.shape("blocks.0.attn.rel_pos_h", "offsets, head channels")
    offsets = [len(names.look(f"blocks.{index}.attn.rel_pos_h")) for index in range(arguments["depth"])]
    facts = _statistics(names, IMAGENET, 1e-6, None)
    arguments |= {
        "num_heads": names.facts.pick("heads", stated=arguments["embed_dim"] // channels),
        "norm_eps": facts["norm_eps"],
        "window_size": (min(offsets) + 1) // 2,
        "global_attn_indexes": [index for index, count in enumerate(offsets) if count > min(offsets)],
    }
    names.drop("neck.")
    note = "SAM's neck, convolutions behind the last block, was left out"
    return _handed_over(names, "samvit_base_patch16", arguments, facts, note)


def _is_sam(raw: RawCheckpoint) -> bool:
    return raw.has("blocks.0.attn.rel_pos_h")


def _is_pre_norm(raw: RawCheckpoint) -> bool:
    return raw.has("norm_pre.") and raw.has("blocks.0.attn.qkv.") and raw.has("pos_embed") and not raw.has("attn_pool.")


def _is_beit(raw: RawCheckpoint) -> bool:
    return raw.has("blocks.0.attn.relative_position_bias_table", "rel_pos_bias.relative_position_bias_table")


def _is_dinov3(raw: RawCheckpoint) -> bool:
    return raw.has("reg_token") and raw.has("blocks.0.gamma_1") and not raw.has("pos_embed")


def _is_eva(raw: RawCheckpoint) -> bool:
    return raw.has("blocks.0.attn.q_bias", "blocks.0.attn.q_proj.") and raw.has("pos_embed")


def _is_eva02(raw: RawCheckpoint) -> bool:
    """EVA-02 has gated MLPs: the second layer takes half of what the first one gives."""
    layers = [raw.state.get(f"blocks.0.mlp.{name}.weight") for name in ("fc1", "fc2")]
    first, second = (None if layer is None or layer.ndim != 2 else layer.shape for layer in layers)
    packed = first is not None and second is not None and first[0] == 2 * second[1]
    return _is_eva(raw) and (packed or raw.has("blocks.0.mlp.fc1_g."))


FORMATS = (
    Format("CLIP", _is_pre_norm, _convert_pre_norm, _HEADS),
    Format("BEiT", _is_beit, _convert_beit, _HEADS),
    Format("DINOv3 of timm", _is_dinov3, lambda names: _convert_eva_family(names, _DINOV3), _HEADS),
    Format("EVA-02", _is_eva02, lambda names: _convert_eva_family(names, _EVA02), _HEADS),
    Format("SAM", _is_sam, _convert_sam, _HEADS),
    Format("EVA", _is_eva, lambda names: _convert_eva_family(names, _EVA), _HEADS),
)
