"""Marks of the best: bold only where a test separates it, else all that can't be told from it alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench import report, tables
from croco_bench.records.store import ResultPaths, read_all, write
from croco_bench.tables.comparison.multiple import separable_from_best
from croco_bench.tables.comparison.ranks import mean_rank_intervals
from croco_bench.tables.comparison.scores import load_column
from croco_bench.tables.grid import build
from croco_bench.tables.layout import Grid

DELTA1 = "nyuv2-depth/delta1"
DOMAINS = ("curvature", "depth", "edges", "keypoints2d", "keypoints3d", "normals", "occlusion", "reshading")
IMAGES = 200


class Folder:
    """Results whose per-image values lie about a mean, with the same hard and easy images for all backbones."""

    def __init__(self, root: Path, make: Any) -> None:
        self.root, self._make = root, make
        self._difficulty = np.random.default_rng(0).normal(0, 5, IMAGES)

    def put(
        self, model: str, mean: float, seeds: int = 3, task: str = "nyuv2-depth", metric: str = "delta1", **changes: Any
    ) -> None:
        """`seeds` results whose means differ by about 0.1."""
        for seed in range(seeds):
            rng = np.random.default_rng([seed, *model.encode()])
            values = mean + self._difficulty + rng.normal(0, 0.5, IMAGES) + rng.normal(0, 0.1)
            entry = {"value": float(values.mean()), "ci95": None, "unit": "%", "higher_is_better": metric == "delta1"}
            result = self._make(
                model__name=model, task__name=task, metrics={metric: entry}, seed=seed, **{"settings": {}, **changes}
            )
            write(
                ResultPaths(self.root, "paper", task, model, seed), result, {"index": np.arange(IMAGES), metric: values}
            )

    def grids(self, **options: Any) -> list[Grid]:
        return build(read_all([self.root])[0], (), **options)


@pytest.fixture
def folder(tmp_path: Path, result_of: Any) -> Folder:
    return Folder(tmp_path, result_of)


def marks(grid: Grid, column: str = DELTA1) -> dict[str, str | None]:
    return {row.label: row.cells[column].mark for row in grid.measured if column in row.cells}


def test_the_best_is_bold_where_it_is_separable(folder: Folder) -> None:
    for model, mean in (("a", 60.0), ("b", 70.0), ("c", 50.0)):
        folder.put(model, mean)
    (grid,) = folder.grids()
    assert marks(grid) == {"a": "second", "b": "best", "c": None}
    assert any("after Holm's correction" in note for note in grid.notes)


def test_all_that_cannot_be_told_from_the_best_are_marked_alike(folder: Folder) -> None:
    for model, mean in (("a", 70.0), ("b", 70.05), ("c", 50.0)):
        folder.put(model, mean)
    (grid,) = folder.grids()
    assert marks(grid) == {"a": "tied", "b": "tied", "c": None}
    assert [row.cells[DELTA1].rank for row in grid.measured].count(1) == 1


def test_the_marks_are_those_of_the_statistics(folder: Folder) -> None:
    members = {}
    for step, model in enumerate("abcd"):
        folder.put(model, 70.0 + 0.12 * step)
        members[model] = [file for file in read_all([folder.root])[0] if file.paths.model == model]
    tied = separable_from_best(load_column(members, "delta1"), higher_is_better=True).tied
    assert {name for name, mark in marks(folder.grids()[0]).items() if mark in ("tied", "best")} == tied
    assert 1 < len(tied) < 4


def test_rows_that_are_not_ranked_are_not_tested(folder: Folder) -> None:
    folder.put("a", 70.0)
    folder.put("b", 60.0)
    folder.put("changed", 99.0, recipe__fingerprint="0a1b2c3d4e5f")
    folder.put("sgm", 99.0, seeds=1, model__family="classical", model__source="classical:sgm", selected=None)
    assert marks(folder.grids()[0]) == {"a": "best", "b": "second", "changed, settings 0a1b2c": None, "sgm": None}


def test_one_seed_is_said(folder: Folder) -> None:
    folder.put("a", 70.0, seeds=1)
    folder.put("b", 60.0)
    (note,) = [note for note in folder.grids()[0].notes if note.startswith("one seed")]
    assert note.startswith("one seed: a;")


def test_a_few_images_give_no_test(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Folder.put.__globals__, "IMAGES", 9)
    folder._difficulty = folder._difficulty[:9]
    folder.put("a", 70.0)
    folder.put("b", 60.0)
    (grid,) = folder.grids()
    assert set(marks(grid).values()) == {None}
    assert "nothing is marked in nyuv2-depth δ1 (%) ↑: fewer than 10 images are too few for a test" in grid.notes


def test_without_per_image_values_nothing_is_marked_and_it_is_said(folder: Folder) -> None:
    folder.put("a", 70.0)
    folder.put("b", 60.0)
    ResultPaths(folder.root, "paper", "nyuv2-depth", "b", 1).rows.unlink()
    (grid,) = folder.grids()
    assert set(marks(grid).values()) == {None}
    assert any(
        note.startswith("nothing is marked in nyuv2-depth δ1 (%) ↑: there are no per-image") for note in grid.notes
    )


def test_without_tests_best_and_second_are_by_value(folder: Folder) -> None:
    folder.put("a", 70.0)
    folder.put("b", 70.2)
    (grid,) = folder.grids(tests=False)
    assert marks(grid) == {"a": "second", "b": "best"}
    assert "bold and underlined: best and second by value alone; no test was made" in grid.notes


def test_one_backbone_has_nothing_to_be_compared_with(folder: Folder) -> None:
    folder.put("a", 70.0)
    assert marks(folder.grids()[0]) == {"a": None}


def test_mean_ranks_have_intervals_and_marks(folder: Folder) -> None:
    for domain in DOMAINS:
        for model, mean in (("a", 1.0), ("b", 1.02), ("c", 9.0)):
            folder.put(model, mean, seeds=2, task=f"taskonomy-{domain}", metric="l1")
    main, _ = folder.grids()
    cells = {row.name: row.cells["taskonomy/mean_rank"] for row in main.measured}
    files = read_all([folder.root])[0]
    scores = [
        load_column(
            {
                name: [f for f in files if (f.paths.task, f.paths.model) == (f"taskonomy-{domain}", name)]
                for name in "abc"
            },
            "l1",
        )
        for domain in DOMAINS
    ]
    expected = mean_rank_intervals(scores, [False] * 8)
    assert {name: cell.interval for name, cell in cells.items()} == {name: expected[name].ci95 for name in "abc"}
    assert {name: cell.mark for name, cell in cells.items()} == {"a": "tied", "b": "tied", "c": None}
    assert any(note.startswith("mean ranks have 95 % intervals") for note in main.notes)
    low, high = expected["c"].ci95
    assert f"{cells['c'].value:.2f} [{low:.2f}, {high:.2f}]" in tables.make(
        [folder.root], format="markdown", published="none"
    )


@pytest.mark.parametrize(
    ("format", "shown"),
    [
        ("markdown", ("**7", "*6")),
        ("latex", (r"\textbf{7", r"\textit{6")),
        (report.page, ('class="best">7', 'class="tied">6')),
        ("json", ('"mark": "best"', '"mark": "tied"')),
        ("csv", (",best,", ",tied,")),
    ],
)
def test_every_format_has_the_marks(
    folder: Folder, format: tables.Format | tables.Renderer, shown: tuple[str, str]
) -> None:
    for model, mean in (("a", 70.0), ("b", 50.0)):
        folder.put(model, mean)
    for model, mean in (("a", 60.0), ("b", 60.02)):
        folder.put(model, mean, task="keypoints")
    text = tables.make([folder.root], format=format, published="none")
    assert [words for words in shown if words not in text] == []
