"""Files beside a checkpoint give facts: heads, statistics, patch size, epsilon, activation; the result names the file."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from croco_bench import load_backbone
from croco_bench.backbones.neighbors import facts_beside
from croco_bench.backbones.networks.facts import BackboneFacts
from croco_bench.backbones.networks.vit import ViT

IMAGES = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)
TRANSFORMERS = {
    "model_type": "vit",
    "hidden_size": 96,
    "patch_size": 16,
    "num_attention_heads": 6,
    "layer_norm_eps": 0.1,
    "hidden_act": "gelu_pytorch_tanh",
}
PREPROCESSOR = {"do_normalize": True, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.save(network().state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


def network() -> VisionTransformer:
    """Six heads, tanh approximation, a large epsilon: nothing that is usual."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {"img_size": 32, "patch_size": 16, "embed_dim": 96, "depth": 2, "num_classes": 0}
    norm, act = partial(nn.LayerNorm, eps=0.1), partial(nn.GELU, approximate="tanh")
    net = VisionTransformer(**settings, num_heads=6, norm_layer=norm, act_layer=act).eval()
    for values in net.parameters():
        nn.init.normal_(values, std=0.3)
    return net


def write(checkpoint: Path, name: str, content: object) -> None:
    (checkpoint.parent / name).write_text(json.dumps(content), encoding="utf-8")


def load(checkpoint: Path, **facts: Any) -> ViT:
    backbone = load_backbone(checkpoint, image_size=32, facts=BackboneFacts(**facts))
    assert isinstance(backbone, ViT)
    return backbone


@torch.no_grad()
def test_configurations_of_transformers(checkpoint: Path) -> None:
    write(checkpoint, "config.json", TRANSFORMERS)
    write(checkpoint, "preprocessor_config.json", PREPROCESSOR)
    backbone = load(checkpoint)
    assert (backbone.mean, backbone.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert torch.allclose(backbone.encode(IMAGES)[-1], network().forward_features(IMAGES)[:, 1:], atol=1e-5)
    assert backbone.origin.notes == (
        "according to preprocessor_config.json and config.json: heads=6, mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6], "
        "norm_eps=0.1, activation=gelu_tanh",
        "assumed, as the file doesn't say it (set backbone.KEY): resampling=bicubic",
    )


def test_what_the_user_says_stands_before_files_nearby(checkpoint: Path) -> None:
    write(checkpoint, "config.json", TRANSFORMERS)
    assert load(checkpoint, heads=12).architecture.heads == 12


@pytest.mark.parametrize("change", [{"hidden_size": 768}, {"patch_size": 14}])
def test_a_configuration_of_another_network_is_passed_over(change: dict[str, int], checkpoint: Path) -> None:
    write(checkpoint, "config.json", {**TRANSFORMERS, **change})
    backbone = load(checkpoint)
    assert backbone.architecture.heads == 3
    assert "config.json describes another network and wasn't used" in backbone.origin.notes


@pytest.mark.parametrize("content", ["{", "[]", "3", '{"image_mean": [1], "hidden_size": "x"}', "\0"])
def test_files_that_say_nothing_change_nothing(content: str, checkpoint: Path) -> None:
    before = load(checkpoint).origin
    (checkpoint.parent / "config.json").write_text(content, encoding="utf-8")
    assert load(checkpoint).origin == before


@pytest.mark.parametrize(
    ("name", "content", "facts"),
    [
        ("preprocessor_config.json", {"do_normalize": False}, {"mean": (0, 0, 0), "std": (1, 1, 1)}),
        (
            "config.json",
            {"model_type": "clip", "vision_config": {"model_type": "clip_vision_model", "hidden_size": 1024}},
            {"width": 1024, "patch_size": 32, "heads": 12, "norm_eps": 1e-5, "activation": "quick_gelu"},
        ),
        (
            "open_clip_config.json",
            {
                "model_cfg": {"quick_gelu": True, "vision_cfg": {"width": 1280, "patch_size": 14, "head_width": 80}},
                "preprocess_cfg": {"mean": [0, 0, 0], "std": [1, 1, 1]},
            },
            {
                "width": 1280,
                "patch_size": 14,
                "heads": 16,
                "activation": "quick_gelu",
                "mean": (0, 0, 0),
                "std": (1, 1, 1),
            },
        ),
        (
            "config.json",
            {"architecture": "vit_base_patch16_clip_quickgelu_224", "pretrained_cfg": {"mean": [0.5, 0.5, 0.5]}},
            {
                "width": 768,
                "patch_size": 16,
                "heads": 12,
                "norm_eps": 1e-5,
                "activation": "quick_gelu",
                "mean": (0.5, 0.5, 0.5),
                "resampling": "antialiased",
            },
        ),
        ("config.json", {"architecture": "nobody's"}, {"resampling": "antialiased"}),
    ],
)
def test_other_configurations(name: str, content: object, facts: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path / "net.pth", name, content)
    assert facts_beside(tmp_path / "net.pth") == (facts, name)


def test_statistics_of_timm_s_page_on_the_hub(tmp_path: Path) -> None:
    """Google's ViTs have the statistics 0.5; by name and as a file they are normalised alike."""
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=0, depth=2)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    config = {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    write(tmp_path / "x", "config.json", config)
    backbone = load_backbone(tmp_path, image_size=32)
    assert (backbone.mean, backbone.std) == (model.pretrained_cfg["mean"], model.pretrained_cfg["std"])
    assert backbone.origin.notes[0].startswith("according to config.json: heads=3, mean=[0.5, 0.5, 0.5]")
