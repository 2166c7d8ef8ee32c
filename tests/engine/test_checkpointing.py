"""Activation checkpointing changes no number."""

from pathlib import Path

import pytest

from croco_bench import load_backbone, run
from croco_bench.engine.checkpointing import checkpoint_blocks
from croco_bench.engine.training_log import lines
from croco_bench.errors import FitError


@pytest.mark.parametrize(
    ("task", "ckpt"),
    [
        ("nyuv2-depth", "random:mini-mae"),
        ("stereo", "random:mini-croco"),
        ("nyuv2-depth", "random:vit_tiny_patch16_224"),
    ],
)
def test_losses_and_scores_stay(task: str, ckpt: str, tiny_data: Path, tmp_path: Path) -> None:
    found = []
    for folder, change in (("kept", "false"), ("again", "true")):
        results = tmp_path / folder
        changes = [f"train.checkpointing={change}", "optim.drop_path=0.5"]
        result = run(task, ckpt, recipe="smoke", data_root=tiny_data, results=results, device="cpu", changes=changes)
        (log,) = results.rglob("log.jsonl")
        assert result is not None
        found.append((result.metrics, result.recipe.fingerprint, lines(log.parent)))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("ckpt", "count"),
    [("random:mini-mae", 4), ("random:mini-croco", 7), ("random:vit_tiny_patch16_224", 12), ("random:resnet18", 8)],
)
def test_backbones_name_their_blocks(ckpt: str, count: int) -> None:
    assert len(load_backbone(ckpt, image_size=64).units()) == count


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(FitError, match=r"mine doesn't say what its blocks are, which train\.checkpointing needs"):
        checkpoint_blocks([], "mine")
