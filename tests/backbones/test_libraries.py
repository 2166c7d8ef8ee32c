"""Files of other libraries: a network of timm under each library's names gives timm's own tokens."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from croco_bench import load_backbone
from croco_bench.backbones.networks.facts import BackboneFacts

State = dict[str, Tensor]
IMAGES = torch.linspace(-1, 1, 2 * 3 * 32 * 32).sin().reshape(2, 3, 32, 32)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)


def filled(net: Any) -> Any:
    """Random weights, of which all matter."""
    torch.manual_seed(0)
    for values in net.parameters():
        nn.init.normal_(values, std=0.3)
    return net.eval()


def vit(**changes: Any) -> Any:
    settings: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2}
    norm = partial(nn.LayerNorm, eps=changes.pop("eps", 1e-6))
    return filled(VisionTransformer(norm_layer=norm, num_classes=0, **{**settings, **changes}))


def named(name: str, **changes: Any) -> Any:
    settings = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2, "num_classes": 0}
    return filled(timm.create_model(name, **{**settings, **changes}))


def renamed(state: State, *rules: tuple[str, str]) -> State:
    for pattern, by in rules:
        state = {re.sub(pattern, by, name): tensor for name, tensor in state.items()}
    return state


def split(state: State, name: str, parts: tuple[str, str, str]) -> State:
    """Each joint projection `<block>.attn.qkv` as three: `<block>.<name with the part>`."""
    out: State = {}
    for key, tensor in state.items():
        if match := re.fullmatch(r"(.*)\.attn\.qkv\.(weight|bias)", key):
            for part, own in zip(parts, tensor.chunk(3), strict=True):
                out[f"{match[1]}.{name.format(part)}.{match[2]}"] = own
        elif match := re.fullmatch(r"(.*)\.attn\.(q|v)_bias", key):
            out[f"{match[1]}.{name.format(parts[0] if match[2] == 'q' else parts[2])}.bias"] = tensor
        else:
            out[key] = tensor
    return out


def transformers(state: State) -> State:
    """As ViT, DeiT, Dinov2, BEiT, I-JEPA and ViTMAE name their encoders in transformers."""
    swiglu = (
        "blocks.0.mlp.fc2.weight" in state
        and len(state["blocks.0.mlp.fc1.bias"]) != state["blocks.0.mlp.fc2.weight"].shape[1]
    )
    dino = "blocks.0.ls1.gamma" in state
    state = split(state, "attention.attention.{}", ("query", "key", "value"))
    rules = [
        (r"attn\.proj\.", "attention.output.dense."),
        (r"attn\.relative", "attention.attention.relative_position_bias.relative"),
        (r"^rel_pos_bias\.", "encoder.relative_position_bias."),
        (r"ls(\d)\.gamma", r"layer_scale\1.lambda1"),
        (r"gamma_(\d)", r"lambda_\1"),
        (r"^norm\.", "layernorm."),
        (r"^fc_norm\.", "pooler.layernorm."),
        (r"^reg_token", "register_tokens"),
        (r"^(cls_token|register_tokens)$", r"embeddings.\1"),
        (r"^dist_token$", "embeddings.distillation_token"),
        (r"^pos_embed$", "embeddings.position_embeddings"),
        (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
        (r"^blocks\.", "encoder.layer."),
    ]
    if swiglu:
        rules += [(r"mlp\.fc1\.", "mlp.weights_in."), (r"mlp\.fc2\.", "mlp.weights_out.")]
    if not dino:
        rules += [(r"norm1\.", "layernorm_before."), (r"norm2\.", "layernorm_after.")]
        rules += [(r"mlp\.fc1\.", "intermediate.dense."), (r"mlp\.fc2\.", "output.dense.")]
    return renamed(state, *rules)


def transformers_vision(state: State) -> State:
    """As CLIP and SigLIP name their image towers in transformers, with a text tower beside."""
    if "cls_token" in state:
        state["cls_token"] = state["cls_token"].flatten()
    state["pos_embed"] = state["pos_embed"][0]
    state = split(state, "self_attn.{}_proj", ("q", "k", "v"))
    rules = [
        (r"attn\.proj\.", "self_attn.out_proj."),
        (r"\.norm(\d)\.", r".layer_norm\1."),
        (r"^norm_pre\.", "pre_layrnorm."),
        (r"^norm\.", "post_layernorm."),
        (r"^cls_token$", "embeddings.class_embedding"),
        (r"^pos_embed$", "embeddings.position_embedding.weight"),
        (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
        (r"^blocks\.", "encoder.layers."),
        (r"^", "vision_model."),
    ]
    text = {"text_model.embeddings.token_embedding.weight": torch.ones(3, 3), "logit_scale": torch.tensor(1.0)}
    return {**renamed(state, *rules), **text, "visual_projection.weight": torch.ones(2, 2)}


def clip(state: State) -> State:
    """As OpenAI's CLIP and OpenCLIP name them, with a text tower beside."""
    state["cls_token"], state["pos_embed"] = state["cls_token"].flatten(), state["pos_embed"][0]
    rules = [
        (r"attn\.qkv\.", "attn.in_proj_"),
        (r"attn\.proj\.", "attn.out_proj."),
        (r"mlp\.fc1\.", "mlp.c_fc."),
        (r"mlp\.fc2\.", "mlp.c_proj."),
        (r"\.norm(\d)\.", r".ln_\1."),
        (r"^norm_pre\.", "ln_pre."),
        (r"^norm\.", "ln_post."),
        (r"^cls_token$", "class_embedding"),
        (r"^pos_embed$", "positional_embedding"),
        (r"^patch_embed\.proj\.", "conv1."),
        (r"^blocks\.", "transformer.resblocks."),
        (r"^", "visual."),
    ]
    text = {"transformer.resblocks.0.ln_1.weight": torch.ones(3), "positional_embedding": torch.ones(7, 3)}
    beside = {"text_projection": torch.ones(3, 3), "visual.proj": torch.ones(64, 3), "ln_final.bias": torch.ones(3)}
    return {**renamed(state, *rules), **text, **beside, "token_embedding.weight": torch.ones(2, 2)}


def openclip_timm(state: State) -> State:
    return {
        **renamed(state, (r"^", "visual.trunk.")),
        "text.ln_final.weight": torch.ones(3),
        "logit_scale": torch.ones(1),
    }


def openmmlab(state: State) -> State:
    """As mmpretrain, MMSelfSup and mmseg name them."""
    rules = [
        (r"mlp\.fc1\.", "ffn.layers.0.0."),
        (r"mlp\.fc2\.", "ffn.layers.1."),
        (r"\.norm(\d)\.", r".ln\1."),
        (r"^norm\.", "ln1."),
        (r"ls1\.gamma", "attn.gamma1.weight"),
        (r"ls2\.gamma", "ffn.gamma2.weight"),
        (r"^patch_embed\.proj\.", "patch_embed.projection."),
        (r"^blocks\.", "layers."),
        (r"^", "backbone."),
    ]
    return {**renamed(state, *rules), "head.fc.weight": torch.ones(2, 2), "neck.x": torch.ones(1)}


def eva02(state: State) -> State:
    """As EVA-02's own code names them."""
    rules = [
        (r"mlp\.fc1_g\.", "mlp.w1."),
        (r"mlp\.fc1_x\.", "mlp.w2."),
        (r"mlp\.fc2\.", "mlp.w3."),
        (r"mlp\.norm\.", "mlp.ffn_ln."),
        (r"attn\.norm\.", "attn.inner_attn_ln."),
        (r"attn\.(q|v)_proj\.bias", r"attn.\1_bias"),
    ]
    rope = {"rope.freqs_cos": torch.ones(16, 32), "blocks.0.attn.rope.freqs_sin": torch.ones(16, 32)}
    return {**renamed(state, *rules), **rope, "mask_token": torch.zeros(1, 1, 64)}


def eva_clip(state: State) -> State:
    return {**renamed(eva02(state), (r"^", "visual.")), "text.ln_final.weight": torch.ones(3)}


def deit3(state: State) -> State:
    return renamed(state, (r"ls(\d)\.gamma", r"gamma_\1"))


def moco(state: State) -> State:
    """As MoCo v3 saves them: the projector stands in place of the classifier."""
    beside = {"module.momentum_encoder.head.0.weight": torch.ones(2, 2), "module.predictor.0.weight": torch.ones(2, 2)}
    own = renamed(state, (r"^", "module.base_encoder."))
    return {**own, **beside, "module.base_encoder.head.0.weight": torch.ones(2, 2)}


def depth_anything(state: State) -> State:
    return {**renamed(state, (r"^", "pretrained.")), "depth_head.projects.0.weight": torch.ones(2, 2)}


def crossmae(state: State) -> State:
    decoder = {"decoder_blocks.0.cross_attn.q.weight": torch.ones(2, 2), "mask_token": torch.ones(1, 1, 2)}
    beside = {
        "dec_norms.0.weight": torch.ones(64),
        "wfm.linear.weight": torch.ones(1, 2),
        "decoder_pred.bias": torch.ones(3),
    }
    return {**state, **decoder, **beside}


def same(state: State) -> State:
    return state


def sam(state: State) -> State:
    decoder = {"mask_decoder.a": torch.ones(1), "prompt_encoder.b": torch.ones(1), "pixel_mean": torch.ones(3, 1, 1)}
    return {**renamed(state, (r"mlp\.fc", "mlp.lin"), (r"^", "image_encoder.")), **decoder}


TWO = BackboneFacts(heads=2)
HALF = (0.5, 0.5, 0.5)
IMAGENET = (0.485, 0.456, 0.406)
NO_CLASS: dict[str, Any] = {"class_token": False, "global_pool": ""}
SWIGLU: dict[str, Any] = {"mlp_ratio": 4, "mlp_layer": timm.layers.SwiGLUPacked, "act_layer": nn.SiLU}
PRE_NORM: dict[str, Any] = {"pre_norm": True, "eps": 1e-5}

# Name, names of the library, network, facts that the file doesn't say, format, mean.
FILES: list[tuple[str, Callable[[State], State], Callable[[], Any], BackboneFacts, str, tuple[float, ...]]] = [
    ("transformers ViT", transformers, vit, TWO, "ViT", IMAGENET),
    ("transformers DeiT", transformers, lambda: named("deit_tiny_distilled_patch16_224"), TWO, "ViT", IMAGENET),
    ("transformers I-JEPA", transformers, lambda: vit(**NO_CLASS), TWO, "ViT", IMAGENET),
    ("transformers Dinov2", transformers, lambda: vit(init_values=1.0), TWO, "ViT", IMAGENET),
    ("transformers Dinov2 giant", transformers, lambda: vit(init_values=1.0, **SWIGLU), TWO, "ViT", IMAGENET),
    (
        "transformers Dinov2 registers",
        transformers,
        lambda: vit(init_values=1.0, reg_tokens=4),
        TWO,
        "DINOv2",
        IMAGENET,
    ),
    ("transformers BEiT", transformers, lambda: named("beit_base_patch16_224"), BackboneFacts(), "BEiT", HALF),
    ("transformers CLIP", transformers_vision, lambda: vit(**PRE_NORM), TWO, "CLIP", CLIP_MEAN),
    (
        "transformers SigLIP",
        transformers_vision,
        lambda: vit(act_layer=partial(nn.GELU, approximate="tanh"), **NO_CLASS),
        TWO,
        "ViT",
        HALF,
    ),
    ("OpenCLIP", clip, lambda: vit(**PRE_NORM), TWO, "CLIP", CLIP_MEAN),
    (
        "CLIP of OpenAI",
        clip,
        lambda: vit(act_layer=timm.layers.QuickGELU, **PRE_NORM),
        BackboneFacts(heads=2, activation="quick_gelu"),
        "CLIP",
        CLIP_MEAN,
    ),
    ("OpenCLIP with timm", openclip_timm, lambda: vit(**NO_CLASS), TWO, "ViT", IMAGENET),
    ("OpenCLIP SigLIP", openclip_timm, lambda: vit(class_token=False, global_pool="map"), TWO, "ViT", HALF),
    ("SigLIP of timm", same, lambda: vit(class_token=False, global_pool="map"), TWO, "ViT", HALF),
    ("DeiT III", deit3, lambda: vit(init_values=1.0, no_embed_class=True), TWO, "ViT", IMAGENET),
    ("OpenMMLab", openmmlab, vit, TWO, "ViT", IMAGENET),
    ("OpenMMLab DINOv2", openmmlab, lambda: vit(init_values=1.0), TWO, "ViT", IMAGENET),
    ("EVA-02", eva02, lambda: named("eva02_base_patch14_224"), TWO, "EVA-02", CLIP_MEAN),
    ("EVA-CLIP", eva_clip, lambda: named("eva02_base_patch16_clip_224"), TWO, "EVA-02", CLIP_MEAN),
    (
        "SAM",
        sam,
        lambda: named(
            "samvit_base_patch16", window_size=3, global_attn_indexes=[1], norm_layer=partial(nn.LayerNorm, eps=1e-6)
        ),
        BackboneFacts(),
        "SAM",
        IMAGENET,
    ),
]


@torch.no_grad()
def tokens_of(net: Any) -> Tensor:
    """Patch tokens (B, N, C) after the last norm over tokens."""
    if not hasattr(net, "num_prefix_tokens"):  # SAM: (B, C, h, w), before its neck
        last: Tensor = net.forward_intermediates(IMAGES, intermediates_only=True)[-1]
        return last.flatten(2).transpose(1, 2)
    tokens: Tensor = getattr(net, "fc_norm", nn.Identity())(net.forward_features(IMAGES))
    return tokens[:, net.num_prefix_tokens :]


@pytest.mark.parametrize(("title", "names", "make", "facts", "format", "mean"), FILES, ids=[file[0] for file in FILES])
def test_files_of_libraries_give_the_network_s_own_tokens(
    title: str,
    names: Callable[[State], State],
    make: Callable[[], Any],
    facts: BackboneFacts,
    format: str,
    mean: tuple[float, ...],
    tmp_path: Path,
) -> None:
    net = make()
    torch.save(names(dict(net.state_dict())), tmp_path / "net.pth")
    backbone = load_backbone(tmp_path / "net.pth", image_size=32, facts=facts)
    assert (backbone.origin.format, backbone.mean, backbone.final_norm) == (
        format,
        mean,
        "identity" if format == "SAM" else "checkpoint",
    )
    assert any(note.startswith("names of ") for note in backbone.origin.notes)
    with torch.no_grad():
        found, expected = backbone.encode(IMAGES)[-1], tokens_of(net)
    assert torch.allclose(found, expected, atol=2e-5)


# Name, names, network, format.
TRAININGS: list[tuple[str, Callable[[State], State], Callable[[], Any], str]] = [
    ("MoCo v3", moco, vit, "ViT"),
    ("Depth Anything", depth_anything, lambda: vit(init_values=1.0), "ViT"),
    ("CrossMAE", crossmae, lambda: vit(final_norm=False), "CrossMAE"),
]


@pytest.mark.parametrize(("title", "names", "make", "format"), TRAININGS, ids=[one[0] for one in TRAININGS])
def test_files_of_trainings(
    title: str, names: Callable[[State], State], make: Callable[[], Any], format: str, tmp_path: Path
) -> None:
    net = make()
    torch.save({"epoch": 3, "state_dict": names(dict(net.state_dict()))}, tmp_path / "net.pth")
    backbone = load_backbone(tmp_path / "net.pth", image_size=32, facts=TWO)
    assert backbone.origin.format == format
    with torch.no_grad():
        assert torch.allclose(backbone.encode(IMAGES)[-1], tokens_of(net), atol=1e-5)


def test_mae_of_transformers_is_mae(tmp_path: Path) -> None:
    net = vit()
    decoder = {"decoder.decoder_embed.weight": torch.ones(3, 64), "decoder.mask_token": torch.ones(1, 1, 3)}
    state = {**renamed(transformers(dict(net.state_dict())), (r"^", "vit.")), **decoder}
    torch.save(state, tmp_path / "net.pth")
    backbone = load_backbone(tmp_path / "net.pth", image_size=32, facts=TWO)
    assert (backbone.family, backbone.origin.format) == ("mae", "MAE pre-trained")
    assert torch.allclose(backbone.encode(IMAGES)[-1], tokens_of(net), atol=1e-5)
