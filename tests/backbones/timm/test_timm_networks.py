"""Networks of timm: by name, with a file's weights, or found from the shapes in a file. All tokens equal timm's own."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from croco_bench import load_backbone
from croco_bench.backbones.networks.facts import BackboneFacts
from croco_bench.backbones.networks.timm_vit import TimmViT
from croco_bench.backbones.save import save_finetuned
from croco_bench.backbones.timm_weights import weights_of_timm
from croco_bench.backbones.weights import read_checkpoint
from croco_bench.errors import BenchError, CheckpointError, FitError, UsageError

SIDE = 56
IMAGES = torch.linspace(-1, 1, 2 * 3 * SIDE * SIDE).sin().reshape(2, 3, SIDE, SIDE)


def network(name: str, **changes: Any) -> Any:
    """A small network of timm whose layers all matter."""
    torch.manual_seed(0)
    settings = {"img_size": SIDE, "embed_dim": 64, "depth": 3, "num_heads": 2, "patch_size": 14, "num_classes": 5}
    model = timm.create_model(name, **{**settings, **changes}).eval()
    for values in model.parameters():
        nn.init.normal_(values, std=0.3)
    return model


@torch.no_grad()
def check_equal(model: Any, backbone: Any) -> None:
    """The outputs of all blocks; the last one after the norm."""
    prefix: int = model.num_prefix_tokens
    tokens: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda *args: tokens.append(args[-1])) for block in model.blocks]
    last = model.forward_features(IMAGES)
    for hook in hooks:
        hook.remove()
    last = last if isinstance(model.fc_norm, nn.Identity) else model.fc_norm(last)
    expected = [block[:, prefix:] for block in (*tokens[:-1], last)]
    for mine, theirs in zip(backbone.encode(IMAGES), expected, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)


# Format, timm's name, changes of its arguments, facts that the file can't say.
FOUND: list[tuple[str, str, dict[str, Any], BackboneFacts]] = [
    ("CLIP", "vit_base_patch16_clip_224", {}, BackboneFacts(heads=2)),
    ("CLIP", "vit_base_patch16_clip_quickgelu_224", {}, BackboneFacts(heads=2, activation="quick_gelu")),
    ("CLIP", "vit_base_patch16_clip_224", {"class_token": False, "global_pool": "avg"}, BackboneFacts(heads=2)),
    ("BEiT", "beit_base_patch16_224", {}, BackboneFacts()),
    ("BEiT", "beit_base_patch16_224", {"num_heads": 4, "global_pool": "token"}, BackboneFacts()),
    (
        "BEiT",
        "beit_base_patch16_224",
        {"use_abs_pos_emb": True, "use_rel_pos_bias": False, "use_shared_rel_pos_bias": True},
        BackboneFacts(),
    ),
    ("EVA", "eva_giant_patch14_224", {}, BackboneFacts(heads=2)),
    ("EVA-02", "eva02_tiny_patch14_224", {}, BackboneFacts(heads=2)),
    ("EVA-02", "eva02_base_patch14_224", {"global_pool": "token"}, BackboneFacts(heads=2)),
    ("EVA-02", "eva02_base_patch16_clip_224", {}, BackboneFacts(heads=2)),
    ("DINOv3 of timm", "vit_base_patch16_dinov3", {}, BackboneFacts(heads=2)),
    ("DINOv3 of timm", "vit_small_plus_patch16_dinov3", {}, BackboneFacts(heads=2)),
    ("DINOv3 of timm", "vit_base_patch16_dinov3_qkvb", {}, BackboneFacts(heads=2)),
]


@pytest.mark.parametrize(("format", "name", "changes", "facts"), FOUND)
def test_a_network_is_found_from_shapes(
    format: str, name: str, changes: dict[str, Any], facts: BackboneFacts, tmp_path: Path
) -> None:
    model = network(name, **changes)
    torch.save({"model": model.state_dict()}, tmp_path / "net.pth")
    backbone = load_backbone(tmp_path / "net.pth", image_size=SIDE, facts=facts)
    assert (backbone.origin.format, backbone.final_norm) == (format, "checkpoint")
    assert (backbone.mean, backbone.std) == (model.pretrained_cfg["mean"], model.pretrained_cfg["std"])
    assert "mean=" in backbone.origin.notes[0]
    check_equal(model, backbone)


def test_a_found_network_takes_other_image_sizes_and_survives_saving(tmp_path: Path) -> None:
    torch.save(network("beit_base_patch16_224").state_dict(), tmp_path / "net.pth")
    facts = BackboneFacts(mean=(0.1, 0.2, 0.3), norm_eps=0.1)
    backbone = load_backbone(tmp_path / "net.pth", image_size=(84, 56), facts=facts)
    images = torch.rand(1, 3, 84, 56)
    save_finetuned(tmp_path / "weights.safetensors", backbone, nn.Linear(1, 1), {})
    again = load_backbone(tmp_path / "weights.safetensors", image_size=(84, 56))
    assert (again.mean, again.std, again.final_norm) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5), "checkpoint")
    with torch.no_grad():
        assert torch.equal(backbone.encode(images)[-1], again.encode(images)[-1])


def test_a_missing_weight_of_a_found_network_is_named(tmp_path: Path) -> None:
    state = network("vit_base_patch16_clip_224").state_dict()
    del state["blocks.1.mlp.fc2.bias"]
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"lacks blocks\.1\.mlp\.fc2\.bias"):
        load_backbone(tmp_path / "net.pth", image_size=SIDE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["vit_base_patch16_clip_224", "beit_base_patch16_224", "eva02_tiny_patch14_224", "vit_base_patch16_dinov3"]
)
def test_wrong_shapes_end_in_one_sentence(name: str, tmp_path: Path) -> None:
    state = network(name, depth=1, num_classes=0).state_dict()
    for key, tensor in state.items():
        for wrong in (tensor.flatten()[:-1], tensor[None], tensor[..., :0]):
            torch.save({**state, key: wrong}, tmp_path / "net.pth")
            with pytest.raises(BenchError) as caught:
                load_backbone(tmp_path / "net.pth", image_size=SIDE)
            assert "\n" not in str(caught.value), key


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "beit_base_patch16_224", "samvit_base_patch16", "vit_tiny_r_s16_p8_224"]
)
def test_a_file_in_a_network_that_timm_names(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, img_size=64, num_classes=3).eval()
    torch.save(
        {"state_dict": {f"model.{key}": tensor for key, tensor in model.state_dict().items()}}, tmp_path / "a.pth"
    )
    backbone = load_backbone(f"timm:{name}@{tmp_path / 'a.pth'}", image_size=64)
    assert (backbone.name, backbone.origin.format, backbone.mean) == ("a", "timm", model.pretrained_cfg["mean"])
    assert "head" in backbone.origin.notes[-1] and "left out" in backbone.origin.notes[-1]
    assert backbone.origin.sha256 is not None
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.forward_intermediates(images, intermediates_only=True)
        for mine, theirs in zip(backbone.encode(images)[:-1], expected, strict=False):
            assert torch.equal(mine, theirs.flatten(2).transpose(1, 2))


@pytest.mark.slow
def test_radio_files_go_through_timm_s_converter(tmp_path: Path) -> None:
    """Its own names, its positions: a square table, resampled without antialiasing."""
    name = "vit_base_patch16_radio_v3"
    model = timm.create_model(name, img_size=64, num_classes=0, depth=2).eval()
    blocks = {key: tensor for key, tensor in model.state_dict().items() if key.startswith("blocks.")}
    state = {f"base_model.{key}": tensor for key, tensor in blocks.items()}
    state |= {
        "base_model.patch_generator.embedder.weight": torch.randn(768, 768) / 30,
        "base_model.patch_generator.pos_embed": torch.randn(1, 16 * 16, 768),
        "base_model.patch_generator.cls_token.token": torch.randn(8, 768),
        "input_conditioner.norm_mean": torch.zeros(3, 1, 1),
    }
    torch.save({"state_dict": state}, tmp_path / "radio.pth")
    raw = read_checkpoint(tmp_path / "radio.pth")
    fitted, notes = weights_of_timm(model, name, raw)
    table = state["base_model.patch_generator.pos_embed"].reshape(1, 16, 16, 768).permute(0, 3, 1, 2)
    resized = nn.functional.interpolate(table, size=(4, 4), mode="bilinear", align_corners=True)
    assert torch.allclose(fitted["pos_embed"], resized.flatten(2).transpose(1, 2), atol=1e-5)
    assert notes == ("names of RADIO, without input_conditioner",)


def test_statistics_of_a_named_network_can_be_stated(tmp_path: Path) -> None:
    torch.save(timm.create_model("vit_tiny_patch16_224", img_size=64).state_dict(), tmp_path / "a.pth")
    text = f"timm:vit_tiny_patch16_224@{tmp_path / 'a.pth'}"
    assert load_backbone(text, image_size=64, facts=BackboneFacts(mean=(0, 0, 0))).mean == (0, 0, 0)
    with pytest.raises(UsageError, match=r"backbone\.heads can't be set"):
        load_backbone(text, image_size=64, facts=BackboneFacts(heads=3))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(timm.create_model("vit_tiny_patch16_224", img_size=64).state_dict(), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth doesn't hold the weights of timm's vit_small_patch16_224"):
        load_backbone(f"timm:vit_small_patch16_224@{tmp_path / 'a.pth'}", image_size=64)


@pytest.mark.parametrize(
    ("ckpt", "kind", "sentence"),
    [
        ("random:cait_xxs24_224", FitError, "keeps its class token apart from the patches"),
        ("random:xcit_nano_12_p16_224", FitError, "keeps its class token apart from the patches"),
        ("timm:vit_base_patch16_224_dinoo", CheckpointError, r"timm has vit_base_patch16_224\.dino"),
        ("timm:vit_tiny_patch16_224@", UsageError, "names no file after the @"),
        ("timm:vit_tiny_patch16_224@timm:x", UsageError, "should be a file"),
        ("timm:vit_tiny_patch16_224@missing.pth", CheckpointError, r"no file missing\.pth"),
    ],
)
def test_what_timm_cannot_serve_is_one_sentence(ckpt: str, kind: type[BenchError], sentence: str) -> None:
    with pytest.raises(kind, match=sentence) as caught:
        load_backbone(ckpt, image_size=64)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "step", "has_cls"), [("vit_tiny_r_s16_p8_224", 32, True), ("deit_tiny_distilled_patch16_224", 16, True)]
)
def test_step_and_class_token_come_from_a_trial(name: str, step: int, has_cls: bool) -> None:
    backbone = load_backbone(f"random:{name}", image_size=64)
    assert isinstance(backbone, TimmViT)
    assert (backbone.patch_size, backbone.has_cls) == (step, has_cls)
    tokens, cls = backbone.encode_with_cls(torch.zeros(1, 3, 64, 64))
    assert tokens[-1].shape == (1, (64 // step) ** 2, 192)
    assert cls is not None and cls.shape == (1, 192)
    with pytest.raises(FitError, match=f"isn't a multiple of the patch size {step}"):
        load_backbone(f"random:{name}", image_size=60)


@pytest.mark.slow
def test_sam_by_name_takes_other_image_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's weights are for images of 1024 pixels; a small stand-in for them is for 128."""
    create = timm.create_model
    torch.manual_seed(0)
    torch.save(create("samvit_base_patch16", img_size=128).state_dict(), tmp_path / "released.pth")

    def offline(name: str, *, pretrained: bool, **arguments: Any) -> Any:
        arguments.setdefault("img_size", 128)
        return create(
            name, pretrained=pretrained, pretrained_cfg_overlay={"file": tmp_path / "released.pth"}, **arguments
        )

    monkeypatch.setattr("timm.create_model", offline)
    backbone = load_backbone("timm:samvit_base_patch16", image_size=64)
    assert (backbone.patch_size, backbone.final_norm) == (16, "identity")
    whole = load_backbone(f"timm:samvit_base_patch16@{tmp_path / 'released.pth'}", image_size=64)
    assert all(torch.equal(a, b) for a, b in zip(backbone.parameters(), whole.parameters(), strict=True))


def test_names_that_timm_renamed_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    create = timm.create_model

    def offline(name: str, *, pretrained: bool, **arguments: Any) -> Any:
        made.append(name)
        return create(name, pretrained=False, **arguments)

    monkeypatch.setattr("timm.create_model", offline)
    assert load_backbone("timm:vit_small_patch16_224_dino", image_size=64).embed_dim == 384
    assert set(made) == {"vit_small_patch16_224_dino"}
