"""Files that no format reads: the message names the family and what works instead."""

from pathlib import Path

import pytest
import torch

from croco_bench import load_backbone
from croco_bench.errors import CheckpointError


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("visual.attn_pool.probe", "seems to hold a Perception Encoder"),
        ("conv1.weight", "an image tower of CLIP or a Perception Encoder alone"),
        ("layers.0.blocks.0.attn.relative_position_bias_table", "a Swin, which isn't read; .* timm:swin"),
        ("module.stages.0.0.dwconv.weight", "a ConvNeXt, which isn't read; .* timm:convnext_base@FILE"),
        ("backbone.layer1.0.conv1.weight", "a ResNet, which isn't read; .* timm:resnet50@FILE"),
        ("base_model.patch_generator.pos_embed", "a RADIO, which isn't read; .* timm:vit_base_patch16_radio_v3@FILE"),
        ("transformer.h.0.attn.c_attn.weight", "a language model, which isn't read"),
        ("base_model.model.blocks.0.attn.qkv.lora_A.weight", "LoRA adapters, which isn't read; merge them"),
        ("beit3.encoder.layers.0.ffn.A.fc1.weight", "a BEiT-3, which isn't read"),
        ("strange", r"no known network \(such as other, strange\)"),
    ],
)
def test_families_that_are_not_read_are_named(name: str, sentence: str, tmp_path: Path) -> None:
    torch.save({name: torch.ones(2, 2), "other": torch.ones(2)}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=sentence):
        load_backbone(tmp_path / "net.pth")


def test_networks_for_video_are_named(tmp_path: Path) -> None:
    torch.save({"patch.weight": torch.ones(2, 3, 2, 4, 4)}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="seems to hold a network for video"):
        load_backbone(tmp_path / "net.pth")
