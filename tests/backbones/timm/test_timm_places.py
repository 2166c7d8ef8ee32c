"""Networks that timm finds in a repository or a folder: what is saved names no place, and no file makes timm look at one."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import _hub
from torch import nn

from croco_bench import load_backbone
from croco_bench.backbones.networks.timm_vit import TimmViT
from croco_bench.backbones.save import save_finetuned
from croco_bench.errors import CheckpointError

SIDE = 32
IMAGES = torch.linspace(-1, 1, 3 * SIDE * SIDE).sin().reshape(1, 3, SIDE, SIDE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small ViT as timm writes it for the hub."""
    torch.manual_seed(0)
    arguments = {"embed_dim": 48, "depth": 2, "num_heads": 3, "patch_size": 8, "img_size": SIDE}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **arguments)
    place = tmp_path / "published"
    place.mkdir()
    config = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, SIDE, SIDE], "num_classes": 0}
    facts = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 0,
        "model_args": arguments,
        "pretrained_cfg": config,
    }
    (place / "config.json").write_text(json.dumps(facts))
    save_file(model.state_dict(), place / "model.safetensors")
    return place


def fail(*_: Any, **__: Any) -> None:
    raise AssertionError("a place was looked at")


def test_a_saved_network_needs_its_place_no_more(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load_backbone(f"timm:local-dir:{folder}", image_size=SIDE)
    assert isinstance(backbone, TimmViT) and backbone.network.name == "vit_tiny_patch16_224"
    assert dict(backbone.network.arguments) == {"embed_dim": 48, "depth": 2, "num_heads": 3, "patch_size": 8}
    saved = tmp_path / "weights.safetensors"
    save_finetuned(saved, backbone, nn.Linear(1, 1), {"task": "none"})
    monkeypatch.setattr(_hub, "load_model_config_from_path", fail)
    monkeypatch.setattr(_hub, "load_model_config_from_hf", fail)
    (folder / "config.json").unlink()
    again = load_backbone(str(saved), image_size=SIDE)
    with torch.no_grad():
        for mine, its in zip(again.encode(IMAGES), backbone.encode(IMAGES), strict=True):
            assert torch.equal(mine, its)
    assert (again.mean, again.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.mark.parametrize("name", ["hf-hub:somebody/something", "local-dir:/etc"])
def test_no_place_is_looked_at_because_a_file_names_it(
    folder: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = tmp_path / "weights.safetensors"
    save_finetuned(saved, load_backbone(f"timm:local-dir:{folder}", image_size=SIDE), nn.Linear(1, 1), {"task": "none"})
    described = json.loads(saved.read_bytes()[8 : 8 + int.from_bytes(saved.read_bytes()[:8], "little")])["__metadata__"]
    save_file(load_file(saved), saved, metadata={**described, "timm": name})
    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(CheckpointError, match=f"names {name} as its network, .* lead to no other place; if you trust"):
        load_backbone(str(saved), image_size=SIDE)


def test_the_advice_can_be_followed(folder: Path, tmp_path: Path) -> None:
    backbone = load_backbone(f"timm:local-dir:{folder}", image_size=SIDE)
    saved = tmp_path / "weights.safetensors"
    save_finetuned(saved, backbone, nn.Linear(1, 1), {"task": "none"})
    again = load_backbone(f"timm:local-dir:{folder}@{saved}", image_size=SIDE)
    with torch.no_grad():
        assert torch.equal(again.encode(IMAGES)[-1], backbone.encode(IMAGES)[-1])
