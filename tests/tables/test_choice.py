"""Tables that are chosen and arranged: which rows and columns they have, in which order, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench import tables
from croco_bench.errors import RecordError, UsageError
from croco_bench.records.selection import Selection
from croco_bench.records.store import ResultPaths, read_all, write
from croco_bench.tables.grid import build
from croco_bench.tables.layout import Grid
from croco_bench.tables.published import sources
from croco_bench.tables.render import Layout
from croco_bench.tables.shape import Shape

DOMAINS = ("curvature", "depth", "edges", "keypoints2d", "keypoints3d", "normals", "occlusion", "reshading")


def metric(value: float, unit: str = "", *, higher: bool | None = False) -> dict[str, Any]:
    return {"value": value, "ci95": None, "unit": unit, "higher_is_better": higher}


@pytest.fixture
def results(tmp_path: Path, result_of: Any) -> Path:
    """Three backbones on NYUv2 under two recipes and two seeds, on ADE20K with classes, and on Taskonomy."""

    def put(recipe: str, task: str, model: str, seed: int, metrics: dict[str, Any], rows: dict[str, Any]) -> Path:
        named = {"task__name": task, "model__name": model, "recipe__name": recipe, "seed": seed, "settings": {}}
        paths = ResultPaths(tmp_path, recipe, task, model, seed)
        write(paths, result_of(**named, metrics=metrics), {"index": np.arange(4.0), **rows})
        return paths.folder

    for place, model in enumerate(("croco-a", "croco-b", "mae")):
        for seed in (0, 1):
            values = np.array([60.0, 70.0, 80.0, 90.0]) + place + seed
            errors = {"rmse": metric(0.5 - place / 10 + seed / 100, "m"), "eigen/rmse": metric(0.9 + place, "m")}
            depth = {"delta1": metric(float(values.mean()), "%", higher=True), **errors, "last/rmse": metric(9.0, "m")}
            scenes = {"delta1": values, "group": np.array(["kitchen", "bath", "kitchen", "bath"])}
            put("paper", "nyuv2-depth", model, seed, depth, scenes)
        put("smoke", "nyuv2-depth", model, 0, {"delta1": metric(20.0 + place, "%", higher=True)}, {})
        miou = {"miou": metric(40.0 + place, "%", higher=True), "classes": metric(150.0, higher=None)}
        folder = put("paper", "ade20k-seg", model, 0, miou, {})
        folder.mkdir()
        lines = [
            "protocol,class,iou,accuracy",
            f"headline,wall,{50 + place},60",
            "headline,sky,,70",
            "letterbox,wall,1,2",
        ]
        (folder / "breakdown.csv").write_text("\n".join(lines))
        for domain in DOMAINS:
            put("paper", f"taskonomy-{domain}", model, 0, {"l1": metric(0.1 + place)}, {})
    return tmp_path


def grids(folder: Path, shape: Shape | None = None, **chosen: Any) -> list[Grid]:
    selection = Selection(**{name: tuple(values) for name, values in chosen.items()})
    found = read_all([folder], "paper" if shape is None or shape.rows != "recipe" else None)[0]
    return build(found, (), tests=False, selection=selection, shape=shape or Shape())


def keys(grid: Grid) -> list[str]:
    return [column.key for column in grid.columns]


def names(grid: Grid) -> list[str]:
    return [row.label for row in grid.measured]


def test_tasks_come_in_the_order_of_their_globs(results: Path) -> None:
    (main,) = grids(results, tasks=["nyuv2-depth", "ade*"])
    assert keys(main) == ["nyuv2-depth/delta1", "ade20k-seg/miou"]
    main, behind = grids(results, tasks=["taskonomy", "nyuv2-depth"])
    assert keys(main) == ["taskonomy/mean_rank", "nyuv2-depth/delta1"]
    assert len(behind.columns) == 8 and all(not row.runs for row in behind.measured) and main.measured[0].runs


def test_members_of_a_group_stand_without_a_rank(results: Path) -> None:
    (only,) = grids(results, tasks=["taskonomy-normals", "taskonomy-d*"])
    assert keys(only) == ["taskonomy-normals/l1", "taskonomy-depth/l1"]
    assert not [note for note in only.notes if "ranks" in note] and all(row.runs for row in only.measured)


def test_metrics_and_protocols(results: Path) -> None:
    (main,) = grids(results, tasks=["nyuv2-depth"], metrics=["*rmse", "delta1"])
    assert keys(main) == [f"nyuv2-depth/{name}" for name in ("rmse", "eigen/rmse", "delta1")]
    assert main.columns[1].title == "nyuv2-depth eigen RMSE (m) ↓"
    (last,) = grids(results, metrics=["last/*"])
    assert keys(last) == ["nyuv2-depth/last/rmse"]
    (rank,) = grids(results, metrics=["mean_rank"])
    assert keys(rank) == ["taskonomy/mean_rank"] and len(rank.measured) == 3


def test_a_metric_without_a_direction_has_no_marks(results: Path) -> None:
    (main,) = grids(results, metrics=["classes"])
    assert {row.cells["ade20k-seg/classes"].mark for row in main.measured} == {None}
    assert "150" in tables.make([results], selection=Selection(metrics=("classes",)), published="none")


def test_ranks_and_marks_are_among_the_chosen(results: Path) -> None:
    main, _ = grids(results, models=["croco-*"], tasks=["taskonomy"])
    assert names(main) == ["croco-a", "croco-b"]
    assert [row.cells["taskonomy/mean_rank"].value for row in main.measured] == [1.0, 2.0]
    assert any("among croco-a, croco-b;" in note for note in main.notes)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("", ["croco-a", "croco-b", "mae"]),
        ("nyuv2-depth", ["mae", "croco-b", "croco-a"]),
        ("miou", ["mae", "croco-b", "croco-a"]),
        ("taskonomy/mean_rank", ["croco-a", "croco-b", "mae"]),
        ("name", ["croco-a", "croco-b", "mae"]),
    ],
)
def test_rows_are_sorted_by_a_column_the_best_first(results: Path, sort: str, order: list[str]) -> None:
    assert names(grids(results, Shape(sort=sort))[0]) == order


def test_rows_are_seeds_or_recipes(results: Path) -> None:
    (seeds,) = grids(results, Shape(rows="seed"), tasks=["nyuv2-depth"])
    assert names(seeds) == [f"{model}, seed {seed}" for model in ("croco-a", "croco-b", "mae") for seed in (0, 1)]
    assert {cell.n for row in seeds.measured for cell in row.cells.values()} == {1}
    (recipes,) = grids(results, Shape(rows="recipe"), tasks=["nyuv2-depth"])
    assert recipes.title.startswith("recipes paper, smoke")
    assert names(recipes)[:2] == ["croco-a, recipe paper", "croco-a, recipe smoke"]
    for grid in (seeds, recipes):
        cells = [cell for row in grid.measured for cell in row.cells.values()]
        assert not [cell for cell in cells if cell.mark or cell.rank or cell.settings_differ]
        assert any("nothing is ranked or marked" in note for note in grid.notes)


def test_columns_are_scenes(results: Path) -> None:
    (grid,) = grids(results, Shape(columns="scene"), metrics=["delta1"])
    assert [column.part for column in grid.columns] == ["all", "bath", "kitchen"]
    row = grid.measured[0]
    assert [row.cells[key].value for key in keys(grid)] == [75.5, 80.5, 70.5]
    assert row.cells[keys(grid)[1]].n == 2 and row.cells[keys(grid)[1]].deviation == pytest.approx(0.5**0.5)
    with pytest.raises(UsageError, match="no chosen result has numbers per scene"):
        grids(results, Shape(columns="scene"), tasks=["taskonomy-depth"])
    (told,) = grids(results, Shape(columns="scene"), metrics=["delta1", "rmse"])
    assert any(note.startswith("nyuv2-depth RMSE (m) ↓ of croco-a: ") and "per-image" in note for note in told.notes)


def test_columns_are_classes(results: Path) -> None:
    (grid,) = grids(results, Shape(columns="class"))
    assert [column.part for column in grid.columns] == ["wall"]  # the sky has no IoU
    assert [row.cells[keys(grid)[0]].value for row in grid.measured] == [50.0, 51.0, 52.0]
    both = grids(results, Shape(columns="class"), metrics=["accuracy", "letterbox/*"])
    assert [len(grid.columns) for grid in both] == [2, 1, 1]
    with pytest.raises(UsageError, match="no metric per class is called 'iuo'; did you mean iou"):
        grids(results, Shape(columns="class"), metrics=["iuo"])
    with pytest.raises(UsageError, match="no chosen result has numbers per class"):
        grids(results, Shape(columns="class"), tasks=["nyuv2-depth"])


def test_a_damaged_breakdown_is_named(results: Path) -> None:
    path = results / "paper/ade20k-seg/mae/seed0/breakdown.csv"
    path.write_text("protocol,class,iou\nheadline,wall,many\n")
    with pytest.raises(RecordError, match=r"breakdown\.csv isn't a table of numbers per class"):
        grids(results, Shape(columns="class"))


def test_digits_are_those_that_are_asked_for(results: Path) -> None:
    text = tables.make([results], recipe="paper", shape=Shape(digits=4), published="none", tests=False)
    assert "75.5000 ± 0.7071" in text and "1.0000" in text
    assert "86.80" in tables.make_published("croco", shape=Shape(digits=2))


def test_any_format_is_transposed_on_demand(results: Path) -> None:
    selection = Selection(tasks=("nyuv2-depth",))
    for format, start in (("markdown", "| task | croco-a |"), ("latex", "task & croco-a &"), ("terminal", "task ")):
        text = tables.make([results], recipe="paper", format=format, selection=selection, layout=Layout(transpose=True))  # type: ignore[arg-type]
        assert any(line.startswith(start) for line in text.splitlines()), format


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"tasks": ("nyu",)}, "no task is called 'nyu'; did you mean nyuv2-depth"),
        ({"models": ("crocco-a",)}, "no backbone is called 'crocco-a'; did you mean croco-a"),
        ({"metrics": ("rsme",)}, "no metric is called 'rsme'; did you mean rmse"),
        ({"tasks": ("ade20k-seg",), "metrics": ("eigen/rmse",)}, "no metric is called 'eigen/rmse'"),
    ],
)
def test_what_stands_for_nothing_is_refused(results: Path, chosen: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        tables.make([results], selection=Selection(**chosen), published="none")


def test_an_unknown_column_to_sort_by_is_refused(results: Path) -> None:
    with pytest.raises(UsageError, match="no column is called 'nyu'; did you mean nyuv2-depth"):
        tables.make([results], shape=Shape(sort="nyu"))


def test_a_task_without_results_is_told(results: Path) -> None:
    text = tables.make([results], selection=Selection(tasks=("stereo", "ade20k-seg")), published="none")
    assert "left out: no results of stereo" in text and "42.0" in text


def test_published_numbers_are_chosen_by_name_or_checkpoint() -> None:
    cells = json.loads(tables.make_published(format="json", selection=Selection(("nyuv2-depth",), (), ("mae*",))))[
        "cells"
    ]
    assert cells and {cell["task"] for cell in cells} == {"nyuv2-depth"}
    by_name = [row for source in sources() for row in source.row if row.model in {cell["backbone"] for cell in cells}]
    assert all("mae" in f"{row.model} {row.checkpoint}".lower() for row in by_name)
    (table,) = (tables.make_published("croco", format="csv", selection=Selection(("ade20k-seg",))).count("Table 3"),)
    assert table == 5
    with pytest.raises(UsageError, match="croco has none of the chosen numbers"):
        tables.make_published("croco", selection=Selection(("stereo",)))


def test_depth_and_disparity_each_have_their_rmse() -> None:
    shown = tables.make_published(format="markdown", selection=Selection(("nyuv2-depth", "stereo"), ("rmse",)))
    assert "nyuv2-depth RMSE (m) ↓" in shown and "(px)" not in shown


def test_nothing_published_is_said() -> None:
    text = tables.make_published(selection=Selection(("stereo",)))
    assert text.splitlines()[0] == "no such number was published" and "no results of stereo" in text
