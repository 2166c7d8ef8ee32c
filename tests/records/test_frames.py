"""Results as pandas tables: what may be compared, values per image, and short texts of public objects."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import croco_bench
from croco_bench import load_results, load_rows
from croco_bench.errors import BenchError, RecordError, UsageError
from croco_bench.records.store import ResultPaths, write
from croco_bench.tables.show import show

RESULTS = Path(__file__).parents[2] / "results"
TRAINED = {"resolved": {"train": {"train_images": 795}}, "limit": None}


def put(root: Path, result_of: Any, model: str, task: str = "nyuv2-depth", **changes: Any) -> ResultPaths:
    result = result_of(**{"model__name": model, "task__name": task, "settings": TRAINED, **changes})
    paths = ResultPaths(root, result.recipe.name, task, model, result.seed)
    rows = {"index": np.arange(3.0), "delta1": np.array([80.0, np.nan, 90.0]), "table": np.ones((3, 4))}
    write(paths, result, {**rows, "group": np.array(["a", "a", "b"])})
    return paths


def test_what_may_be_compared_has_one_key(tmp_path: Path, result_of: Any) -> None:
    put(tmp_path, result_of, "a")
    put(tmp_path, result_of, "b", seed=3)
    put(tmp_path, result_of, "dis", model__family="classical", recipe__fingerprint="none", settings={}, selected=None)
    put(tmp_path, result_of, "old", settings={"limit": None})
    others: dict[str, dict[str, Any]] = {
        "task": {"task": "sintel-flow"},
        "version": {"task__version": 2},
        "settings": {"recipe__fingerprint": "other"},
        "recipe": {"recipe__name": "mine"},
        "part": {"dataset__images": 10},
        "limit": {"settings": {**TRAINED, "limit": 10}},
        "data": {"dataset__fingerprint": "beef"},
        "trained": {"settings": {"resolved": {"train": {"train_images": 10}}, "limit": None}},
    }
    for model, changes in others.items():
        put(tmp_path, result_of, model, **changes)
    frame = load_results(tmp_path).set_index("model")
    assert frame.loc[["a", "b", "dis", "old"], "comparable"].nunique() == 1
    single = frame.drop(index=["b", "dis", "old"])
    assert single["comparable"].nunique() == len(single) == 9


def test_changes_are_said_in_words(tmp_path: Path, result_of: Any) -> None:
    put(tmp_path, result_of, "plain", settings={"optim": {"lr": 1e-4}, "changed": {}})
    put(tmp_path, result_of, "few", dataset__images=10, selected=None)
    put(tmp_path, result_of, "mine", recipe__name="mine")
    changes = load_results(tmp_path).set_index("model")["changes"]
    assert changes["plain"] == "" and changes["mine"] == "own mine.toml"
    assert changes["few"].endswith("10 of 654 images; evaluation only")


def test_old_columns_keep_their_places(tmp_path: Path, result_of: Any) -> None:
    paths = put(tmp_path, result_of, "a")
    frame = load_results(tmp_path)
    assert list(frame.columns[:6]) == ["task", "model", "family", "recipe", "fingerprint", "seed"]
    assert list(frame.columns[12:17]) == ["dataset", "miniature", "images", "images_available", "path"]
    assert load_results(paths.json).drop(columns="path").equals(frame.drop(columns="path"))


def test_rows_are_values_of_images(tmp_path: Path, result_of: Any) -> None:
    paths = put(tmp_path, result_of, "a")
    put(tmp_path, result_of, "b", seed=1)
    frame = load_rows(tmp_path)
    assert len(frame) == 6 and set(frame["metric"]) == {"delta1"}
    assert frame["value"].tolist()[:3] == pytest.approx([80.0, np.nan, 90.0], nan_ok=True)
    assert frame["scene"].tolist()[:3] == ["a", "a", "b"] and frame["image"].tolist()[:3] == [0, 1, 2]
    assert set(frame["comparable"]) == set(load_results(tmp_path)["comparable"])
    paired = frame.pivot(index="image", columns="model", values="value")
    assert paired.shape == (3, 2)
    assert len(load_rows(paths.json)) == len(load_rows(tmp_path, models=["A"])) == 3


def test_means_of_rows_are_the_results() -> None:
    rows = load_rows(RESULTS, tasks=["nyuv2-depth"], metrics=["delta1", "eigen/*"], models=["mini-*"])
    results = load_results(RESULTS)
    where = ["task", "recipe", "model", "seed", "metric"]
    means = rows.groupby(where)["value"].mean()
    wanted = results["task"].eq("nyuv2-depth") & results["model"].str.startswith("mini-")
    wanted &= results["metric"].eq("delta1") | results["metric"].str.startswith("eigen/")
    assert len(means) == wanted.sum() >= 4 * 4 * 10  # recipes, backbones, metrics
    recorded = results.set_index(where)["value"].loc[means.index]
    assert np.allclose(means, recorded, rtol=1e-12)


@pytest.mark.parametrize(
    ("error", "words", "arguments"),
    [
        (UsageError, "did you mean nyuv2-depth", {"tasks": ["nyu"]}),
        (UsageError, "no metric is called 'delta9'", {"metrics": ["delta9"]}),
        (UsageError, "no backbone is called 'b'", {"models": ["b"]}),
        (RecordError, "there is no results folder", {"folder": "nowhere"}),
    ],
)
def test_what_is_not_there_is_said(
    tmp_path: Path, result_of: Any, error: type[BenchError], words: str, arguments: dict[str, Any]
) -> None:
    put(tmp_path, result_of, "a")
    with pytest.raises(error, match=words):
        load_rows(**{"folder": tmp_path, **arguments})


def test_missing_and_damaged_values_are_said(tmp_path: Path, result_of: Any) -> None:
    paths = put(tmp_path, result_of, "a")
    paths.rows.write_bytes(paths.rows.read_bytes()[:50])
    with pytest.raises(RecordError, match=r"seed0\.npz can't be read"):
        load_rows(tmp_path)
    paths.rows.unlink()
    with pytest.raises(RecordError, match="there are no per-image values"):
        load_rows(tmp_path)


def test_a_result_that_is_a_link_has_the_place_of_the_link(tmp_path: Path, result_of: Any) -> None:
    path = put(tmp_path / "results", result_of, "a").json
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    assert "seed 0" in show(path) and len(load_results(path)) == 1


def test_public_objects_have_short_texts(result_of: Any) -> None:
    assert (
        repr(result_of()) == str(result_of()) == "Result(nyuv2-depth, croco-v1, recipe paper, seed 0: delta1 85.12 %)"
    )
    assert dir(croco_bench) == ["__version__", "load_backbone", "load_results", "load_rows", "run"]
    backbone = croco_bench.load_backbone("mini-croco", image_size=(64, 80))
    assert repr(backbone).startswith("CroCo(mini-croco: croco, 4 blocks and a decoder, 128 channels")
    assert repr(backbone).endswith("images of 64 × 80)")
