"""Official files of DINOv2 and DINOv3 and of networks with their names: outputs equal timm's networks."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.layers import GluMlp, SwiGLUPacked
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from croco_bench import load_backbone
from croco_bench.backbones.networks.facts import BackboneFacts
from croco_bench.backbones.networks.position_tables import resample
from croco_bench.backbones.networks.vit import ViT
from croco_bench.backbones.save import save_finetuned
from croco_bench.contracts import Backbone
from croco_bench.errors import CheckpointError

State = dict[str, Tensor]


def randomized(net: Any) -> Any:
    for values in net.parameters():
        nn.init.normal_(values, std=0.2)
    return net.eval()


def dinov2(size: tuple[int, int] = (70, 70), **changes: Any) -> Any:
    """DINOv2's network in timm, 384 wide with 6 heads; its class token has no row in the position table."""
    torch.manual_seed(0)
    settings = {"img_size": size, "patch_size": 14, "embed_dim": 384, "depth": 3, "num_heads": 6, "num_classes": 0}
    norm = partial(nn.LayerNorm, eps=1e-6)
    return randomized(VisionTransformer(**settings, init_values=1e-5, norm_layer=norm, no_embed_class=True, **changes))


SWIGLU: dict[str, Any] = {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU, "mlp_ratio": 5.0}


def official(net: Any) -> State:
    """DINOv2's names: a row of the table for the class token, a mask token, registers, SwiGLU as w12 and w3."""
    state = dict(net.state_dict())
    row = torch.randn(1, 1, 384)
    state["pos_embed"] = torch.cat([row, state["pos_embed"]], dim=1)
    state["cls_token"] = state["cls_token"] - row
    state["mask_token"] = torch.zeros(1, 384)
    if "reg_token" in state:
        state["register_tokens"] = state.pop("reg_token")
    if isinstance(net.blocks[0].mlp, GluMlp):
        state = {name.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3"): t for name, t in state.items()}
    return state


def load(content: Any, folder: Path, size: tuple[int, int] = (70, 70), **facts: Any) -> Backbone:
    torch.save(content, folder / "net.pth")
    return load_backbone(folder / "net.pth", image_size=size, facts=BackboneFacts(**facts))


@torch.no_grad()
def check_equal(net: Any, backbone: Backbone) -> None:
    """Outputs of all blocks, and the class token."""
    height, width = backbone.image_size
    images = torch.linspace(0, 50, 6 * height * width).sin().reshape(2, 3, height, width)
    blocks: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda *args: blocks.append(args[-1])) for block in net.blocks]
    last = net.forward_features(images)
    for hook in hooks:
        hook.remove()
    tokens, cls = backbone.encode_with_cls(images)
    for ours, theirs in zip(tokens, (*blocks[:-1], last), strict=True):
        assert torch.allclose(ours, theirs[:, net.num_prefix_tokens :], atol=2e-5)
    assert cls is not None
    assert torch.allclose(cls, last[:, 0], atol=2e-5)


@pytest.mark.parametrize("changes", [{}, {"reg_tokens": 4}, SWIGLU, {**SWIGLU, "reg_tokens": 4}])
def test_dinov2(changes: dict[str, Any], tmp_path: Path) -> None:
    net = dinov2(**changes)
    backbone = load(official(net), tmp_path)
    assert (backbone.origin.format, backbone.origin.notes, backbone.mean[0]) == ("DINOv2", (), 0.485)
    check_equal(net, backbone)


def test_a_training_checkpoint_of_dinov2(tmp_path: Path) -> None:
    """Blocks in groups, beside heads; Franca's files are of this kind."""
    net = dinov2(**SWIGLU)
    state = {
        re.sub(r"blocks\.(\d)", lambda m: f"blocks.{int(m[1]) // 2}.{m[1]}", n): t for n, t in official(net).items()
    }
    teacher = {f"module.backbone.{name}": tensor for name, tensor in state.items()}
    teacher |= {f"module.{head}_head.mlp.0.weight": torch.ones(2, 2) for head in ("dino", "ibot")}
    backbone = load({"teacher": teacher}, tmp_path)
    assert backbone.origin.format == "DINOv2"
    check_equal(net, backbone)


@pytest.mark.parametrize("size", [(56, 98), (112, 112), (28, 42)])
def test_tables_of_networks_with_registers_are_filtered(size: tuple[int, int], tmp_path: Path) -> None:
    net = dinov2(reg_tokens=4)
    backbone = load(official(net), tmp_path, size)
    net.set_input_size(size)
    check_equal(net, backbone)


# Grid, first four channels of the second row, norm of the table: `interpolate_pos_encoding` of DINOv2 at b8931f7, for a
# table of 5x5 positions and one row for the class token, from `wave_weights`.
OFFSET = [
    ((4, 7), [-0.139437, -0.176212, -0.149428, -0.068744], 2.097216),
    ((2, 3), [0.195677, 0.142163, 0.03737, -0.080903], 0.889103),
    ((8, 5), [-0.087224, -0.17781, -0.20426, -0.157031], 2.517831),
]


@pytest.mark.parametrize(("grid", "row", "size"), OFFSET)
def test_tables_of_networks_without_registers_keep_dino_s_offset(
    grid: tuple[int, int], row: list[float], size: float, waves: Any
) -> None:
    table = resample(waves({"pos_embed": (1, 26, 8)})["pos_embed"][0, 1:], (5, 5), grid, "offset")
    assert torch.allclose(table[1, :4], torch.tensor(row), atol=2e-6)
    assert float(table.double().norm()) == pytest.approx(size, abs=1e-5)


def test_which_rule_a_file_of_dinov2_follows(tmp_path: Path) -> None:
    for registers, rule in ((0, "offset"), (4, "antialiased")):
        backbone = load(official(dinov2(reg_tokens=registers)), tmp_path)
        assert isinstance(backbone, ViT)
        assert backbone.architecture.resampling == rule
    backbone = load(official(dinov2()), tmp_path, resampling="bicubic")
    assert isinstance(backbone, ViT)
    assert backbone.architecture.resampling == "bicubic"


def test_the_image_encoder_of_vggt(tmp_path: Path) -> None:
    net = dinov2(reg_tokens=4)
    state = {f"aggregator.patch_embed.{name}": tensor for name, tensor in official(net).items()}
    state |= {
        "aggregator.frame_blocks.0.norm1.weight": torch.ones(2),
        "camera_head.trunk.0.norm1.weight": torch.ones(2),
    }
    backbone = load(state, tmp_path, (56, 98))
    assert (backbone.origin.format, len(backbone.origin.notes)) == ("VGGT", 1)
    net.set_input_size((56, 98))
    check_equal(net, backbone)


def test_the_encoder_of_dune(tmp_path: Path) -> None:
    net = dinov2(reg_tokens=4)
    state = {f"encoder.{name}": tensor for name, tensor in official(net).items()}
    state |= {"projectors.mast3r.blocks.0.norm1.weight": torch.ones(2), "teacher_norms.mast3r.mean": torch.ones(2)}
    backbone = load({"model": state, "iter": 3}, tmp_path)
    assert isinstance(backbone, ViT)
    assert (backbone.origin.format, backbone.architecture.resampling) == ("DUNE", "offset")
    assert "without the final norm" in backbone.origin.notes[0]
    check_equal(net, backbone)
    assert load({"model": state}, tmp_path, final_norm=False).final_norm == "identity"


def dinov3(name: str = "vit_base_patch16_dinov3_qkvb", **changes: Any) -> Any:
    torch.manual_seed(0)
    return randomized(timm.create_model(name, img_size=(64, 96), embed_dim=384, depth=2, num_heads=6, **changes))


def official_v3(net: Any) -> State:
    """DINOv3's names, with its masked biases of keys and its periods."""
    state: State = {"rope_embed.periods": 100.0 ** (torch.arange(16) / 16), "mask_token": torch.zeros(1, 384)}
    for name, tensor in net.state_dict().items():
        if name.endswith("attn.q_bias"):
            block = name.removesuffix("q_bias")
            value = net.state_dict()[f"{block}v_bias"]
            state[f"{block}qkv.bias"] = torch.cat([tensor, torch.ones_like(tensor), value])
            state[f"{block}qkv.bias_mask"] = torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(384)
        elif not name.endswith("attn.v_bias"):
            state[renamed(name)] = tensor
    return state


def renamed(name: str) -> str:
    name = name.replace("reg_token", "storage_tokens").replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")
    if "fc1_g" in name or "fc1_x" in name:
        return name.replace("fc1_g", "w1").replace("fc1_x", "w2")
    return name


def gated(state: State) -> State:
    return {name.replace("mlp.fc2", "mlp.w3"): tensor for name, tensor in state.items()}


@pytest.mark.parametrize("size", [(64, 96), (32, 32)])
def test_dinov3(size: tuple[int, int], tmp_path: Path) -> None:
    net = dinov3()
    backbone = load(official_v3(net), tmp_path, size)
    assert (backbone.origin.format, backbone.origin.notes, backbone.mean[0]) == ("DINOv3", (), 0.485)
    net.set_input_size(size)
    check_equal(net, backbone)


def test_dinov3_with_gated_mlps_and_without_biases(tmp_path: Path) -> None:
    net = dinov3("vit_small_plus_patch16_dinov3")
    check_equal(net, load(gated(official_v3(net)), tmp_path, (64, 96)))


def test_biases_of_keys_stay_zero(tmp_path: Path) -> None:
    backbone = load(official_v3(dinov3()), tmp_path, (64, 96))
    assert isinstance(backbone, ViT)
    backbone.encode(torch.randn(1, 3, 64, 96))[-1].square().sum().backward()  # type: ignore[no-untyped-call]
    bias = dict(backbone.named_parameters())["blocks.0.attn.qkv.bias"]
    assert bias.grad is not None
    assert not bias[384:768].any()
    assert not bias.grad[384:768].any()
    assert bias.grad[:384].any()


def test_rounded_periods_are_kept(tmp_path: Path) -> None:
    """Released files hold them in bfloat16."""
    state = official_v3(dinov3())
    exact = load(state, tmp_path, (64, 96))
    state["rope_embed.periods"] = state["rope_embed.periods"].bfloat16()
    rounded = load(state, tmp_path, (64, 96))
    save_finetuned(tmp_path / "weights.safetensors", rounded, nn.Linear(1, 1), {})
    again = load_backbone(tmp_path / "weights.safetensors", image_size=(64, 96))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        tokens = [one.encode(images)[-1] for one in (exact, rounded, again)]
    assert torch.equal(tokens[1], tokens[2])
    assert not torch.allclose(tokens[0], tokens[1], atol=1e-5)


def test_mum(tmp_path: Path) -> None:
    """DINOv3's network without registers and layer scale."""
    net = dinov3("vit_base_patch16_dinov3_qkvb", num_reg_tokens=0)
    for block in net.blocks:
        nn.init.ones_(block.gamma_1)
        nn.init.ones_(block.gamma_2)
    state = {n: t for n, t in official_v3(net).items() if not n.endswith("gamma") and n != "mask_token"}
    for block in range(2):
        bias = state[f"blocks.{block}.attn.qkv.bias"]
        state[f"blocks.{block}.attn.qkv.bias"] = bias * state.pop(f"blocks.{block}.attn.qkv.bias_mask")
    backbone = load(state, tmp_path, (64, 96))
    assert (backbone.origin.format, backbone.origin.notes) == ("MuM", ())
    check_equal(net, backbone)


def test_a_mask_that_hides_other_biases_is_refused(tmp_path: Path) -> None:
    state = official_v3(dinov3())
    state["blocks.1.attn.qkv.bias_mask"] = torch.ones(3 * 384)
    with pytest.raises(CheckpointError, match=r"blocks\.1\.attn\.qkv\.bias_mask should hide the biases of the keys"):
        load(state, tmp_path, (64, 96))


def test_blocks_that_lack_a_part_are_told_by_name(tmp_path: Path) -> None:
    state = official_v3(dinov3())
    del state["blocks.1.ls2.gamma"]
    with pytest.raises(CheckpointError, match=r"lack blocks\.1\.ls2\.gamma"):
        load(state, tmp_path, (64, 96))


DAMAGES: list[tuple[str, Tensor, str]] = [
    ("rope_embed.periods", torch.ones(0), r"rope_embed\.periods should have shape"),
    ("rope_embed.periods", torch.ones(2, 8), r"rope_embed\.periods should have shape"),
    ("rope_embed.periods", torch.ones(7), r"can't have 13 heads"),
    ("rope_embed.periods", torch.zeros(16), r"rope_embed\.periods should be positive"),
    ("storage_tokens", torch.ones(4, 384), r"storage_tokens should have shape"),
    ("storage_tokens", torch.ones(1, 4, 100), r"storage_tokens should have width 384"),
    ("blocks.0.attn.qkv.bias", torch.ones(7), r"blocks\.0\.attn\.qkv\.bias and its mask have the shapes"),
    ("blocks.0.attn.qkv.weight", torch.ones(7, 384), r"blocks\.0\.attn\.qkv\.weight of shape \(7, 384\)"),
    ("blocks.0.mlp.fc2.weight", torch.ones(384, 3), r"blocks\.0\.mlp\.fc2\.weight of shape \(384, 3\)"),
]


@pytest.mark.parametrize(("name", "tensor", "sentence"), DAMAGES)
def test_tensors_of_other_shapes_are_refused_by_name(name: str, tensor: Tensor, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        load({**official_v3(dinov3()), name: tensor}, tmp_path, (64, 96))
