"""What a pre-training does before its first step: nothing here trains."""

from pathlib import Path

import pytest

from croco_bench.errors import DataError, RecordError, UsageError
from croco_bench.pretraining.pretrain import pretrain


def test_halves_of_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / "facts.json").touch()  # finished work without its state: refused after the sweep
    name = f".{tmp_path.name}.safetensors.x0.partial"
    gone = [".last.pt.x1.partial", ".checkpoint-2.pth.x2.partial", ".log.jsonl.x3.partial", name]
    kept = [".mine.txt.x4.partial", "last.pt.x5.partial"]
    for left in gone + kept:
        (tmp_path / left).touch()
    with pytest.raises(RecordError, match="holds a finished pre-training"):
        pretrain("mini", tmp_path, pairs=["rooms"], changes=["data.holdout=0"], device="cpu")
    assert {path.name for path in tmp_path.iterdir()} == {"facts.json", "lock", *kept}


def test_the_multimae_objective_reads_the_folder_that_is_given_for_pairs(tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    with pytest.raises(DataError, match=r"pairs/train/rgb; the layout is"):
        pretrain("mini", tmp_path / "net", pairs=[str(tmp_path / "pairs")], objective="multimae", device="cpu")
    with pytest.raises(UsageError, match="names 2; give one"):
        pretrain("mini", tmp_path / "net", pairs=["a", "b"], objective="multimae", device="cpu")
    assert not (tmp_path / "net").exists()
