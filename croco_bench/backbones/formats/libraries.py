"""The libraries whose names are read: transformers, CLIP and OpenCLIP, OpenMMLab, EVA, RADIO, SAM."""

from __future__ import annotations

import re

import torch

from croco_bench.backbones.formats.dialects import Dialect, State
from croco_bench.backbones.networks.architecture import HALF

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# The attribute that holds the encoder in networks with a head.
_TRANSFORMERS = r"^(?:vit|deit|beit|dinov2|dinov2_with_registers|dinov3_vit|ijepa|vit_msn|data2vec_vision|model)\."
_VISION = r"^(?:vision_model|clip\.vision_model|siglip\.vision_model)\."

_TRANSFORMERS_VIT = Dialect(
    "transformers",
    r"(\w+\.)?encoder\.layer\.0\.attention\.attention\.query\.",
    (
        (_TRANSFORMERS, ""),
        (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
        (r"^embeddings\.position_embeddings$", "pos_embed"),
        (r"^embeddings\.distillation_token$", "dist_token"),
        (r"^embeddings\.", ""),
        (r"^encoder\.layer\.", "blocks."),
        (r"attention\.attention\.(query|key|value)\.(weight|bias)$", r"attn.\1_\2"),
        (r"attention\.attention\.relative_position_bias\.relative", "attn.relative"),
        (r"attention\.output\.dense\.", "attn.proj."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
        (r"\.layernorm_before\.", ".norm1."),
        (r"\.layernorm_after\.", ".norm2."),
        (r"layer_scale(\d)\.lambda1$", r"ls\1.gamma"),
        (r"\.lambda_(\d)$", r".gamma_\1"),
        (r"\.mlp\.weights_in\.", ".mlp.w12."),
        (r"\.mlp\.weights_out\.", ".mlp.w3."),
        (r"^encoder\.relative_position_bias\.", "rel_pos_bias."),
        (r"^pooler\.layernorm\.", "fc_norm."),
        (r"^layernorm\.", "norm."),
        (r"^decoder\.(?:decoder_)?", "decoder_"),
    ),
    dropped=(
        r"(\w+\.)?pooler\.dense\.",
        r"(\w+_)?classifier\.",
        r"lm_head\.",
    ),
)

_TRANSFORMERS_DINOV3 = Dialect(
    "transformers",
    r"(\w+\.)*layer\.0\.attention\.q_proj\.",
    (
        (_TRANSFORMERS, ""),
        (r"^model\.", ""),
        (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
        (r"^embeddings\.register_tokens$", "storage_tokens"),
        (r"^embeddings\.", ""),
        (r"^layer\.", "blocks."),
        (r"attention\.q_proj\.(weight|bias)$", r"attn.query_\1"),
        (r"attention\.k_proj\.(weight|bias)$", r"attn.key_\1"),
        (r"attention\.v_proj\.(weight|bias)$", r"attn.value_\1"),
        (r"attention\.o_proj\.", "attn.proj."),
        (r"layer_scale(\d)\.lambda1$", r"ls\1.gamma"),
        (r"mlp\.gate_proj\.", "mlp.w1."),
        (r"(?<=mlp\.)up_proj\.", "up."),
        (r"(?<=mlp\.)down_proj\.", "down."),
    ),
    dropped=(r"classifier\.",),
    reshape=lambda state: _dinov3(state),
)


def _dinov3(state: State) -> State:
    """The layers of the MLP and the biases of attention, as DINOv3 keeps them: a mask says that keys have none."""
    gated = any(name.endswith("mlp.w1.weight") for name in state)
    up, down = ("mlp.w2.", "mlp.w3.") if gated else ("mlp.fc1.", "mlp.fc2.")
    renamed = {name.replace("mlp.up.", up).replace("mlp.down.", down): tensor for name, tensor in state.items()}
    attentions = [name.removesuffix("q_bias") for name in renamed if name.endswith("attn.q_bias")]
    for attention in [one for one in attentions if f"{one}v_bias" in renamed]:
        query, value = renamed.pop(f"{attention}q_bias"), renamed.pop(f"{attention}v_bias")
        zeros, ones = torch.zeros_like(query), torch.ones_like(query)
        renamed[f"{attention}qkv.bias"] = torch.cat([query, zeros, value])
        renamed[f"{attention}qkv.bias_mask"] = torch.cat([ones, zeros, ones])
    return renamed


_TRANSFORMERS_VISION = (
    (_VISION, ""),
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^embeddings\.class_embedding$", "cls_token"),
    (r"^encoder\.layers\.", "blocks."),
    (r"self_attn\.q_proj\.(weight|bias)$", r"attn.query_\1"),
    (r"self_attn\.k_proj\.(weight|bias)$", r"attn.key_\1"),
    (r"self_attn\.v_proj\.(weight|bias)$", r"attn.value_\1"),
    (r"self_attn\.out_proj\.", "attn.proj."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^post_layernorm\.", "norm."),
)
_TEXT = (r"text_model\.", r"text_projection", r"visual_projection\.", r"logit_(scale|bias)$", r".*position_ids$")

_TRANSFORMERS_CLIP = Dialect(
    "transformers' CLIP",
    r"(vision_model\.|clip\.vision_model\.)?pre_layrnorm\.",
    _TRANSFORMERS_VISION,
    dropped=(*_TEXT, r"classifier\."),
    facts={"norm_eps": 1e-5, "mean": _CLIP_MEAN, "std": _CLIP_STD},
)
_TRANSFORMERS_SIGLIP = Dialect(
    "transformers' SigLIP",
    r"(vision_model\.)?encoder\.layers\.0\.self_attn\.q_proj\.",
    _TRANSFORMERS_VISION,
    dropped=(*_TEXT, r"(vision_model\.)?head\.", r"classifier\."),
    facts={"norm_eps": 1e-6, "activation": "gelu_tanh", "mean": HALF[0], "std": HALF[1]},
)

_CLIP_NAMES = (
    (r"^visual\.", ""),
    (r"^conv1\.", "patch_embed.proj."),
    (r"^positional_embedding$", "pos_embed"),
    (r"^class_embedding$", "cls_token"),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"\.attn\.in_proj_", ".attn.qkv."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.ln_(\d)\.", r".norm\1."),
)
# Everything beside the image tower.
_BESIDE_VISUAL = (
    r"(?!visual\.)(transformer|token_embedding|positional_embedding|ln_final|text|text_projection|logit_scale|logit_bias)",
    r"input_resolution$|context_length$|vocab_size$|attn_mask$",
)

_CLIP = Dialect(
    "CLIP",
    r"visual\.transformer\.resblocks\.",
    _CLIP_NAMES,
    dropped=(*_BESIDE_VISUAL, r"visual\.proj$", r"visual\.attn_pool\."),
    facts={"norm_eps": 1e-5},
    unless=r"visual\.(attn_pool\.probe|transformer\.resblocks\.0\.ls_1)",  # Perception Encoder, with rotary positions
)
_OPENCLIP_TIMM = Dialect(
    "OpenCLIP",
    r"visual\.trunk\.",
    ((r"^visual\.trunk\.", ""),),
    dropped=(*_BESIDE_VISUAL, r"visual\.head\."),
)

_OPENMMLAB = Dialect(
    "OpenMMLab",
    r"layers\.0\.(ln1|attn\.qkv)\.",
    (
        (r"^patch_embed\.projection\.", "patch_embed.proj."),
        (r"^layers\.", "blocks."),
        (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
        (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
        (r"(blocks\.\d+)\.ln(\d)\.", r"\1.norm\2."),
        (r"\.(?:attn|ffn)\.gamma(\d)\.weight$", r".ls\1.gamma"),
        (r"^ln1\.", "norm."),
        (r"^ln2\.", "fc_norm."),
        (r"^pre_norm\.", "norm_pre."),
    ),
    dropped=(r"head\.", r"mask_token$"),
)

_EVA_CLIP = Dialect(
    "EVA-CLIP",
    r"visual\.blocks\.0\.",
    ((r"^visual\.", ""),),
    dropped=(*_BESIDE_VISUAL, r"visual\.head\."),
    facts={"mean": _CLIP_MEAN, "std": _CLIP_STD},
)
_EVA = Dialect(
    "EVA",
    r"(blocks\.0\.attn\.)?rope\.freqs_|blocks\.0\.attn\.inner_attn_ln\.|blocks\.0\.mlp\.ffn_ln\.",
    (
        (r"\.mlp\.ffn_ln\.", ".mlp.norm."),
        (r"\.attn\.inner_attn_ln\.", ".attn.norm."),
        (r"\.mlp\.w12\.", ".mlp.fc1."),
        (r"\.mlp\.w1\.", ".mlp.fc1_g."),
        (r"\.mlp\.w2\.", ".mlp.fc1_x."),
        (r"\.mlp\.w3\.", ".mlp.fc2."),
    ),
    dropped=(r"(blocks\.\d+\.attn\.)?rope\.", r"lm_head\.", r"mask_token$"),
    reshape=lambda state: _eva_biases(state),
)


def _eva_biases(state: State) -> State:
    """Biases of separate projections, which EVA keeps beside them."""
    if not any(name.endswith("attn.q_proj.weight") for name in state):
        return state
    return {re.sub(r"\.attn\.(q|v)_bias$", r".attn.\1_proj.bias", name): tensor for name, tensor in state.items()}


_SAM = Dialect(
    "SAM",
    r"image_encoder\.patch_embed\.",
    ((r"^image_encoder\.", ""), (r"\.mlp\.lin(\d)\.", r".mlp.fc\1.")),
    dropped=(r"mask_decoder\.", r"prompt_encoder\.", r"image_encoder\.neck\.", r"pixel_(mean|std)$"),
)

_ATTENTION_POOLING = Dialect(
    "timm, with attention pooling",
    r"attn_pool\.latent$",
    (),
    dropped=(r"attn_pool\.",),
    facts={"mean": HALF[0], "std": HALF[1]},  # SigLIP, and Google's other ViTs of this kind
    unless=r"norm_pre\.",  # Perception Encoder, with rotary positions
)
_DEIT3 = Dialect(
    "DeiT III",
    r"blocks\.0\.gamma_1$",
    ((r"\.gamma_(\d)$", r".ls\1.gamma"),),
    unless=r"blocks\.0\.attn\.(q_bias|q_proj|relative_position)|reg_token|rel_pos_bias|rope|freqs",  # EVA, BEiT, DINOv3
    needs=r"pos_embed$",
)
# The names of transformers' RADIO, which timm's own filter knows.
_RADIO = Dialect(
    "RADIO",
    r"(base_model|model)\.patch_generator\.",
    ((r"^(base_model|model)\.", "radio_model.model."),),
    dropped=(r"input_conditioner\.", r"summary_idxs$", r"(_?heads|_?feature_projections|adaptors?)\."),
)

DIALECTS = (
    _TRANSFORMERS_VIT,
    _TRANSFORMERS_DINOV3,
    _TRANSFORMERS_CLIP,
    _TRANSFORMERS_SIGLIP,
    _CLIP,
    _OPENCLIP_TIMM,
    _OPENMMLAB,
    _EVA_CLIP,
    _EVA,
    _SAM,
    _RADIO,
    _ATTENTION_POOLING,
    _DEIT3,
)
