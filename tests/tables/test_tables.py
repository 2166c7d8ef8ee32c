import csv
import json
from pathlib import Path
from typing import Any

import pytest

from croco_bench import report, tables
from croco_bench.errors import RecordError
from croco_bench.records.store import ResultPaths, write
from croco_bench.tables.grid import build
from croco_bench.tables.published import disagreements, sources
from croco_bench.tables.show import find, show

FORMATS: tuple[tables.Format | tables.Renderer, ...] = ("terminal", "markdown", "latex", "csv", "json", report.page)


@pytest.fixture
def results(tmp_path: Path, result_of: Any) -> Path:
    """a: two seeds, 80 and 82; b: 85; c: 70 with other settings; d: on a miniature; e: limited; f & <b>: 60."""
    rows = {"index": [0.0], "delta1": [1.0]}

    def put(model: str, value: float, seed: int = 0, **changes: Any) -> None:
        result = result_of(model__name=model, metrics__delta1__value=value, seed=seed, **changes)
        write(ResultPaths(tmp_path, result.recipe.name, "nyuv2-depth", model, seed), result, rows)

    put("a", 80.0)
    put("a", 82.0, seed=1)
    put("b", 85.0)
    put("c", 70.0, recipe__fingerprint="other")
    put("d", 99.0, dataset__miniature=True)
    put("e", 98.0, dataset__images=10)
    put("f_&_<b>", 60.0)
    return tmp_path


def grids(results: Path, **options: Any) -> list[Any]:
    from croco_bench.records.store import read_all

    return build(read_all([results])[0], sources(), **options)


def cell(grid: Any, name: str, column: str = "nyuv2-depth/delta1") -> Any:
    return next(row for row in grid.measured if row.name == name).cells[column]


def test_seeds_are_averaged_with_their_deviation(results: Path) -> None:
    value = cell(grids(results)[0], "a")
    assert (value.value, value.n) == (81.0, 2)
    assert value.deviation == pytest.approx(2**0.5)


def test_best_and_second_are_among_measured_rows_only(results: Path) -> None:
    grid = grids(results)[0]
    assert [cell(grid, name).rank for name in ("b", "a", "c")] == [1, 2, None]
    assert all(entry.rank is None for row in grid.published for entry in row.cells.values())


def test_other_settings_are_a_row_of_their_own_with_a_dagger(results: Path) -> None:
    grid = grids(results)[0]
    assert [cell(grid, name).settings_differ for name in ("a", "b", "c")] == [False, False, True]
    assert next(row for row in grid.measured if row.name == "c").label == "c, settings other"
    assert any(note.startswith("†") for note in grid.notes)


def test_miniatures_stand_apart_and_limited_runs_stay_out(results: Path) -> None:
    real, mini = grids(results)
    assert {row.name for row in real.measured} == {"a", "b", "c", "f_&_<b>"}
    assert {row.name for row in mini.measured} == {"d"}
    assert any("left out" in note for note in real.notes)
    assert "e" in {row.name for row in grids(results, include_limited=True)[0].measured}


def test_recipes_never_share_a_grid(results: Path, result_of: Any) -> None:
    result = result_of(model__name="a", recipe__name="mini")
    write(ResultPaths(results, "mini", "nyuv2-depth", "a", 0), result, {"index": [0.0]})
    assert [grid.title.split(",")[0] for grid in grids(results)] == ["recipe mini", "recipe paper", "recipe paper"]
    assert "recipe mini" not in tables.make([results], recipe="paper")


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_shows_the_numbers(results: Path, format: tables.Format | tables.Renderer) -> None:
    text = tables.make([results], format=format)
    assert text == tables.make([results], format=format)
    assert "81" in text and "85" in text and "79.6" in text
    assert "CroCo (ViT-B)" in text and "2210.10716" in text
    assert "79.6" not in tables.make([results], format=format, published="none")


def test_missing_cells_are_dashes_and_markdown_is_a_table(results: Path, result_of: Any) -> None:
    miou = {"miou": {"value": 40.0, "ci95": None, "unit": "%", "higher_is_better": True}}
    segmentation = result_of(model__name="a", task__name="ade20k-seg", metrics=miou)
    write(ResultPaths(results, "paper", "ade20k-seg", "a", 0), segmentation, {"index": [0.0]})
    real, _ = tables.make([results], format="markdown", tests=False).split("\n\n### ")
    lines = [line for line in real.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert "| b | – | **85.0** |" in lines
    assert not any("RAFT" in line for line in lines)  # has no number for what was run
    assert any("**85.0**" in line for line in lines)
    assert any("<u>81.0 ± 1.4 (n=2)</u>" in line for line in lines)


def test_a_value_that_failed_predictions_left_out_is_told(results: Path, result_of: Any) -> None:
    said = "translation_m, rotation_deg are left out: too many predictions failed for a finite value"
    common = {"task__name": "relative-pose", "model__name": "sift", "model__family": "classical"}
    number = {"value": 4.0, "ci95": None, "unit": "%", "higher_is_better": True}
    result = result_of(**common, protocol__deviations=[said], metrics={"success_5cm_5deg": number})
    write(
        ResultPaths(results, "paper", "relative-pose", "sift", 0), result, {"index": [0.0], "success_5cm_5deg": [4.0]}
    )
    notes = [note for note in grids(results)[0].notes if "predictions failed" in note]
    assert notes == [
        "sift: too many predictions failed for a finite value of relative-pose t (m) ↓, relative-pose R (deg) ↓"
    ]


def test_csv_and_json_keep_full_precision(results: Path, result_of: Any) -> None:
    records = list(csv.DictReader(tables.make([results], format="csv").splitlines()))
    content = json.loads(tables.make([results], format="json"))
    assert len(records) == len(content["cells"])
    mine = next(record for record in content["cells"] if record["backbone"] == "a")
    assert mine["deviation"] == pytest.approx(2**0.5, rel=1e-15)
    assert {record["kind"] for record in records} == {"measured", "published"}


def test_a_broken_file_is_named_and_the_rest_is_shown(results: Path) -> None:
    bad = ResultPaths(results, "paper", "nyuv2-depth", "b", 3).json
    bad.write_text("{")
    for format in (format for format in FORMATS if format != "csv"):
        assert "seed3.json" in tables.make([results], format=format).replace("\n", "")


def test_no_results_still_show_what_was_published(tmp_path: Path) -> None:
    assert "79.6" in tables.make([tmp_path])


@pytest.mark.parametrize(
    ("given", "odd"), [("paper", "paper/nyuv2-depth/a/seed0.json"), (".", "x/paper/nyuv2-depth/a/seed0.json")]
)
def test_a_folder_that_is_too_low_or_too_high_is_told(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch, given: str, odd: str
) -> None:
    monkeypatch.chdir(results)
    if given == ".":
        (results / "x").mkdir()
        for folder in [path for path in results.iterdir() if path.name != "x"]:
            folder.rename(results / "x" / folder.name)
    assert f"left out: {odd} should be RECIPE/TASK/MODEL/seedN.json" in tables.make([Path(given)], format="markdown")


def test_columns_of_show_stay_below_each_other_with_long_names(results: Path) -> None:
    path = find("paper/nyuv2-depth/a/seed0", results)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["metrics"]["clean/epe_of_a_very_long_name"] = content["metrics"]["delta1"]
    path.write_text(json.dumps(content), encoding="utf-8")
    lines = [line for line in show(path).splitlines() if "[84, 86]" in line]
    assert len(lines) == 2 and len({line.index("[84, 86]") for line in lines}) == 1


def test_a_source_is_described_once_in_a_terminal_and_below_each_table_elsewhere() -> None:
    screen, paper = (tables.make_published("croco", format=format) for format in ("terminal", "markdown"))
    screen = " ".join(screen.split())
    assert screen.count("Self-Supervised Pre-training") == 1
    assert screen.count("described below an earlier table") == 3
    assert paper.count("Self-Supervised Pre-training") == 4


def test_show_finds_and_explains(results: Path) -> None:
    text = show(find("paper/nyuv2-depth/a/seed0", results))
    assert all(
        words in text for words in ("delta1", "80 %", "[84, 86]", "105,711,745", "one <thing> & another", "0.0001")
    )
    with pytest.raises(RecordError, match="paper/nyuv2-depth/a/seed0"):
        find("nothing", results)


def test_published_numbers_are_sourced_and_their_conflicts_are_told() -> None:
    assert len(sources()) >= 5
    for source in sources():
        assert source.url.startswith("https://") and source.protocol and source.where
    values = {(row.nominal, value) for source in sources() for row in source.row for value in row.values.values()}
    assert {("mae", 79.6), ("mae", 85.1), ("multimae", 83.0), ("multimae", 86.4), ("croco", 85.6)} <= values
    told = " ".join(disagreements(sources()))
    assert "79.6" in told and "85.1" in told and "86.4" in told
    assert not disagreements(sources(), threshold=100.0)


DOMAINS = ("curvature", "depth", "edges", "keypoints2d", "keypoints3d", "normals", "occlusion", "reshading")


CATALOGUE = {"croco": (1, 1, 1, 1, 1, 1, 2, 2), "mae": (3, 3, 3, 3, 3, 2, 3, 1), "multimae": (2, 2, 2, 2, 2, 3, 1, 3)}
RANK = "taskonomy/mean_rank"


@pytest.fixture
def taskonomy(tmp_path: Path, result_of: Any) -> Path:
    """Errors in the order that gives mean ranks of 10/8, 21/8 and 17/8; `partial` lacks a task."""
    for model, places in CATALOGUE.items():
        put_taskonomy(tmp_path, result_of, model, dict(zip(DOMAINS, (place / 100 for place in places), strict=True)))
    put_taskonomy(tmp_path, result_of, "partial", dict.fromkeys(DOMAINS[:7], 0.001))
    return tmp_path


def put_taskonomy(
    root: Path, result_of: Any, model: str, values: dict[str, float], seed: int = 0, **changes: Any
) -> None:
    for domain, value in values.items():
        metric = {"value": value, "ci95": None, "unit": "", "higher_is_better": False}
        task = f"taskonomy-{domain}"
        result = result_of(model__name=model, task__name=task, metrics={"l1": metric}, seed=seed, **changes)
        write(ResultPaths(root, "paper", task, model, seed), result, {"index": [0.0], "l1": [value]})


def test_taskonomy_is_a_mean_rank_among_complete_backbones(taskonomy: Path) -> None:
    main, _ = grids(taskonomy)
    ranked = {row.name: row.cells[RANK] for row in main.measured if RANK in row.cells}
    assert {name: entry.value for name, entry in ranked.items()} == {"croco": 1.25, "mae": 2.625, "multimae": 2.125}
    assert [ranked[name].rank for name in ("croco", "multimae", "mae")] == [1, 2, None]
    assert (
        "taskonomy: ranks over 8 tasks, among croco, mae, multimae; equal values share the mean of their ranks"
        in main.notes
    )
    assert "taskonomy: not ranked, for want of tasks: partial (7 of 8)" in main.notes
    assert [column.key for column in main.columns].count(RANK) == 1
    assert not [column.task for column in main.columns if column.task.startswith("taskonomy-")]


def test_the_numbers_behind_the_rank_stand_below(taskonomy: Path) -> None:
    main, behind = grids(taskonomy)
    assert behind.title == f"{main.title}, taskonomy: L1 per domain"
    assert [column.task for column in behind.columns] == [f"taskonomy-{domain}" for domain in DOMAINS]
    assert {row.name for row in behind.measured} == {"croco", "mae", "multimae", "partial"}
    normals = [row.cells["taskonomy-normals/l1"].value for row in behind.published]
    assert normals == [0.06571, 0.0592, 0.06035, 0.05976, 0.05413, 0.05303]


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_ranks_with_halves_to_even_and_errors(taskonomy: Path, format: tables.Format) -> None:
    text = tables.make([taskonomy], format=format, published="none")
    exact = format in ("csv", "json")
    assert all(shown in text for shown in (("1.25", "2.625", "2.125") if exact else ("1.25", "2.62", "2.12")))
    assert exact or not any(shown in text.replace("2.625", "") for shown in ("2.63", "2.13"))
    assert ("0.03" if exact else "0.0300") in text and "L1 per domain" in text
    if format == "markdown":
        partial = [line for line in text.splitlines() if "partial |" in line]
        assert partial[0] == "| partial | – |"
        assert partial[1].endswith("| – |") and partial[1].count("0.0010") == 7


def test_ranks_are_of_means_over_seeds_in_full_precision(tmp_path: Path, result_of: Any) -> None:
    put_taskonomy(tmp_path, result_of, "a", dict.fromkeys(DOMAINS, 0.10))
    put_taskonomy(tmp_path, result_of, "a", dict.fromkeys(DOMAINS, 0.30), seed=1)
    put_taskonomy(tmp_path, result_of, "b", dict.fromkeys(DOMAINS, 0.199999))
    main, _ = grids(tmp_path)
    assert (cell(main, "a", RANK).value, cell(main, "b", RANK).value) == (2.0, 1.0)
    assert (cell(main, "a", RANK).n, cell(main, "a", RANK).deviation) == (2, None)


def test_a_backbone_with_other_settings_in_one_task_is_not_ranked(taskonomy: Path, result_of: Any) -> None:
    put_taskonomy(taskonomy, result_of, "mae", {"depth": 0.03}, recipe__fingerprint="other")
    main, behind = grids(taskonomy)
    assert {row.label for row in main.measured if RANK in row.cells} == {"croco", "multimae"}
    assert "taskonomy: not ranked, for want of tasks: mae (7 of 8), partial (7 of 8)" in main.notes
    odd = next(row for row in behind.measured if row.label == "mae, settings other")
    assert odd.cells["taskonomy-depth/l1"].settings_differ and len(odd.cells) == 1
