"""Files of Pixio and Muskie."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from croco_bench import load_backbone
from croco_bench.backbones.networks.facts import BackboneFacts

# First four channels of the second patch after each pair of blocks, and the norm of all tokens: Muskie at 0c4e7a3, for
# `wave_weights` and `wave_images`.
MUSKIE = [
    ([0.04333, 0.01764, 0.21785, -0.29454], 4.75536),
    ([-0.88141, -0.25501, 1.11647, -0.864], 9.81131),
]


@torch.no_grad()
def test_pixio_has_eight_class_tokens(tmp_path: Path) -> None:
    torch.manual_seed(0)
    norm = partial(nn.LayerNorm, eps=1e-6)
    net = VisionTransformer(64, 16, embed_dim=768, depth=2, num_heads=12, num_classes=0, norm_layer=norm).eval()
    state: dict[str, Tensor] = {**net.state_dict(), "cls_token": torch.randn(1, 8, 768)}
    state["pos_embed"] = torch.randn(1, 8 + 16, 768)
    state |= {"decoder_embed.weight": torch.ones(2, 2), "mask_token": torch.zeros(1, 1, 2)}
    torch.save(state, tmp_path / "net.pth")
    backbone = load_backbone(tmp_path / "net.pth", image_size=64)
    assert (backbone.origin.format, backbone.origin.notes, backbone.has_cls) == ("Pixio", (), True)
    images = torch.randn(2, 3, 64, 64)
    prefix = (state["cls_token"] + state["pos_embed"][:, :8]).expand(2, -1, -1)
    tokens = torch.cat([prefix, net.patch_embed(images) + state["pos_embed"][:, 8:]], dim=1)
    expected = net.norm(net.blocks(tokens))
    patches, cls = backbone.encode_with_cls(images)
    assert cls is not None
    assert torch.allclose(patches[-1], expected[:, 8:], atol=1e-5)
    assert torch.allclose(cls, expected[:, :8].mean(dim=1), atol=1e-5)


def muskie_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "register_tokens": (1, 1, 4, 32),
        "patch_embed.proj.weight": (32, 3, 16, 16),
        "patch_embed.proj.bias": (32,),
    }
    for block in ("blocks.0", "blocks.1"):
        for norm in ("norm1", "norm2", "norm3", "norm4"):
            shapes |= {f"{block}.{norm}.weight": (32,), f"{block}.{norm}.bias": (32,)}
        for kind, attention in (("frame", "frame_attn"), ("global", "global_atten")):
            layers = {f"{attention}.qkv": (96, 32), f"{attention}.proj": (32, 32)}
            layers |= {f"{kind}_mlp.fc1": (128, 32), f"{kind}_mlp.fc2": (32, 128)}
            for name, (rows, columns) in layers.items():
                shapes |= {f"{block}.{name}.weight": (rows, columns), f"{block}.{name}.bias": (rows,)}
    return shapes


@torch.no_grad()
def test_muskie_on_single_views(waves: Any, wave_pair: Tensor, tmp_path: Path) -> None:
    state = {
        **waves(muskie_shapes()),
        "decoder_norm.weight": torch.ones(32),
        "mask_placeholder": torch.zeros(1, 1, 1, 32),
    }
    torch.save({"model": state, "epoch": 3}, tmp_path / "net.pth")
    backbone = load_backbone(tmp_path / "net.pth", image_size=(32, 48), facts=BackboneFacts(heads=2))
    assert (backbone.origin.format, backbone.depth, backbone.mean[0], backbone.has_cls) == ("Muskie", 4, 0.5, False)
    assert "count twice" in backbone.origin.notes[0]
    for tokens, (channels, size) in zip(backbone.encode(wave_pair[:1])[1::2], MUSKIE, strict=True):
        assert torch.allclose(tokens[0, 1, :4], torch.tensor(channels), atol=2e-5)
        assert float(tokens.double().norm()) == pytest.approx(size, abs=1e-4)
