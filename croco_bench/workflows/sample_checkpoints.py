"""Small checkpoints with random weights in the official formats, for smoke runs."""

from __future__ import annotations

from pathlib import Path

from croco_bench.backbones.export import write_official
from croco_bench.backbones.load import load_backbone
from croco_bench.backbones.networks.vit import ViT

# Model name -> network; its family decides the file format.
SAMPLES = {
    "random-croco-file": "random:mini-croco@1",
    "random-mae-file": "random:mini-mae@1",
    "random-multimae-file": "random:mini-multimae@1",
}


def write_samples(folder: Path) -> dict[str, str]:
    """Writes all files that don't exist yet; returns model name -> path."""
    paths = {}
    for name, architecture in SAMPLES.items():
        path = folder / f"{name}.pth"
        if not path.is_file():
            backbone = load_backbone(architecture, image_size=64)
            assert isinstance(backbone, ViT)
            write_official(backbone, path)
        paths[name] = str(path)
    return paths
