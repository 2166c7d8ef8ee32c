"""Small checkpoints in the official formats, with random weights: what smoke runs and the demo load."""

from __future__ import annotations

from pathlib import Path

from croco_bench.backbones.export import write_official
from croco_bench.backbones.load import load_backbone
from croco_bench.backbones.networks.vit import ViT

# Name -> architecture; the file has the format of the architecture's family.
SAMPLES = {
    "random-croco-file": "random:mini-croco@1",
    "random-mae-file": "random:mini-mae@1",
    "random-multimae-file": "random:mini-multimae@1",
}


def write_samples(folder: Path) -> dict[str, str]:
    """Writes the files that aren't there yet; returns name -> what to give as a checkpoint."""
    found = {}
    for name, architecture in SAMPLES.items():
        path = folder / f"{name}.pth"
        if not path.is_file():
            backbone = load_backbone(architecture, image_size=64)
            assert isinstance(backbone, ViT)
            write_official(backbone, path)
        found[name] = str(path)
    return found
