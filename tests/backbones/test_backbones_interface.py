"""What every backbone promises: sizes, layers, counts, stochastic depth, randomness."""

from dataclasses import replace

import pytest
import torch
from timm.layers import DropPath

from croco_bench.backbones import load_backbone
from croco_bench.backbones.networks.architecture import ARCHITECTURES, heads_of
from croco_bench.backbones.networks.blocks import Block
from croco_bench.backbones.networks.croco import CroCo
from croco_bench.backbones.networks.position_tables import resample, sincos
from croco_bench.backbones.networks.vit import ViT
from croco_bench.contracts import Backbone, Origin, PairBackbone
from croco_bench.errors import FitError, UsageError

MINIS = ["random:mini-croco", "random:mini-mae", "random:mini-multimae", "random:vit_tiny_patch16_224"]


def empty(name: str) -> ViT:
    """A network without memory behind it."""
    plan = ARCHITECTURES[name]
    side = plan.grid[0] * plan.patch_size
    with torch.device("meta"):
        return (CroCo if plan.decoder else ViT)(plan, (side, side), Origin("test", "test"), name)


def count(backbone: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in backbone.parameters())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("croco-v1", 85_646_592),
        ("croco-v2-vitb-small", 85_646_592),
        ("multimae-vitb", 85_645_824),  # one global token more, a final norm less
    ],
)
def test_encoder_counts(name: str, expected: int) -> None:
    backbone = empty(name)
    backbone.drop_decoder()
    assert count(backbone) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("croco-v1", 120_076_288),
        ("croco-v2-vitb-small", 120_076_288),
        ("croco-v2-vitb-base", 200_269_824),
        ("croco-v2-vitl-base", 417_918_720),
    ],
)
def test_pretraining_counts(name: str, expected: int) -> None:
    """The published counts include the mask token and the prediction head (Cdec -> 16 * 16 * 3 values)."""
    backbone = empty(name)
    assert isinstance(backbone, PairBackbone)
    width = backbone.decoder_dim
    assert count(backbone) + width + 768 * width + 768 == expected


@pytest.mark.parametrize(
    ("width", "decoder", "heads"),
    [
        *[(768, False, 12), (1024, False, 16), (1280, False, 16), (192, False, 3), (384, False, 6), (128, False, 4)],
        *[(512, True, 16), (768, True, 12), (96, True, 3)],
    ],
)
def test_heads_by_rule(width: int, decoder: bool, heads: int) -> None:
    assert heads_of(width, decoder=decoder) == heads


@pytest.mark.parametrize("ckpt", MINIS)
def test_encode_gives_what_the_spec_says(ckpt: str) -> None:
    backbone = load_backbone(ckpt, image_size=(64, 96))
    spec = backbone.feature_spec()
    with torch.no_grad():
        outputs = backbone.encode(torch.randn(2, 3, 64, 96))
    assert not backbone.training
    assert spec.grid == (64 // backbone.patch_size, 96 // backbone.patch_size)
    assert [tuple(t.shape) for t in outputs] == [(2, spec.grid[0] * spec.grid[1], width) for width in spec.widths]


@pytest.mark.parametrize("ckpt", MINIS)
def test_images_of_another_size_are_refused(ckpt: str) -> None:
    backbone = load_backbone(ckpt, image_size=64)
    with pytest.raises(FitError, match=r"64x64, but got 64x96; load it with image_size=\(64, 96\)"):
        backbone.encode(torch.randn(1, 3, 64, 96))


@pytest.mark.parametrize("size", [0, -8, 65, (64,), (64, 64, 64), "64", 64.0, (64, "a"), True, (64, 60)])
def test_impossible_image_sizes(size: object) -> None:
    with pytest.raises(FitError, match="image"):
        load_backbone("random:mini-croco", image_size=size)  # type: ignore[arg-type]


@pytest.mark.parametrize("ckpt", MINIS)
def test_layers_rise_from_patches_to_norm(ckpt: str) -> None:
    backbone = load_backbone(ckpt, image_size=64)
    layers = {name: backbone.layer_of(name) for name, _ in backbone.named_parameters()}
    assert set(layers.values()) == set(range(backbone.layers))
    for name, layer in layers.items():
        if "patch_embed" in name or "pos_embed" in name or "prefix" in name or "cls_token" in name:
            assert layer == 0, name
        if "blocks.2." in name and "dec_" not in name:
            assert layer == 3, name
        if name in ("norm.weight", "model.norm.weight"):
            assert layer == backbone.depth, name


def test_decoder_layers_follow_the_encoder() -> None:
    backbone = load_backbone("random:mini-croco", image_size=64)
    names = [
        "norm.weight",
        "decoder_embed.weight",
        "dec_blocks.0.norm1.weight",
        "dec_blocks.2.mlp.fc1.bias",
        "dec_norm.bias",
    ]
    assert [backbone.layer_of(name) for name in names] == [4, 4, 5, 7, 7]
    assert backbone.layers == 8


def test_keeping_the_encoder_drops_the_decoder() -> None:
    backbone = load_backbone("random:mini-croco", image_size=64)
    assert isinstance(backbone, PairBackbone)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = backbone.encode(images)
        backbone.drop_decoder()
        after = backbone.encode(images)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not backbone.binocular
    assert backbone.layers == 5
    assert not [name for name in backbone.state_dict() if name.startswith("dec")]
    with pytest.raises(FitError, match="no decoder"):
        backbone.encode_pair(images, images)


@pytest.mark.slow
@pytest.mark.parametrize("ckpt", ["random:mini-croco", "random:vit_tiny_patch16_224"])
def test_drop_path_rises_linearly_and_leaves_prediction_alone(ckpt: str) -> None:
    backbone = load_backbone(ckpt, image_size=64)
    images = torch.randn(8, 3, 64, 64)
    with torch.no_grad():
        before = backbone.encode(images)[-1]
    backbone.set_drop_path(0.5)
    rates = [module.drop_prob for module in backbone.modules() if isinstance(module, DropPath)]
    assert max(rates) == 0.5
    distinct = sorted(set(rates))
    assert distinct == pytest.approx([0.5 * k / (backbone.depth - 1) for k in range(1, backbone.depth)])
    with torch.no_grad():
        assert torch.equal(backbone.encode(images)[-1], before)
        assert not torch.equal(backbone.train().encode(images)[-1], before)
    backbone.set_drop_path(0.0)
    assert not [module for module in backbone.modules() if isinstance(module, DropPath) and module.drop_prob]


def test_decoder_blocks_have_no_drop_path() -> None:
    backbone = load_backbone("random:mini-croco", image_size=64)
    backbone.set_drop_path(0.5)
    assert isinstance(backbone, CroCo)
    assert not [m for m in backbone.dec_blocks.modules() if isinstance(m, DropPath)]
    assert all(isinstance(block, Block) for block in backbone.blocks)


def test_positions_at_their_own_size_are_untouched() -> None:
    table = torch.randn(64, 16)
    assert resample(table, (8, 8), (8, 8)) is table
    assert resample(table, (8, 8), (4, 12)).shape == (48, 16)


def test_sincos_puts_the_column_first() -> None:
    table = sincos(8, (2, 3))
    column, row = torch.tensor(2.0), torch.tensor(1.0)  # the last patch
    slow = 0.01  # 10000^(-4/8)
    expected = [f(x) for place in (column, row) for f in (torch.sin, torch.cos) for x in (place, place * slow)]
    torch.testing.assert_close(table[-1], torch.stack(expected), atol=1e-6, rtol=0)


def test_random_weights_come_from_the_seed_alone() -> None:
    state = torch.get_rng_state()
    first = load_backbone("random:mini-croco@1", image_size=64).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.randn(3)
    again = load_backbone("random:mini-croco@1", image_size=64).state_dict()
    other = load_backbone("random:mini-croco@2", image_size=64).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["patch_embed.weight"], other["patch_embed.weight"])


@pytest.mark.parametrize("ckpt", ["random:mini-crocco", "random:", "random:nothing-like-it", "random:mini-croco@x"])
def test_unknown_random_networks(ckpt: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_backbone(ckpt)
    assert len(str(caught.value)) < 400


def test_norms_and_statistics_are_reported() -> None:
    found: dict[str, Backbone] = {
        name: load_backbone(f"random:{name}", image_size=64) for name in ("mini-mae", "mini-multimae")
    }
    assert found["mini-mae"].final_norm == "initialised"
    assert found["mini-multimae"].final_norm == "identity"
    assert ARCHITECTURES["dust3r-512-dpt"].mean == (0.5, 0.5, 0.5)
    assert replace(ARCHITECTURES["croco-v1"]).mean == (0.485, 0.456, 0.406)
