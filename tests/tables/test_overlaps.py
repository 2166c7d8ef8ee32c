"""Cells are marked where the backbone's pre-training data overlap with the task's; unknown data is said."""

from pathlib import Path
from typing import Any

import pytest

from croco_bench import tables
from croco_bench.backbones import zoo
from croco_bench.backbones.provenance import TRAINED_ON, overlap, training_data
from croco_bench.records.store import ResultPaths, write


def save(folder: Path, result_of: Any, model: str, source: str, **changes: Any) -> None:
    result = result_of(model__name=model, model__source=source, model__sha256=None, **changes)
    paths = ResultPaths(folder, result.recipe.name, result.task.name, model, 0)
    write(paths, result, {})


def test_every_checkpoint_of_the_zoo_says_what_it_saw() -> None:
    assert set(TRAINED_ON) == {entry.name for entry in zoo.ENTRIES}
    assert all(sets and len(sets) == len(set(sets)) for sets in TRAINED_ON.values())


@pytest.mark.parametrize(
    ("source", "dataset", "expected"),
    [
        ("mae-vitb", "imagenet", ("images", "ImageNet-1K")),
        ("mae-vitb", "nyuv2", None),
        ("multimae-vitb", "taskonomy", ("scenes", "Omnidata (as teacher)")),
        ("croco-v1", "nyuv2", ("domain", "HM3D")),
        ("mast3r-512", "kitti", ("scenes", "Virtual KITTI")),
        ("random:mini-croco", "nyuv2", None),
    ],
)
def test_the_closest_overlap_is_found(source: str, dataset: str, expected: tuple[str, str] | None) -> None:
    saw = training_data(source)
    assert saw is not None and overlap(saw, dataset) == expected


def test_local_files_are_unknown_and_addresses_are_known() -> None:
    assert training_data("CroCo.pth") is None
    assert training_data(zoo.ENTRIES[0].url) == TRAINED_ON["croco-v1"]
    assert training_data("classical:dis") == ()


@pytest.mark.parametrize("format", ["terminal", "markdown", "latex", "json", "csv"])
def test_tables_mark_and_explain(format: Any, tmp_path: Path, result_of: Any) -> None:
    save(tmp_path, result_of, "croco", "croco-v1")
    save(tmp_path, result_of, "mae", "mae-vitb")
    save(tmp_path, result_of, "mine", "mine.pth")
    text = " ".join(tables.make([tmp_path], format=format, published="none").split())
    if format in ("json", "csv"):
        assert text.count("domain") >= 1
        return
    sign = r"\P{}" if format == "latex" else "¶"
    assert text.count(sign) == 2 and "pre-trained on scenes of the same kind (HM3D)" in text
    assert "pre-training data unknown: mine" in text


def test_miniatures_are_not_marked(tmp_path: Path, result_of: Any) -> None:
    save(tmp_path, result_of, "croco", "croco-v1", dataset__miniature=True)
    text = tables.make([tmp_path], format="markdown", published="none")
    assert "¶" not in text and "unknown" not in text
