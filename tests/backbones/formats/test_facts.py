"""Facts that tensors don't show: who states them, what is assumed, and that the result says so."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from croco_bench import load_backbone, run
from croco_bench.backbones.export import write_official
from croco_bench.backbones.networks.architecture import HALF, IMAGENET, Decoder
from croco_bench.backbones.networks.facts import BackboneFacts
from croco_bench.backbones.networks.paired import with_decoder
from croco_bench.backbones.networks.vit import ViT
from croco_bench.backbones.save import save_finetuned
from croco_bench.config.load import options_of
from croco_bench.config.recipe import fingerprint, load_recipe, resolve
from croco_bench.errors import CheckpointError, UsageError
from croco_bench.records.store import ResultPaths
from croco_bench.registry import heads, tasks
from croco_bench.tables.show import show

IMAGES = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)


def timm_vit(**changes: Any) -> VisionTransformer:
    """A small ViT of timm whose layers all matter."""
    torch.manual_seed(0)
    settings = {"img_size": 32, "patch_size": 16, "embed_dim": 96, "depth": 2, "num_heads": 6, "num_classes": 0}
    net = VisionTransformer(**{**settings, **changes}).eval()
    for values in net.parameters():
        nn.init.normal_(values, std=0.2)
    return net


def save(net: nn.Module, folder: Path) -> Path:
    torch.save({"model": net.state_dict()}, folder / "net.pth")
    return folder / "net.pth"


def load(path: Path | str, **facts: Any) -> ViT:
    backbone = load_backbone(path, image_size=32, facts=BackboneFacts(**facts))
    assert isinstance(backbone, ViT)
    return backbone


@torch.no_grad()
def difference(net: VisionTransformer, backbone: ViT) -> float:
    expected: Tensor = net.forward_features(IMAGES)[:, net.num_prefix_tokens :]
    return float((expected - backbone.encode(IMAGES)[-1]).abs().max())


def test_what_a_plain_vit_leaves_open_is_assumed_and_noted(tmp_path: Path) -> None:
    backbone = load(save(timm_vit(), tmp_path))
    assert backbone.origin.notes == (
        "assumed, as the file doesn't say it (set backbone.KEY): heads=3, mean=[0.485, 0.456, 0.406], "
        "std=[0.229, 0.224, 0.225], norm_eps=1e-06, activation=gelu, resampling=bicubic",
    )
    assert difference(timm_vit(), backbone) > 1e-2, "six heads, taken for three"


def test_heads_can_be_stated(tmp_path: Path) -> None:
    backbone = load(save(timm_vit(), tmp_path), heads=6)
    assert difference(timm_vit(), backbone) < 1e-5
    assert "heads" not in backbone.origin.notes[0]


def test_epsilon_and_activation_can_be_stated(tmp_path: Path) -> None:
    net = timm_vit(norm_layer=partial(nn.LayerNorm, eps=0.1), act_layer=partial(nn.GELU, approximate="tanh"))
    path = save(net, tmp_path)
    assert difference(net, load(path, heads=6)) > 1e-3
    assert difference(net, load(path, heads=6, norm_eps=0.1, activation="gelu_tanh")) < 1e-5


def test_statistics_and_positions_can_be_stated(tmp_path: Path) -> None:
    path = save(timm_vit(), tmp_path)
    backbone = load(path, mean=HALF[0], std=HALF[1], positions="learned")
    assert (backbone.mean, backbone.std) == HALF
    assert "positions" in dict(backbone.named_parameters())
    assert "positions" not in dict(load(path).named_parameters())


@pytest.mark.parametrize("kind", ["fixed", "learned"])
def test_timm_s_networks_follow_the_same_rule_of_positions(kind: Any, tmp_path: Path) -> None:
    net = timm_vit(img_size=224, embed_dim=192, depth=12, num_heads=3)
    ckpt = f"timm:vit_tiny_patch16_224@{save(net, tmp_path)}"
    facts = BackboneFacts() if kind == "fixed" else BackboneFacts(positions=kind)
    backbone = load_backbone(ckpt, image_size=32, facts=facts)
    paired = with_decoder(backbone, Decoder(width=64, depth=1, heads=2, hidden=128))
    for one in (backbone, paired):
        assert dict(one.named_parameters())["model.pos_embed"].requires_grad == (kind == "learned")


@pytest.mark.parametrize("heads", [5, 0.5])
def test_impossible_heads_are_refused(heads: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="width 96 can't have"):
        load(save(timm_vit(), tmp_path), heads=heads)


def test_another_patch_size_is_refused(tmp_path: Path) -> None:
    path = save(timm_vit(), tmp_path)
    assert load(path, patch_size=16).patch_size == 16
    with pytest.raises(CheckpointError, match="has patches of 16 pixels, not of 14"):
        load(path, patch_size=14)


def test_a_state_dict_can_be_chosen(tmp_path: Path) -> None:
    net = timm_vit()
    other = {name: tensor + 1 for name, tensor in net.state_dict().items()}
    torch.save({"model": other, "model_ema": net.state_dict()}, tmp_path / "net.pth")
    assert difference(net, load(tmp_path / "net.pth", heads=6, state="model_ema")) < 1e-5
    assert difference(net, load(tmp_path / "net.pth", heads=6)) > 0.1


def test_a_contradiction_with_the_file_is_noted(tmp_path: Path) -> None:
    torch.save({"model": timm_vit().state_dict(), "num_heads": 6}, tmp_path / "net.pth")
    assert "heads" not in load(tmp_path / "net.pth").origin.notes[0]
    notes = load(tmp_path / "net.pth", heads=12).origin.notes
    assert notes[0] == "heads=12 was given, though the file says 6"


def test_facts_that_mean_nothing_for_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"backbone\.decoder_heads can't be set for .*net\.pth; leave it out"):
        load(save(timm_vit(), tmp_path), decoder_heads=3)
    with pytest.raises(UsageError, match=r"random:mini-mae isn't a file"):
        load("random:mini-mae", heads=4)


@pytest.mark.parametrize("name", ["random:mini-croco", "random:mini-mae", "random:mini-multimae"])
def test_files_of_this_project_leave_nothing_open(name: str, tmp_path: Path) -> None:
    backbone = load(name)
    write_official(backbone, tmp_path / "net.pth")
    assert not [note for note in load(tmp_path / "net.pth").origin.notes if "assumed" in note]


def test_a_croco_file_takes_statistics_and_heads(tmp_path: Path) -> None:
    backbone = load("random:mini-croco")
    write_official(backbone, tmp_path / "net.pth")
    again = load(tmp_path / "net.pth", mean=HALF[0], heads=2, decoder_heads=1)
    assert again.architecture.decoder is not None
    assert (again.mean, again.std, again.architecture.heads) == (HALF[0], IMAGENET[1], 2)
    assert again.architecture.decoder.heads == 1
    assert again.origin.notes == (
        "heads=2 was given, though the file says 4",
        "decoder_heads=1 was given, though the file says 3",
    )


def test_facts_stay_with_fine_tuned_weights(tmp_path: Path) -> None:
    backbone = load(save(timm_vit(), tmp_path), heads=6, mean=HALF[0], norm_eps=0.1)
    save_finetuned(tmp_path / "weights.safetensors", backbone, nn.Linear(1, 1), {})
    again = load(tmp_path / "weights.safetensors")
    assert again.architecture == replace(backbone.architecture, grid=again.grid)
    assert again.origin.notes[1:] == backbone.origin.notes


def test_the_zoo_knows_its_files() -> None:
    assert not [note for note in load_backbone("mini-mae", image_size=64).origin.notes if "assumed" in note]


def settings_of(*changes: str) -> tuple[str, dict[str, Any]]:
    """Fingerprint and settings of a recipe."""
    recipe = load_recipe("nyuv2-depth", "smoke", changes)
    options = options_of(tasks()["nyuv2-depth"].load().Options, recipe.task, "[task]")
    head = options_of(heads()[recipe.head.name].load().Options, recipe.head.options, "[head]")
    settings = resolve(recipe, options, head)
    return fingerprint(settings, options), settings


def test_settings_of_the_backbone_enter_the_fingerprint_where_there_are_any() -> None:
    plain, without = settings_of()
    changed, settings = settings_of("backbone.heads=6", "backbone.mean=[0.5, 0.5, 0.5]")
    assert "backbone" not in without
    assert settings["backbone"] == {"heads": 6, "mean": [0.5, 0.5, 0.5]}
    assert plain != changed


def test_unknown_settings_of_the_backbone_get_suggestions() -> None:
    with pytest.raises(UsageError, match=r"no setting of \[backbone\] is called 'head'; did you mean .*heads"):
        options_of(BackboneFacts, {"head": 3}, "[backbone]")
    with pytest.raises(UsageError, match=r"\[backbone\]: heads: input should be greater than 0"):
        options_of(BackboneFacts, {"heads": 0}, "[backbone]")
    assert options_of(BackboneFacts, {"mean": [0.5, 0.5, 0.5]}, "[backbone]").mean == (0.5, 0.5, 0.5)


def test_a_run_prints_assumptions_once_and_keeps_them(
    tiny_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The recipe's size is 64 pixels; the file states nothing."""
    path = save(timm_vit(img_size=64, depth=4), tmp_path)
    changes = ["backbone.heads=6", "backbone.mean=[0.5, 0.5, 0.5]", "train.steps=3"]
    result = run("nyuv2-depth", path, recipe="smoke", data_root=tiny_data, results=tmp_path, changes=changes, limit=4)
    assert result is not None
    (assumed,) = [text for text in result.protocol.deviations if "assumed" in text]
    assert "heads" not in assumed and "mean" not in assumed and "std=[0.229, 0.224, 0.225]" in assumed
    assert result.settings["backbone"] == {"heads": 6, "mean": [0.5, 0.5, 0.5]}
    assert capfd.readouterr().err.count("assumed") == 1
    assert assumed in show(ResultPaths(tmp_path, "smoke", "nyuv2-depth", "net", 0).json)
