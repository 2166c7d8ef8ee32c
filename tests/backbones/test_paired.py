"""Decoders for backbones that have none."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from croco_bench import load_backbone
from croco_bench.backbones.networks.architecture import ARCHITECTURES, Decoder
from croco_bench.backbones.networks.croco import CroCo
from croco_bench.backbones.networks.paired import with_decoder
from croco_bench.backbones.networks.position_tables import sincos
from croco_bench.backbones.networks.vit import ViT
from croco_bench.backbones.save import save_finetuned
from croco_bench.contracts import Origin

SMALL = Decoder(64, 2, 2, 128)
MONOCULAR = ["random:mini-mae", "random:mini-multimae", "random:vit_tiny_patch16_224"]


def views() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 32, 32, generator=draw), torch.rand(2, 3, 32, 32, generator=draw)


@pytest.mark.slow
@pytest.mark.parametrize("ckpt", MONOCULAR)
def test_the_encoder_is_kept_and_the_decoder_looks_at_both_views(ckpt: str) -> None:
    backbone = load_backbone(ckpt, image_size=32)
    paired = with_decoder(backbone, SMALL)
    one, two = views()
    with torch.no_grad():
        alone = backbone.encode(one)
        outputs = paired.encode_pair(one, two)
        others = paired.encode_pair(one, one)
    assert [tuple(tokens.shape[1:]) for tokens in outputs] == [
        ((32 // backbone.patch_size) ** 2, width) for width in paired.pair_spec().widths
    ]
    for before, after in zip(alone, outputs, strict=False):
        assert torch.allclose(before, after, atol=1e-5)
    assert not torch.allclose(outputs[-1], others[-1], atol=1e-3)
    assert "began with random weights" in paired.origin.notes[-1]
    assert paired.family == backbone.family
    assert max(paired.layer_of(name) for name, _ in paired.named_parameters()) == paired.layers - 1


def test_a_decoder_that_is_there_stays() -> None:
    backbone = load_backbone("random:mini-croco", image_size=32)
    assert with_decoder(backbone, SMALL) is backbone


@pytest.mark.slow
@pytest.mark.parametrize("ckpt", MONOCULAR)
def test_finetuned_files_bring_the_decoder_back(ckpt: str, tmp_path: Path) -> None:
    paired = with_decoder(load_backbone(ckpt, image_size=32), SMALL)
    save_finetuned(tmp_path / "weights.safetensors", paired, torch.nn.Linear(2, 2), {"task": "any"})
    again = with_decoder(load_backbone(tmp_path / "weights.safetensors", image_size=32), SMALL)
    with torch.no_grad():
        assert torch.equal(again.encode_pair(*views())[-1], paired.encode_pair(*views())[-1])


def test_learned_positions_start_at_the_fixed_ones() -> None:
    network = ViT(replace(ARCHITECTURES["mini-mae"], positions="learned"), (32, 32), Origin("test", "test"), "learned")
    paired = with_decoder(network, SMALL)
    assert isinstance(paired, CroCo)
    assert isinstance(paired.dec_positions, torch.nn.Parameter)
    assert torch.equal(paired.dec_positions.data, sincos(64, (4, 4)))
