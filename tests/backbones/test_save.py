"""Files that are written: equal content gives equal bytes, so that it has one SHA-256, which results and keys hold."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from croco_bench import load_backbone
from croco_bench.backbones.save import save_backbone, save_finetuned

METADATA = {name: f'{name} = \x1b[31mé\n"中' for name in ("task", "recipe", "notes", "seed")}


def finetuned(path: Path) -> None:
    save_finetuned(path, load_backbone("random:mini-croco", image_size=32), torch.nn.Linear(2, 2), METADATA)


def pretrained(path: Path) -> None:
    save_backbone(path, load_backbone("random:mini-croco", image_size=32), METADATA, {"mask_token": torch.ones(3)})


@pytest.mark.parametrize("save", [finetuned, pretrained])
def test_equal_content_gives_equal_bytes(save: Callable[[Path], None], tmp_path: Path) -> None:
    for number in range(4):
        torch.manual_seed(0)
        save(tmp_path / f"{number}.safetensors")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    with safe_open(tmp_path / "0.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert METADATA.items() <= metadata.items()
    load_backbone(tmp_path / "0.safetensors", image_size=32)
