"""The cells of a smoke run, and its sample checkpoints."""

from pathlib import Path
from typing import Any

import pytest

from croco_bench import load_backbone, registry
from croco_bench.records.store import ResultPaths, write
from croco_bench.workflows.sample_checkpoints import write_samples
from croco_bench.workflows.smoke import SmokeSetup, cells_of, differs_from_reference, further_recipes

TASKONOMY = registry.members("taskonomy")


def test_smoke_tries_the_recipes_of_frozen_read_outs_with_one_checkpoint() -> None:
    found = further_recipes()
    assert {("ade20k-seg", "smoke-knn-dense"), ("sintel-flow", "smoke-frozen-encoder")} <= set(found)
    assert all(recipe.startswith("smoke-") for _, recipe in found) and len(found) == len(set(found))


def test_smoke_gives_the_first_of_a_group_every_checkpoint() -> None:
    cells = [cell for cell in cells_of(["one", "two"]) if cell[0].startswith("taskonomy")]
    assert cells == [(TASKONOMY[0], "one"), (TASKONOMY[0], "two"), *((name, "one") for name in TASKONOMY[1:])]


@pytest.mark.parametrize(
    ("task", "device", "complaint"),
    [
        ("kitti-depth", "cpu", "delta1 is 10.46, but"),
        ("kitti-depth", "NVIDIA H200", ""),
        ("correspondence", "NVIDIA H200", "recall10 is 10.46, but"),
    ],
)
def test_scores_of_a_gpu_are_compared_where_nothing_is_drawn_there(
    task: str, device: str, complaint: str, tmp_path: Path, result_of: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    card = registry.tasks()[task].card

    def result(value: float, device: str) -> Any:
        metric = {"value": value, "ci95": None, "unit": "%", "higher_is_better": True}
        metrics = {one.name: metric for one in card.headline}
        return result_of(task__name=task, recipe__name="smoke", metrics=metrics, environment__device=device)

    write(ResultPaths(tmp_path / "known", "smoke", task, "mine", 0), result(15.67, "cpu"), {"image": ["a"]})
    setup = SmokeSetup(tmp_path, tmp_path / "results", tmp_path / "known", "auto")
    slot = ResultPaths(tmp_path / "results", "smoke", task, "mine", 0)
    assert differs_from_reference(setup, slot, result(15.6, "cpu")) == ""
    said = differs_from_reference(setup, slot, result(10.46, device))
    assert said.startswith(complaint) and bool(said) == bool(complaint)
    assert ("was trained on cpu, where random draws" in capsys.readouterr().err) == (not complaint)


def test_sample_checkpoints_have_official_formats_and_are_kept(tmp_path: Path) -> None:
    paths = write_samples(tmp_path)
    assert {load_backbone(path, image_size=64).origin.format for path in paths.values()} == {
        "CroCo v2",
        "MAE pre-trained",
        "MultiMAE",
    }
    before = {path: Path(path).stat().st_mtime_ns for path in paths.values()}
    assert write_samples(tmp_path) == paths
    assert {path: Path(path).stat().st_mtime_ns for path in paths.values()} == before
