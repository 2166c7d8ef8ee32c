"""Plain ViTs of many kinds in timm's and DINOv2's names: every block's last tokens equal timm's."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers import SwiGLUPacked
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from croco_bench import load_backbone
from croco_bench.backbones.export import write_official
from croco_bench.backbones.networks.facts import BackboneFacts
from croco_bench.backbones.networks.vit import ViT
from croco_bench.backbones.save import save_finetuned
from croco_bench.errors import CheckpointError, FitError, UsageError

IMAGES = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)


def vit(**changes: Any) -> VisionTransformer:
    """A small ViT of timm with random weights, none of them neutral."""
    torch.manual_seed(0)
    settings = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 2, "num_classes": 0}
    net = VisionTransformer(norm_layer=partial(nn.LayerNorm, eps=1e-6), **{**settings, **changes}).eval()
    for values in net.parameters():
        nn.init.normal_(values, std=0.2)
    return net


def load(state: dict[str, Tensor], folder: Path) -> ViT:
    torch.save({"model": state}, folder / "net.pth")
    backbone = load_backbone(folder / "net.pth", image_size=32)
    assert isinstance(backbone, ViT)
    return backbone


@torch.no_grad()
def check_equal(net: VisionTransformer, backbone: ViT) -> None:
    """Last tokens and, where there is one, the class token equal timm's."""
    expected: Tensor = net.forward_features(IMAGES)
    if not isinstance(net.fc_norm, nn.Identity):
        expected = net.fc_norm(expected)
    tokens, cls = backbone.encode_with_cls(IMAGES)
    assert torch.allclose(tokens[-1], expected[:, net.num_prefix_tokens :], atol=1e-5)
    if net.cls_token is None:
        assert cls is None
    else:
        assert cls is not None
        assert torch.allclose(cls, expected[:, 0], atol=1e-5)


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no class row": {"no_embed_class": True},
    "registers with rows": {"reg_tokens": 4},
    "registers without rows": {"reg_tokens": 4, "no_embed_class": True},
    "no class token": {"class_token": False, "global_pool": "avg"},
    "layer scale": {"init_values": 1e-5},
    "DeiT III": {"init_values": 1e-5, "no_embed_class": True},
    "three heads of wide MLPs": {"embed_dim": 96, "num_heads": 3, "mlp_ratio": 6.0},
    "SwiGLU in one matrix": {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU, "mlp_ratio": 5.0},
    "norms of queries and keys": {"qk_norm": True},
    "no biases of queries, keys and values": {"qkv_bias": False},
    "average pooling, no final norm": {"global_pool": "avg", "class_token": False, "reg_tokens": 2},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_equal_timm(variant: str, tmp_path: Path) -> None:
    net = vit(**VARIANTS[variant])
    check_equal(net, load(net.state_dict(), tmp_path))


def test_every_block_equals_timm_s(tmp_path: Path) -> None:
    net = vit(reg_tokens=4, init_values=1e-5)
    with torch.no_grad():
        expected = net.forward_intermediates(IMAGES, norm=False, output_fmt="NLC", intermediates_only=True)
        for ours, theirs in zip(load(net.state_dict(), tmp_path).encode(IMAGES)[:-1], expected, strict=False):
            assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("size", [(48, 48), (16, 64), (24, 40)])
def test_tables_are_resampled_as_timm_does_where_asked(size: tuple[int, int], tmp_path: Path) -> None:
    torch.save(vit().state_dict(), tmp_path / "net.pth")
    facts = BackboneFacts(resampling="antialiased")
    backbone = load_backbone(tmp_path / "net.pth", image_size=size, facts=facts)
    expected = vit()
    expected.set_input_size(size)
    with torch.no_grad():
        images = torch.linspace(-1, 1, 6 * size[0] * size[1]).reshape(2, 3, *size)
        assert torch.allclose(backbone.encode(images)[-1], expected.forward_features(images)[:, 1:], atol=1e-5)
    assert "resampling" not in backbone.origin.notes[0]


def test_several_class_tokens_are_averaged(tmp_path: Path) -> None:
    net = vit()
    torch.manual_seed(1)
    state = {**net.state_dict(), "cls_token": torch.randn(1, 8, 64), "pos_embed": torch.randn(1, 8 + 16, 64)}
    backbone = load(state, tmp_path)
    tokens = net.patch_embed(IMAGES) + state["pos_embed"][:, 8:]
    prefix = (state["cls_token"] + state["pos_embed"][:, :8]).expand(2, -1, -1)
    with torch.no_grad():
        expected = net.norm(net.blocks(torch.cat([prefix, tokens], dim=1)))
        patches, cls = backbone.encode_with_cls(IMAGES)
    assert cls is not None
    assert torch.allclose(patches[-1], expected[:, 8:], atol=1e-5)
    assert torch.allclose(cls, expected[:, :8].mean(dim=1), atol=1e-5)


def test_the_final_norm_can_be_left_out(tmp_path: Path) -> None:
    """MultiMAE's converter drops MAE's."""
    net = vit()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    backbone = load_backbone(tmp_path / "net.pth", image_size=32, facts=BackboneFacts(final_norm=False))
    net.norm = nn.Identity()
    with torch.no_grad():
        assert torch.allclose(backbone.encode(IMAGES)[-1], net.forward_features(IMAGES)[:, 1:], atol=1e-5)
    assert backbone.final_norm == "identity"
    assert "final norm is left out" in backbone.origin.notes[0]
    save_finetuned(tmp_path / "again.safetensors", backbone, nn.Linear(1, 1), {})
    assert load_backbone(tmp_path / "again.safetensors", image_size=32).final_norm == "identity"
    with pytest.raises(UsageError, match="has no final norm"):
        load_backbone(tmp_path / "again.safetensors", image_size=32, facts=BackboneFacts(final_norm=True))


def test_dinov2_with_registers(tmp_path: Path) -> None:
    """Registers under DINOv2's name, without rows; the class token has one; mask token; blocks in groups."""
    net = vit(reg_tokens=4, no_embed_class=True, init_values=1e-5)
    row = torch.randn(1, 1, 64)
    state = {**net.state_dict(), "mask_token": torch.zeros(1, 64)}
    state["register_tokens"] = state.pop("reg_token")
    state["pos_embed"] = torch.cat([row, state["pos_embed"]], dim=1)
    state["cls_token"] = state["cls_token"] - row
    check_equal(net, load(state, tmp_path))


def test_variants_survive_fine_tuning(tmp_path: Path) -> None:
    net = vit(reg_tokens=4, init_values=1e-5)
    backbone = load(net.state_dict(), tmp_path)
    save_finetuned(tmp_path / "weights.safetensors", backbone, nn.Linear(1, 1), {})
    again = load_backbone(tmp_path / "weights.safetensors", image_size=32)
    assert isinstance(again, ViT)
    check_equal(net, again)
    with pytest.raises(FitError, match="several prefix tokens"):
        write_official(backbone, tmp_path / "official.pth")


def test_a_table_of_another_network_is_not_called_damaged(tmp_path: Path) -> None:
    state = dict(vit(reg_tokens=4).state_dict())
    state["pos_embed"] = state["pos_embed"][:, :-2]
    with pytest.raises(CheckpointError, match=r"pos_embed has 19 rows, which aren't .* 5 prefix tokens") as caught:
        load(state, tmp_path)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("with_decoder", [True, False], ids=["whole", "encoder"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_both_of_mae_s_files_are_the_same_network(dtype: torch.dtype, with_decoder: bool, tmp_path: Path) -> None:
    """The released files hold the encoder alone; its fixed position table tells it from a supervised ViT."""
    mae = load_backbone("random:mini-mae", image_size=64)
    assert isinstance(mae, ViT)
    write_official(mae, tmp_path / "mae.pth")
    content = torch.load(tmp_path / "mae.pth", weights_only=True)
    state = {
        name: tensor.to(dtype)
        for name, tensor in content["model"].items()
        if with_decoder or not name.startswith(("decoder", "mask_token"))
    }
    torch.save({**content, "model": state}, tmp_path / "net.pth")
    backbone = load_backbone(tmp_path / "net.pth", image_size=64)
    assert isinstance(backbone, ViT)
    assert backbone.family == "mae"
    assert backbone.architecture == mae.architecture
    assert not [name for name, _ in backbone.named_parameters() if "positions" in name]
    assert backbone.origin.notes == ()
