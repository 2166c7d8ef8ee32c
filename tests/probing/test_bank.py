"""Runs without training: the bank is filled, scored, and scored again from its file."""

from pathlib import Path
from typing import Any

import pytest

from croco_bench import run
from croco_bench.errors import UsageError
from croco_bench.records.schema import Result
from croco_bench.records.store import ResultPaths
from croco_bench.tables.published_grids import class_of_run

BANK = ["head={name='retrieval', bank=600, neighbours=5}", "train.frozen=true", "train.epochs=2"]


def finish(data: Path, results: Path, changes: list[str], **options: Any) -> Result:
    ckpt = options.pop("ckpt", "mini-mae")
    settings: dict[str, Any] = {
        "recipe": "smoke",
        "data_root": data,
        "results": results,
        "device": "cpu",
        "name": "one",
    }
    result = run("ade20k-seg", ckpt, changes=changes, **{**settings, **options})
    assert result is not None
    return result


@pytest.mark.slow
def test_a_run_keeps_patches_trains_nothing_and_scores_again_from_its_file(tiny_data: Path, tmp_path: Path) -> None:
    result = finish(tiny_data, tmp_path, BANK)
    assert result.cost and result.cost.trained_parameters == 0
    bank = result.settings["resolved"]["probe"]["bank"]
    assert bank["images"] * bank["patches_per_image"] <= 600 and bank["patches_per_image"] == 16  # all of 4 x 4
    assert result.selected and result.metrics["last/miou"].value == result.metrics["miou"].value
    assert class_of_run(result) == "frozen"
    folder = ResultPaths(tmp_path, "smoke", "ade20k-seg", "one", 0).folder
    assert "select/miou" in (folder / "log.jsonl").read_text()
    weights = folder / "weights.safetensors"
    again = finish(tiny_data, tmp_path, BANK, ckpt=weights, name="again", eval_only=True)
    other = finish(tiny_data, tmp_path, BANK, name="other", seed=1)
    for key in ("miou", "letterbox/miou"):
        assert again.metrics[key].value == pytest.approx(result.metrics[key].value, rel=1e-6)
    assert other.metrics["miou"].value != result.metrics["miou"].value  # other crops are kept


def test_what_does_not_fit_is_a_sentence(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"isn't trained: it needs train\.frozen=true"):
        finish(tiny_data, tmp_path, BANK[:1])
    with pytest.raises(UsageError, match="a task that classifies pixels"):
        run("nyuv2-depth", "mini-mae", recipe="smoke", data_root=tiny_data, results=tmp_path, changes=BANK[:2])
    with pytest.raises(UsageError, match=r"a bank of 3 patches is too small.*head\.bank="):
        finish(tiny_data, tmp_path, ["head={name='retrieval', bank=3}", *BANK[1:]])
