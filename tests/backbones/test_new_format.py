"""A format is one module in `backbones/formats/`: found without being named anywhere, special ones before general ones."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from croco_bench.backbones import formats, load_backbone
from croco_bench.backbones.export import write_official
from croco_bench.backbones.networks.vit import ViT

TOY = '''
"""Files of a toy project: MAE's names, with a mark, under `trunk.`, and images in [-1, 1]."""

from dataclasses import replace

from croco_bench.backbones.networks.architecture import HALF
from croco_bench.backbones.formats import Converted, Format
from croco_bench.backbones.formats.vit import convert_vit


def _convert(names):
    names.take("toy_mark", "mark")
    del names.out["mark"]
    converted = convert_vit(names, "mae", "norm", ("a toy",))
    return replace(converted, network=replace(converted.network, mean=HALF[0], std=HALF[1]))


FORMATS = (Format("Toy", lambda raw: "toy_mark" in raw.state, _convert),)
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module `zz_toy` in the folder of the formats, where it comes last in alphabetical order."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "zz_toy.py").write_text(TOY)
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(tmp_path / "package")])
    formats.all_formats.cache_clear()
    yield
    formats.all_formats.cache_clear()
    sys.modules.pop(f"{formats.__name__}.zz_toy", None)


@pytest.fixture
def state(tmp_path: Path) -> dict[str, Tensor]:
    """The encoder of a MAE file: by its names alone, a plain ViT."""
    backbone = load_backbone("random:mini-mae", image_size=64)
    assert isinstance(backbone, ViT)
    write_official(backbone, tmp_path / "mae.pth")
    model: dict[str, Tensor] = torch.load(tmp_path / "mae.pth", weights_only=True)["model"]
    return {name: tensor for name, tensor in model.items() if not name.startswith(("decoder", "mask_token"))}


@pytest.mark.usefixtures("toy")
def test_a_module_in_the_folder_is_enough(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({**state, "toy_mark": torch.zeros(1)}, tmp_path / "toy.pth")
    backbone = load_backbone(tmp_path / "toy.pth", image_size=64)
    assert (backbone.origin.format, backbone.family, backbone.mean) == ("Toy", "mae", (0.5, 0.5, 0.5))
    assert backbone.origin.notes[0] == "a toy"


@pytest.mark.usefixtures("toy")
def test_other_files_keep_their_format(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "vit.pth")
    assert load_backbone(tmp_path / "vit.pth", image_size=64).origin.format == "MAE encoder"


def test_general_formats_are_tried_last() -> None:
    general = [one.general for one in formats.all_formats()]
    assert general == sorted(general)
    assert {one.name for one in formats.all_formats() if one.general} == {
        "CroCo fine-tuned",
        "CroCo v1",
        "CroCo v2",
        "MAE encoder",
        "MultiMAE export",
        "ViT",
    }
