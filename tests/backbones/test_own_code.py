"""Backbones of a user's own code: named, given as objects, announced; what is refused; runs and their weight files."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from croco_bench import load_backbone, registry, run
from croco_bench.backbones.locate import parse_source, weight_file
from croco_bench.errors import BenchError, CheckpointError, FitError, UsageError
from croco_bench.registry import BackboneCard, Registry

HERE = Path(__file__).parent
FILE = HERE / "own_network.py"
SMALL = ["head.features=8", "head.layer_widths=[8,8,8,8]", "train.image_size=64", "train.batch_size=2"]
SHORT = [*SMALL, "train.steps=2", "train.select_every=1", "optim.warmup=0", "optim.layer_decay=1", "optim.drop_path=0"]


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module `own_network`, importable from the current folder only."""
    monkeypatch.chdir(HERE)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(HERE)])
    load_backbone("python:own_network:Mixer", image_size=64)
    yield sys.modules["own_network"]
    del sys.modules["own_network"]


@pytest.mark.parametrize("ckpt", ["python:own_network:Mixer", f"python:{FILE}:Mixer"])
def test_code_is_named_by_module_or_file(ckpt: str) -> None:
    backbone = load_backbone(ckpt, image_size=(32, 64))
    assert backbone.name == "Mixer" and backbone.image_size == (32, 64) and not backbone.training
    assert backbone.origin.source == ckpt and backbone.origin.format == "python" and backbone.origin.sha256
    assert [tuple(one.shape) for one in backbone(torch.zeros(2, 3, 32, 64))] == [(2, 8, 32)] * 4


def test_random_weights_are_the_same_every_time_and_have_their_own_identity(own: ModuleType) -> None:
    torch.manual_seed(1)
    one = load_backbone("python:own_network:Mixer", image_size=64)
    torch.manual_seed(2)
    two = load_backbone("python:own_network:Mixer", image_size=64)
    assert one.origin.identity == two.origin.identity
    with torch.no_grad():
        two.embed.weight.mul_(2)  # type: ignore[union-attr, operator]
    given = own.Mixer()
    given.load_state_dict(two.state_dict())
    assert load_backbone(given).origin.identity != one.origin.identity


def test_an_object_is_checked_and_completed(own: ModuleType) -> None:
    backbone = load_backbone(own.Mixer(), name="mine")
    assert (backbone.name, backbone.code) == ("mine", "python:own_network:Mixer")
    with pytest.raises(FitError, match=r"Mixer is for images of 64x64, but 96x96.*image_size=\(96, 96\)"):
        load_backbone(own.Mixer(), image_size=96)


@pytest.mark.parametrize(
    ("ckpt", "told"),
    [
        ("python:nowhere:Net", "nowhere can't be imported: ModuleNotFoundError"),
        ("python:nowhere.py:Net", "there is no file nowhere.py"),
        ("python:own_network:Mixr", "own_network has no Mixr"),
        ("python:own_network", "names no class or function"),
        ("python:own_network:Mixer@", "names no class or function"),
        ("python:own_network:Mixer@timm:resnet18", "timm:resnet18 should be a file"),
        ("python:own_network:fails", "can't be built at 64x64: RuntimeError: no such luck"),
        ("python:own_network:not_callable", "neither a class nor a function"),
        ("python:own_network:HERE", "own_network has no HERE"),
        ("python:own_network:Unfinished", "doesn't set image_size"),
        ("python:own_network:Misplaced", "sets position_kind to 'learned'; set it to absolute, rotary or None"),
        ("python:own_network:Misstated", r"should give outputs \(B, N, C\) of \[\(1, 16, 48\)"),
        (
            "python:torch.nn:Identity",
            "is a Identity, not a croco_bench.contracts.Backbone; subclass that: set patch_size",
        ),
        ("python:own_network:Mixer@nothing.pth", "there is no file nothing.pth"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(ckpt: str, told: str) -> None:
    with pytest.raises(BenchError, match=told) as caught:
        load_backbone(ckpt, image_size=64)
    assert "\n" not in str(caught.value)


def test_sizes_that_steps_do_not_cover_are_refused() -> None:
    with pytest.raises(FitError, match="can't cover 70x70 pixels with steps of 16"):
        load_backbone("python:own_network:Mixer", image_size=70)
    with pytest.raises(FitError, match="can't cover 80x80 pixels with steps of 4, 8, 16, 32"):
        load_backbone("python:own_network:Pyramid", image_size=80)


@pytest.mark.parametrize("given", [nn.Linear(1, 1), object(), 3])
def test_other_objects_are_told_what_a_backbone_needs(given: Any, tmp_path: Path) -> None:
    for use in (lambda: load_backbone(given), lambda: run("nyuv2-depth", given, data_root=tmp_path)):
        with pytest.raises(FitError, match="subclass that: set patch_size, embed_dim, depth, image_size") as caught:
            use()
        assert len(str(caught.value)) < 300


def test_a_class_is_not_an_object(own: ModuleType) -> None:
    with pytest.raises(FitError, match="is a class or a function; give an object"):
        load_backbone(own.Mixer)


def test_weights_behind_an_at_fill_the_network(own: ModuleType, tmp_path: Path) -> None:
    trained = own.Mixer()
    torch.save(trained.state_dict(), tmp_path / "mine.pth")
    backbone = load_backbone(f"python:own_network:Mixer@{tmp_path / 'mine.pth'}", image_size=64)
    assert backbone.name == "mine"
    assert torch.equal(backbone.state_dict()["embed.weight"], trained.embed.weight)
    assert weight_file(f"python:own_network:Mixer@{tmp_path / 'mine.pth'}") == tmp_path / "mine.pth"
    torch.save({"embed.weight": trained.embed.weight}, tmp_path / "part.pth")
    with pytest.raises(CheckpointError, match=r"lacks embed.bias"):
        load_backbone(f"python:own_network:Mixer@{tmp_path / 'part.pth'}", image_size=64)


def test_facts_about_files_do_not_apply_to_code(tmp_path: Path, tiny_data: Path) -> None:
    changes = ["backbone.heads=3"]
    with pytest.raises(UsageError, match="isn't a file"):
        run("nyuv2-depth", "python:own_network:Mixer", recipe="smoke", data_root=tiny_data, changes=changes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Mixer", "Pyramid"])
def test_a_run_and_its_weights(kind: str, own: ModuleType, tiny_data: Path, tmp_path: Path) -> None:
    where: dict[str, Any] = {"recipe": "smoke", "data_root": tiny_data, "results": tmp_path, "changes": SHORT}
    given = getattr(own, kind)()
    before = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    result = run("nyuv2-depth", given, **where)
    assert result is not None and (result.model.name, result.model.family) == (kind, "other")
    assert result.model.source == f"python:own_network:{kind}"
    assert all(torch.equal(tensor, before[name]) for name, tensor in given.state_dict().items())
    assert run("nyuv2-depth", given, **where) == result  # done already
    weights = next(tmp_path.rglob("weights.safetensors"))
    with pytest.raises(CheckpointError, match="isn't run because a file names it; name it yourself") as caught:
        run("nyuv2-depth", weights, name="again", eval_only=True, **where)
    advised = str(caught.value).rpartition("name it yourself: ")[2]
    assert parse_source(advised).weights is not None
    again = run("nyuv2-depth", advised, name="again", eval_only=True, **where)
    assert again is not None and again.metrics["delta1"].value == result.metrics["delta1"].value
    with pytest.raises(CheckpointError, match=f"a {kind} object has no fine-tuned head"):
        run("nyuv2-depth", given, name="third", eval_only=True, **where)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("optim.layer_decay=0.5", "doesn't say which layer a parameter is in"),
        ("optim.drop_path=0.1", "has no stochastic depth"),
    ],
)
def test_settings_that_a_network_can_not_follow_are_refused(
    change: str, told: str, tiny_data: Path, tmp_path: Path
) -> None:
    changes = [*SHORT, change]
    with pytest.raises(FitError, match=told):
        run(
            "nyuv2-depth", "python:own_network:Mixer",
            recipe="smoke", data_root=tiny_data, results=tmp_path, changes=changes,
        )  # fmt: skip


def test_an_announced_backbone_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = ModuleType("pack_of_backbones")
    catalogue.CATALOGUE = {"mixer": BackboneCard("own_network:Mixer", "an MLP", "MIT")}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pack_of_backbones", catalogue)
    point = EntryPoint("pack", "pack_of_backbones:CATALOGUE", "croco_bench.backbones")
    monkeypatch.setattr(registry, "backbones", lambda: Registry[BackboneCard]("backbone", [point]))
    backbone = load_backbone("mixer", image_size=64)
    assert (backbone.name, backbone.code, backbone.origin.license) == ("mixer", "mixer", "MIT")
    with pytest.raises(CheckpointError, match="known: mixer"):
        load_backbone("mixr")
