"""Intervals and differences, scales, curves and pictures of the page."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from croco_bench.records.store import ResultFile, read_all
from croco_bench.report import cost, curves
from croco_bench.report.anchors import anchors
from croco_bench.report.cost import duration
from croco_bench.report.dots import Scale, dot, scales
from croco_bench.report.estimates import Estimates, estimates
from croco_bench.report.pictures import Pictures
from croco_bench.report.settings import by_columns, shared_settings, without
from croco_bench.tables.cells import Cell
from croco_bench.tables.comparison.difference import interval_of_mean, paired_difference
from croco_bench.tables.comparison.multiple import separable_from_best
from croco_bench.tables.comparison.scores import load_column
from croco_bench.tables.grid import build
from croco_bench.tables.layout import Grid

KEY = "nyuv2-depth/delta1"


def grid_of(shelf: Any) -> Grid:
    return build(read_all([shelf.root])[0], ())[0]


def file_of(shelf: Any) -> ResultFile:
    return read_all([shelf.root])[0][0]


def test_intervals_and_differences_are_those_of_the_comparison(shelf: Any) -> None:
    for model, mean in (("a", 80.0), ("b", 80.1), ("c", 70.0)):
        for seed in (0, 1):
            shelf.put(model, mean, seed=seed)
    shelf.put("dis", 60.0, model__family="classical")
    grid = grid_of(shelf)
    found = estimates(grid)[KEY]
    scores = load_column({row.label: row.cells[KEY].runs for row in grid.measured}, "delta1")
    assert found.intervals == {name: interval_of_mean(one).ci95 for name, one in scores.items()}
    assert found.pairs["a", "b"].difference == paired_difference(scores["a"], scores["b"], resamples=0)
    learned = {name: one for name, one in scores.items() if name != "dis"}
    adjusted = separable_from_best(learned, higher_is_better=True).p_values
    assert {pair: found.pairs[pair].p_value for pair in adjusted} == adjusted  # what the table's marks go by
    assert len(found.pairs) == 6 and not found.reason


def test_few_images_have_no_interval_over_images(shelf: Any) -> None:
    for model in "ab":
        for seed in (0, 1):
            shelf.put(model, 80.0, seed=seed, images=9)
    found = estimates(grid_of(shelf))[KEY]
    assert found.intervals == {} and found.pairs == {} and found.reason == "no test of fewer than 10 images"


def test_without_values_per_image_a_single_run_keeps_its_own_interval(shelf: Any) -> None:
    shelf.put("a", 80.0).rows.unlink()
    shelf.put("b", 70.0).rows.write_bytes(b"PK broken")
    found = estimates(grid_of(shelf))[KEY]
    assert found.intervals == {"a": (78.0, 82.0), "b": (68.0, 72.0)}
    assert found.pairs == {} and found.reason


def test_columns_that_no_result_has_as_a_metric_have_no_estimates(shelf: Any) -> None:
    for model in "ab":
        shelf.put(model, 80.0)
    grid = grid_of(shelf)
    finer = replace(grid.columns[0], metric=replace(grid.columns[0].metric, name="delta1@scene 0"))
    rows = tuple(replace(row, cells={finer.key: row.cells[KEY]}) for row in grid.measured)
    assert estimates(replace(grid, columns=(finer,), measured=rows))[finer.key] == Estimates()


def test_scales_hold_values_and_intervals_but_nothing_impossible(shelf: Any) -> None:
    shelf.put("a", 2.0)
    shelf.put("b", 99.0)
    grid = grid_of(shelf)
    known = {KEY: {"a": (-3.0, 7.0), "b": (95.0, 103.0)}}
    assert scales(grid, known)[KEY] == Scale(0.0, 100.0)
    assert scales(grid, {KEY: {"a": (1.0, 7.0)}})[KEY].low == 1.0


def test_dots_stay_within_their_picture_and_a_difference_shows_zero() -> None:
    for value, interval in ((5.0, (-20.0, 30.0)), (0.0, None), (10.0, (10.0, 10.0))):
        text = dot(Cell(value), interval, Scale(0.0, 10.0))
        places = [float(part.split('"')[1]) for part in text.split(" ") if part.startswith(("x1=", "x2=", "cx="))]
        assert all(0 <= place <= 96 for place in places) and ("whisker" in text) == (interval is not None)
    assert Scale(1.0, 1.0).place(1.0) == 0.5
    assert 'class="zero"' in dot(Cell(1.0, is_difference=True), None, Scale(0.0, 2.0))


def test_curves_are_read_thinned_and_share_axes(shelf: Any) -> None:
    for model, steps in (("a", 100), ("b", 1000)):
        shelf.log(shelf.put(model, 80.0), steps)
    drawn = curves.read_all(read_all([shelf.root])[0])
    loss, metric = list(drawn.values())[1]
    assert len(loss.points) <= 240 and loss.points[-1][0] == 1000
    assert metric.points[0] == (10, 50.9) and metric.chosen == 100
    axes = curves.frames(drawn.values())
    assert axes["loss"].steps == 1000 and axes["loss"].high < 1.0  # the first losses are cut
    text = curves.charts([loss, metric], axes)
    assert text.count("<polyline") == 2 and "selected step 100" in text


@pytest.mark.parametrize(
    "log",
    [b"", b"\xff\xfe", b"[1]\n3\n", b'{"step": 0, "loss": NaN}\n{"step": 1, "loss": null}\n{"ste', b'{"loss": 1}\n'],
)
def test_a_log_that_says_nothing_makes_no_curve(shelf: Any, log: bytes) -> None:
    paths = shelf.put("a", 80.0)
    paths.folder.mkdir(exist_ok=True)
    (paths.folder / "log.jsonl").write_bytes(log)
    assert curves.read(file_of(shelf)) == []
    assert curves.charts([], {}) == ""


def test_without_a_log_the_metric_comes_from_the_result(shelf: Any) -> None:
    paths = shelf.put(
        "a", 80.0, history={10: 70.0, 20: 80.0}, selected={"step": 20, "metric": "delta1", "split": "train"}
    )
    (metric,) = curves.read(file_of(shelf))
    assert (metric.name, metric.points, metric.chosen) == ("delta1 on train", ((10, 70.0), (20, 80.0)), 20)
    shelf.log(paths, 100)
    assert [curve.points[-1][0] for curve in curves.read(file_of(shelf))] == [100, 100]


def test_constant_values_make_a_curve_in_the_middle() -> None:
    flat = curves.Curve("loss", ((1, 2.0), (2, 2.0)))
    frame = curves.frames([[flat]])["loss"]
    assert math.isfinite(frame.y(2.0)) and "nan" not in curves.charts([flat], {"loss": frame})


def test_pictures_share_a_budget_and_say_where_their_rows_are(shelf: Any) -> None:
    shelf.picture(shelf.put("a", 80.0))
    file = file_of(shelf)
    names = {file.paths.json: "run"}
    large, small = (Pictures(share).figure(file, names) for share in (10**6, 1))
    assert len(small) < len(large)
    rows = json.loads(str(Image.open(file.paths.sheet).info["rows"]))
    assert [row[0] for row in rows] == ["#0  δ1 80.0 %", "#20  δ1 80.0 %", "#39  δ1 80.0 %"]
    edges = [edge for _, top, bottom in rows for edge in (top, bottom)]
    assert edges == sorted(edges) and 0 <= edges[0] < edges[-1] <= 1
    assert "data-rows=" in large


@pytest.mark.parametrize("content", [b"", b"\x89PNG picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"<svg/>"])
def test_a_damaged_sheet_is_told_and_the_rest_of_the_page_stays(shelf: Any, content: bytes) -> None:
    paths = shelf.put("a", 80.0)
    paths.folder.mkdir(exist_ok=True)
    paths.sheet.write_bytes(content)
    text = Pictures.of([file_of(shelf)]).figure(file_of(shelf), {})
    assert "can&#x27;t be read" in text and "<img" not in text


def test_a_sheet_that_ends_too_soon_is_told(shelf: Any) -> None:
    paths = shelf.put("a", 80.0)
    paths.folder.mkdir(exist_ok=True)
    whole = io.BytesIO()
    Image.effect_noise((200, 200), 50.0).save(whole, "PNG")
    paths.sheet.write_bytes(whole.getvalue()[:2000])
    assert "can&#x27;t be read" in Pictures.of([file_of(shelf)]).figure(file_of(shelf), {})


def test_anchors_are_readable_and_each_is_given_once(shelf: Any, tmp_path: Path) -> None:
    for model in ("a b", "a&b", "ä"):
        shelf.put(model, 80.0)
    names = sorted(anchors([grid_of(shelf)]).values())
    assert names == [
        "run-paper-nyuv2-depth--seed0",
        "run-paper-nyuv2-depth-a-b-seed0",
        "run-paper-nyuv2-depth-a-b-seed0-2",
    ]
    grid = grid_of(shelf)
    assert anchors([grid, replace(grid, title="again")]) == anchors([grid])


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "–"), (0.4, "0 s"), (90, "90 s"), (600, "10.0 min"), (9000, "2.5 h")]
)
def test_durations_are_short(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_cost_is_a_number_to_sort_by_or_a_dash(shelf: Any, parse: Any) -> None:
    network = {"backbone_parameters": 86_000_000, "trained_parameters": 90_000_000, "flops": 2 * 10**9}
    shelf.put("a", 80.0, cost={**network, "image_size": (64, 64), "eval_images_per_s": 12.5})
    shelf.put("b", 80.0)
    with_cost, older = (parse(cost.section([file])) for file in read_all([shelf.root])[0])
    assert set(with_cost.values("data-value")) == {"105711745", "90000000", "1", "100"}
    assert {"105,711,745", "90,000,000", "2", "12.5", "100 MB"} <= set(with_cost.texts["td"])
    assert older.texts["td"].count("–") == 3


def test_settings_that_all_runs_share_are_said_once_and_none_is_lost() -> None:
    first: dict[str, Any] = {"train": {"steps": 5, "batch_size": 2}, "limit": None, "changed": {}}
    second: dict[str, Any] = {"train": {"steps": 5, "batch_size": 4}, "limit": None, "changed": {}}
    shared = shared_settings([first, second])
    assert shared == {"train": {"steps": 5}} and shared_settings([first]) == {}
    assert without(first, shared) == {"train": {"batch_size": 2}, "limit": None, "changed": {}}
    assert without(first, {"train": first["train"]}) == {"limit": None, "changed": {}}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([{"rate": 1, "l1": 0.123456789}, {"rate": 2, "l1": 4.0}], {"rate": [1, 2], "l1": [0.123457, 4.0]}),
        ({"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 4}}, {"each of": ["a", "b"], "x": [1, 3], "y": [2, 4]}),
        ([{"rate": 1, "l1": 5}, {"rate": 2}], [{"rate": 1, "l1": 5}, {"rate": 2}]),
        ([{"rate": 1, "l1": 5}, {"rate": 2, "l2": 4}], [{"rate": 1, "l1": 5}, {"rate": 2, "l2": 4}]),
        ([{"rate": 1}, {"rate": 2}], [{"rate": 1}, {"rate": 2}]),
        (
            {"a": {"x": {"z": 1}, "y": 2}, "b": {"x": {"z": 2}, "y": 4}},
            {"a": {"x": {"z": 1}, "y": 2}, "b": {"x": {"z": 2}, "y": 4}},
        ),
        ({"tried": [], "none": None, "on": True}, {"tried": [], "none": None, "on": True}),
    ],
)
def test_entries_with_the_same_keys_are_shown_by_columns(value: Any, shown: Any) -> None:
    assert by_columns(value) == shown
