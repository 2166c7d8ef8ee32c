"""Random weights in the network of a file: the control of every checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from croco_bench import load_backbone
from croco_bench.backbones import zoo
from croco_bench.backbones.formats import State
from croco_bench.backbones.locate import parse_source, weight_file
from croco_bench.backbones.networks.facts import BackboneFacts
from croco_bench.backbones.networks.vit import ViT
from croco_bench.errors import CheckpointError, UsageError


def _file(name: str) -> str:
    entry = zoo.find(name)
    assert entry is not None and entry.asset is not None
    return str(entry.asset)


def _weights(ckpt: str, size: int = 64) -> State:
    return load_backbone(ckpt, image_size=size).state_dict()


@pytest.mark.parametrize("name", ["mini-croco", "mini-croco-cat", "mini-mae", "mini-multimae"])
def test_the_network_is_the_files_and_no_weight_is(name: str) -> None:
    file = _file(name)
    given, drawn = load_backbone(file, image_size=64), load_backbone(f"random:{file}", image_size=64)
    assert type(given) is type(drawn)
    assert isinstance(given, ViT) and isinstance(drawn, ViT) and given.architecture == drawn.architecture
    ours, theirs = drawn.state_dict(), given.state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}
    assert not [key for key in ours if key.endswith("weight") and torch.equal(ours[key], theirs[key])]
    assert drawn.origin.pretraining is None
    assert drawn.origin.notes[0] == f"random weights in the network of {file}"


def test_random_weights_are_those_of_the_named_network_but_for_their_draws() -> None:
    """Deviations of all matrices are those that `random:ARCH` draws, so that both are the same control."""
    by_name, by_file = _weights("random:mini-croco"), _weights(f"random:{_file('mini-croco')}")
    for key, value in by_name.items():
        if value.ndim > 1:
            assert by_file[key].std().item() == pytest.approx(value.std().item(), rel=0.1)
        else:
            torch.testing.assert_close(by_file[key].abs().amax() > 0, value.abs().amax() > 0)


def test_weights_come_from_the_seed_alone(tmp_path: Path) -> None:
    file = _file("mini-mae")
    moved = tmp_path / "epoch@3.safetensors"
    moved.write_bytes(Path(file).read_bytes())
    state = torch.get_rng_state()
    first, other = _weights(f"random:{file}"), _weights(f"random:{file}@1")
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first["patch_embed.weight"], other["patch_embed.weight"])
    for ckpt, same in ((f"random:{moved}", first), (f"random:{moved}@0", first), (f"random:{moved}@1", other)):
        again = _weights(ckpt)
        assert all(torch.equal(again[key], value) for key, value in same.items())


def test_another_network_in_a_file_of_the_same_name_is_told_apart(tmp_path: Path) -> None:
    """Its result would be taken for one that is there already."""
    file = tmp_path / "mine.safetensors"
    identities = []
    for name in ("mini-mae", "mini-croco"):
        file.write_bytes(Path(_file(name)).read_bytes())
        identities += [load_backbone(one, image_size=64).origin.identity for one in (file, f"random:{file}")]
    identities.append(load_backbone(f"random:{file}@1", image_size=64).origin.identity)
    assert len(set(identities)) == 5
    assert load_backbone(f"random:{file}@0", image_size=32).origin.identity == identities[3]


def test_a_file_of_timms_network(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=0)
    torch.save(model.state_dict(), tmp_path / "tiny.pth")
    given, drawn = load_backbone(tmp_path / "tiny.pth"), load_backbone(f"random:{tmp_path / 'tiny.pth'}")
    ours, theirs = drawn.state_dict(), given.state_dict()
    assert ours.keys() == theirs.keys()
    key = next(key for key in ours if key.endswith("qkv.weight"))
    assert not torch.equal(ours[key], theirs[key])


def test_facts_about_the_file_apply() -> None:
    drawn = load_backbone(f"random:{_file('mini-mae')}", image_size=64, facts=BackboneFacts(heads=8))
    given = load_backbone(_file("mini-mae"), image_size=64, facts=BackboneFacts(heads=8))
    assert isinstance(given, ViT) and isinstance(drawn, ViT)
    assert drawn.architecture.heads == given.architecture.heads == 8


@pytest.mark.parametrize(
    ("ckpt", "name"),
    [
        ("random:mini-croco", "random-mini-croco"),
        ("random:mini-croco@1", "random-mini-croco-1"),
        ("random:runs/CroCo.pth", "random-CroCo"),
        ("random:runs/CroCo.pth@2", "random-CroCo-2"),
        ("random:hf://owner/repo@main", "random-repo-main"),
    ],
)
def test_names_in_results(ckpt: str, name: str) -> None:
    assert parse_source(ckpt).default_name == name


def test_a_fine_tuned_head_is_not_taken_from_the_file_of_a_random_network() -> None:
    """`--eval-only` would score a trained head on random weights."""
    file = _file("mini-mae")
    assert weight_file(f"random:{file}") is None
    assert weight_file(file) == Path(file)


@pytest.mark.parametrize(
    ("ckpt", "kind", "said"),
    [
        ("random:no/such.pth", CheckpointError, "there is no file no/such.pth"),
        ("random:such.pth@1", CheckpointError, "there is no file such.pth"),
        ("random:random:mini-croco", UsageError, "mini-croco"),
        ("random:{log}", CheckpointError, "neither a torch nor a safetensors file"),
    ],
)
def test_bad_files(ckpt: str, kind: type[Exception], said: str, tmp_path: Path) -> None:
    log = tmp_path / "train.pth"
    log.write_text("step 1\n")
    with pytest.raises(kind, match=said):
        load_backbone(ckpt.format(log=log))
