"""What a result lists of its protocol: only what holds for the run."""

import json
import shutil
from pathlib import Path

import pytest

from croco_bench import run
from croco_bench.config.recipe import load_recipe
from croco_bench.data.folders import MARKER
from croco_bench.records.changes import changes_of
from croco_bench.records.schema import Result
from croco_bench.records.store import read_all
from croco_bench.tables.grid import build


def flow_by(method: str, data: Path, results: Path, *changes: str) -> Result:
    result = run("sintel-flow", f"classical:{method}", recipe="smoke", data_root=data, results=results, changes=changes)
    assert result is not None
    return result


@pytest.fixture(scope="module")
def zero(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return flow_by("zero", tiny_data, tmp_path_factory.mktemp("results"), "train.steps=7", "task.loss=free")


def test_a_method_without_learning_lists_no_training(zero: Result) -> None:
    protocol = load_recipe("sintel-flow", "smoke").protocol
    assert not {*protocol.training_deviations, *(f"changed from the recipe: {c}" for c in ("train.steps=7",))} & {
        *zero.protocol.deviations
    }
    said = json.dumps([zero.protocol.citation, zero.protocol.deviations, zero.settings])
    assert not any(word in said for word in ("train.", "loss", "steps", "optim", "fine-tun", protocol.citation))
    assert zero.settings["task"] == {"report": "auto", "submissions": {}} and zero.settings["changed"] == {}
    assert changes_of(zero) == ()


def test_a_method_without_a_network_has_no_parameters(zero: Result) -> None:
    cost = zero.cost
    assert cost and (cost.flops, cost.trained_parameters, cost.backbone_parameters, cost.image_size) == (None,) * 4
    assert cost.eval_images_per_s and cost.eval_images_per_s > 0
    assert zero.model.positions is None and zero.model.pretraining is None


def test_a_setting_that_it_uses_is_listed(tiny_data: Path, tmp_path: Path) -> None:
    result = flow_by("zero", tiny_data, tmp_path, "task.report=subval", "train.steps=7")
    assert changes_of(result) == ("task.report=subval",)
    assert "changed from the recipe: task.report=subval" in result.protocol.deviations


def test_metrics_without_a_value_are_one_line(zero: Result) -> None:
    lines = [text for text in zero.protocol.deviations if "left out" in text]
    missing = [key.strip() for line in lines for key in line.partition(" are left out")[0].split(",")]
    assert len(lines) == 1 < len(missing) and not {*missing} & {*zero.metrics}


def test_some_pairs_of_sintel_are_no_result_of_sintel(tiny_data: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_data / "sintel", tmp_path / "data" / "sintel")
    (tmp_path / "data" / "sintel" / MARKER).unlink()
    result = flow_by("zero", tmp_path / "data", tmp_path / "results")
    data = result.dataset
    assert data.images < data.images_available == 216 and result.limited and not data.miniature
    assert (
        f"only {data.images} of the 216 items of sintel's train (market_2) split are there"
        in result.protocol.deviations
    )
    found, _ = read_all([tmp_path / "results"])
    (row,) = build(found, (), include_limited=True)[0].measured
    assert f"{data.images} of 216" in row.label and not row.ranked
    assert not build(found, ())[0].measured
