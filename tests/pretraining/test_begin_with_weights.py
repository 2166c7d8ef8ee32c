"""A pre-training that begins with a checkpoint, and completion of one's own images."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner

from croco_bench import load_backbone
from croco_bench.backbones import zoo
from croco_bench.backbones.networks.croco import CroCo
from croco_bench.cli.main import app
from croco_bench.data.formats.images import read_rgb
from croco_bench.errors import CheckpointError, DataError, FitError, UsageError
from croco_bench.pretraining import recipe as recipes
from croco_bench.pretraining.build import build
from croco_bench.pretraining.checkpoint import read_pretraining
from croco_bench.pretraining.complete import complete
from croco_bench.pretraining.start import start_from

Tiny = Callable[..., Path]


@pytest.fixture(scope="module")
def made(tiny: Tiny, pairs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pre-training of two steps."""
    folder = tmp_path_factory.mktemp("made") / "net"
    tiny(pairs_root, folder, "train.steps=2")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two pictures of odd sizes, one of them smaller than the other."""
    folder = tmp_path_factory.mktemp("photos")
    for number, size in enumerate(((60, 91, 3), (200, 37, 3))):
        picture = np.random.default_rng(number).integers(0, 255, size, dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.GaussianBlur(picture, (9, 9), 3))
    return folder / "0.png", folder / "1.png"


@pytest.mark.parametrize("name", ["checkpoint-last.pth", "net.safetensors"])
def test_a_pre_training_leaves_all_that_completion_needs(
    name: str, made: Path, photos: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "completion.png"
    found = complete(photos, str(made / name), out, device="cpu")
    assert len(found) == 2 and all(np.isfinite([one.error, one.error_wrong, one.ratio]).all() for one in found)
    assert read_rgb(out).std() > 10
    other = complete(photos, str(made / name), out, wrong=photos[0], device="cpu")
    assert [one.error for one in other] == [one.error for one in found]
    assert other[1].error_wrong == pytest.approx(other[1].error)  # its true reference is the first photo
    again = complete(photos, str(made / name), out, mask_ratio=0.5, seed=1, device="cpu")
    assert again[0].error != found[0].error


def test_the_backbone_loads_with_and_without_what_completion_needs(made: Path) -> None:
    file = read_pretraining(str(made / "net.safetensors"))
    assert set(file.weights) == {"mask_token", "prediction_head.weight", "prediction_head.bias"}
    assert file.image_size == (32, 32)
    assert isinstance(load_backbone(made / "net.safetensors", image_size=32), CroCo)


@pytest.fixture
def backbone_alone(tmp_path: Path) -> str:
    """A CroCo without what only completion needs."""
    entry = zoo.find("mini-croco")
    assert entry is not None and entry.asset is not None
    with safe_open(entry.asset, "pt") as file:
        kept = {name: file.get_tensor(name) for name in file.keys() if not name.startswith("pretraining.")}  # noqa: SIM118
        save_file(kept, tmp_path / "alone.safetensors", file.metadata())
    return str(tmp_path / "alone.safetensors")


def test_a_packaged_network_completes_from_the_right_view(tiny_data: Path, tmp_path: Path) -> None:
    """Of rooms that it never saw; another room is no help."""
    first = sorted((tiny_data / "habitat_release").rglob("*_1.jpeg"))[0]
    pair = first, first.with_name(first.name.replace("_1.", "_2."))
    found = complete(pair, "mini-croco", tmp_path / "x.png", device="cpu")
    assert all(one.ratio < 0.8 for one in found) and all(one.error < 0.6 for one in found), found


@pytest.mark.parametrize(
    ("ckpt", "error", "words"),
    [
        ("random:mini-croco", CheckpointError, "can't complete images"),
        ("mini-mae", FitError, "is no CroCo network"),
    ],
)
def test_what_a_file_cant_do_is_one_sentence(
    ckpt: str, error: type[Exception], words: str, photos: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(error, match=words) as caught:
        complete(photos, ckpt, tmp_path / "x.png", image_size=(64, 64), device="cpu")
    assert "\n" not in str(caught.value) and not (tmp_path / "x.png").exists()


def test_a_backbone_alone_cant_complete_images(backbone_alone: str, photos: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no mask_token and no prediction_head, only the backbone"):
        complete(photos, backbone_alone, tmp_path / "x.png", image_size=(64, 64), device="cpu")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mask_ratio": 1.5}, "mask ratio of 1.5"),
        ({"mask_ratio": float("nan")}, "mask ratio"),
        ({"device": "gpu"}, "gpu"),
    ],
)
def test_settings_are_looked_at_before_the_checkpoint(
    given: dict[str, Any], words: str, photos: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        complete(photos, "nowhere.pth", tmp_path / "x.png", **given)


def test_the_command_says_where_the_picture_is(made: Path, photos: tuple[Path, Path], tmp_path: Path) -> None:
    words = [*map(str, photos), "--ckpt", str(made / "checkpoint-last.pth"), "--out", str(tmp_path / "a.png")]
    said = CliRunner().invoke(app, ["complete", *words, "--device", "cpu"]).output
    assert "0.png: error" in said and "ratio" in said and "a.png" in said and (tmp_path / "a.png").is_file()
    with pytest.raises(DataError, match="nowhere"):
        complete((tmp_path / "nowhere.jpg", photos[0]), str(made / "checkpoint-last.pth"), tmp_path / "b.png")


@pytest.mark.parametrize("name", ["checkpoint-last.pth", "net.safetensors"])
def test_a_pre_training_begins_where_another_ended(
    name: str, tiny: Tiny, made: Path, pairs_root: Path, tmp_path: Path
) -> None:
    still = ("train.steps=1", "optim.warmup=0", "optim.blr=1e-12")  # so that the last weights are the first
    tiny(pairs_root, tmp_path / "on", *still, init=str(made / name), seed=1)
    before, after = (torch.load(folder / "checkpoint-last.pth")["model"] for folder in (made, tmp_path / "on"))
    assert all(torch.allclose(before[key], after[key], atol=2e-3) for key in before)
    facts = json.loads((tmp_path / "on" / "facts.json").read_text())
    assert facts["init"]["ckpt"] == str(made / name) and len(facts["init"]["sha256"]) == 64
    assert f"--init={made / name}" in facts["command"]
    tiny(pairs_root, tmp_path / "off", *still, seed=1)
    fresh = torch.load(tmp_path / "off" / "checkpoint-last.pth")["model"]
    assert not torch.allclose(fresh["prediction_head.weight"], after["prediction_head.weight"], atol=2e-3)


def test_what_a_checkpoint_lacks_is_said(backbone_alone: str) -> None:
    objective = build(recipes.load("mini"), 0)
    before = objective.state_dict()["mask_token"].clone()
    start = start_from(objective, backbone_alone)
    assert start.notes == (f"{backbone_alone} has no mask_token, prediction_head: random at the start",)
    assert torch.equal(objective.state_dict()["mask_token"], before)
    loaded = load_backbone("mini-croco", image_size=64)
    assert torch.equal(
        objective.backbone.get_parameter("blocks.0.attn.qkv.weight"), loaded.get_parameter("blocks.0.attn.qkv.weight")
    )


@pytest.mark.parametrize(
    ("changes", "ckpt", "words"),
    [
        (["model.width=64"], "mini-croco", "width of its network is 128, that of the recipe 64"),
        (["decoder=cat"], "mini-croco", "decoder of its network is"),
        (["objective=mae"], "mini-croco", "is of family croco, but the objective trains one of family mae"),
    ],
)
def test_another_network_is_one_sentence(changes: list[str], ckpt: str, words: str) -> None:
    with pytest.raises(FitError, match=words):
        start_from(build(recipes.load("mini", changes), 0), ckpt)
