"""Figures: what they draw of results, by the rules of tables, and that equal results give equal files."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from croco_bench.errors import RecordError, UsageError
from croco_bench.plots import cost, curves, efficiency, layers, scores
from croco_bench.plots.figure import SUFFIXES, Kind, Palette, style, told_apart
from croco_bench.plots.make import make
from croco_bench.records.selection import Selection
from croco_bench.records.store import ResultPaths, read_all, write
from croco_bench.tables.columns import chosen_columns
from croco_bench.tables.grid import build
from croco_bench.tables.layout import Grid

COST = {"backbone_parameters": 10**6, "trained_parameters": 10**6, "flops": 2 * 10**9, "image_size": (32, 48)}
KINDS: Sequence[Kind] = ("bars", "dots", "cost", "curves", "efficiency", "layers")

# A probe that tried two rates for each of three blocks, of which one head diverged.
TRIED = [(0, 1e-3, 10.0), (0, 1e-2, 15.0), (1, 1e-3, 30.0), (1, 1e-2, None), (2, 1e-3, 20.0), (2, 1e-2, 25.0)]
PROBE = {
    "metric": "delta1",
    "higher_is_better": True,
    "layers": [1],
    "tried": [{"layers": [block], "rate": rate, "select_delta1": value} for block, rate, value in TRIED],
}


class Shelf:
    """Writes results of nyuv2-depth by an own recipe, with a log beside each."""

    def __init__(self, root: Path, make_result: Any) -> None:
        self.root, self._make = root, make_result

    def put(
        self, model: str, mean: float, seed: int = 0, *, images: int = 40, trained_on: int = 700, **changes: Any
    ) -> None:
        values = mean + np.random.default_rng(0).normal(0, 3, images)
        values += mean - values.mean()
        resolved = {"train": {"train_images": trained_on}, "probe": {"tokens": PROBE}}
        settings = {"optim": {"lr": 1e-4}, "limit": None, "resolved": resolved}
        result = self._make(
            model__name=model,
            seed=seed,
            metrics__delta1__value=float(values.mean()),
            **{
                "dataset__images": images,
                "dataset__images_available": images,
                "recipe__name": "own",
                "settings": settings,
                "selected__step": 20,
                **changes,
            },
        )
        paths = ResultPaths(self.root / str(trained_on), "own", "nyuv2-depth", model, seed)
        write(paths, result, {"index": np.arange(float(images)), "delta1": values})
        paths.folder.mkdir(parents=True, exist_ok=True)
        lines = [{"step": step, "loss": 1 / (step + 1)} for step in range(30)]
        lines += [{"step": step, "select/delta1": step + seed} for step in (9, 19, 29)]
        (paths.folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    @property
    def folders(self) -> list[Path]:
        return sorted(path for path in self.root.iterdir() if path.is_dir())

    def grids(self, *, limited: bool = False) -> list[Grid]:
        return build(read_all(self.folders)[0], (), include_limited=limited)


@pytest.fixture
def shelf(tmp_path: Path, result_of: Any) -> Shelf:
    """Two seeds of `mine`, one of `rival`, one with another setting, a classical method."""
    made = Shelf(tmp_path / "results", result_of)
    made.put("mine", 80.0, cost={**COST, "eval_images_per_s": 50.0})
    made.put("mine", 82.0, seed=1, cost={**COST, "eval_images_per_s": 50.0})
    made.put("rival", 70.0, model__parameters=10**6)
    made.put("rival", 75.0, seed=1, recipe__fingerprint="ba9876543210", model__parameters=10**6)
    made.put("dis", 40.0, model__family="classical", model__parameters=0, selected=None, timing__images_per_s=0.0)
    return made


def labels(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_yticklabels()]


def panels(kind: Kind, shelf: Shelf, **options: Any) -> list[Axes]:
    with style():
        match kind:
            case "cost":
                return list(cost.draw(shelf.grids(), **options).axes)
            case "curves":
                return list(curves.draw(shelf.grids()).axes)
            case "efficiency":
                found = read_all(shelf.folders)[0]
                return list(efficiency.draw(found, chosen_columns(found, Selection())[0], **options).axes)
            case "layers":
                return list(layers.draw(shelf.grids()).axes)
            case "bars" | "dots":
                return list(scores.draw(shelf.grids(), kind).axes)


def test_a_bar_is_as_long_as_the_mean_and_hollow_where_it_is_not_ranked(shelf: Shelf) -> None:
    (axes,) = panels("bars", shelf)
    (grid,) = shelf.grids()
    rows = {row.label: row for row in grid.measured}
    assert labels(axes) == list(rows)
    widths = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
    assert widths == pytest.approx([next(iter(row.cells.values())).value for row in rows.values()])
    fills = dict(zip(rows, [to_hex(bar.get_facecolor()) for bar in axes.patches], strict=True))
    assert [label for label, fill in fills.items() if fill == "#ffffff"] == [
        label for label, row in rows.items() if row.differences
    ]
    assert axes.get_xlim()[0] == 0
    assert any("81.0 ± 1.4 (n=2)" in text.get_text() for text in axes.texts)


def test_dots_show_each_seed(shelf: Shelf) -> None:
    (axes,) = panels("dots", shelf)
    seeds = [line for line in axes.lines if line.get_marker() == "."]
    assert sorted(round(float(x), 6) for line in seeds for x in np.ravel(line.get_xdata())) == [40, 70, 75, 80, 82]


def test_few_images_have_no_line(tmp_path: Path, result_of: Any) -> None:
    few, many = Shelf(tmp_path / "few", result_of), Shelf(tmp_path / "many", result_of)
    for shelf, images in ((few, 2), (many, 20)):
        shelf.put("mine", 80.0, images=images, metrics__delta1__ci95=None)
    drawn = {shelf.root.name: len(panels("bars", shelf)[0].lines) for shelf in (few, many)}
    assert drawn == {"few": 0, "many": 1}


@pytest.mark.parametrize(("kind", "expected"), [("parameters", 105.711745), ("flops", 2.0), ("speed", 50.0)])
def test_cost_is_that_of_the_results(kind: Any, expected: float, shelf: Shelf) -> None:
    (axes,) = panels("cost", shelf, cost=kind)
    drawn = {
        str(line.get_label()): np.ravel(line.get_xdata()) for line in axes.lines if len(np.ravel(line.get_xdata())) == 1
    }
    assert drawn["mine"] == pytest.approx(expected)
    assert ("rival" in drawn) is (kind == "parameters")
    assert "dis" in [text.get_text() for text in axes.texts], "a method without this cost is a line with its name"


def test_a_cost_that_no_result_has_is_told(tmp_path: Path, result_of: Any) -> None:
    old = Shelf(tmp_path / "old", result_of)
    old.put("mine", 80.0)
    with pytest.raises(RecordError, match="none of the chosen results has flops"):
        panels("cost", old, cost="flops")


def test_curves_are_those_of_the_logs_with_the_selected_step(shelf: Shelf) -> None:
    selection, loss = panels("curves", shelf)
    assert "delta1" in selection.get_title() and "loss" in loss.get_title()
    drawn = [
        (list(np.ravel(line.get_xdata())), list(np.ravel(line.get_ydata())), line.get_label())
        for line in selection.lines
    ]
    assert [([10, 20, 30], [9 + seed, 19 + seed, 29 + seed], "mine") in drawn for seed in range(2)] == [True, True]
    marked = [line for line in selection.lines if len(np.ravel(line.get_xdata())) == 1]
    assert marked and {float(np.ravel(line.get_xdata())[0]) for line in marked} == {20.0}
    assert "↑" in selection.get_title() and "↑" not in loss.get_title()
    raw, mean = (np.ravel(line.get_ydata()) for line in loss.lines[:2])
    assert len(raw) == 30 and mean == pytest.approx(curves.smoothed(list(raw)))


def test_running_means_keep_constants_lines_and_both_ends() -> None:
    assert curves.smoothed([2.0] * 90) == pytest.approx([2.0] * 90)
    line = [float(step) for step in range(90)]
    assert curves.smoothed(line) == pytest.approx(line)
    assert curves.smoothed([0.0, 9.0]) == (0.0, 9.0)
    peak = [0.0] * 45 + [7.0] + [0.0] * 44
    assert max(curves.smoothed(peak)) == pytest.approx(1.0)  # seven values


def test_titles_are_split_into_what_they_share_and_what_they_do_not() -> None:
    assert told_apart(["recipe a, rooms"]) == ("recipe a, rooms", {})
    two = told_apart(["recipe a, rooms", "recipe b, x=1, rooms"])
    assert two == ("rooms", {"recipe a, rooms": ("recipe a",), "recipe b, x=1, rooms": ("recipe b", "x=1")})
    assert told_apart(["recipe a", "recipe b"])[0] == ""


def test_the_heading_of_curves_is_that_of_runs_with_a_log(shelf: Shelf) -> None:
    """Results of another recipe without a log come first in the table."""
    shelf.put("mine", 70.0, seed=5, recipe__name="a-recipe")
    shutil.rmtree(shelf.root / "700/own/nyuv2-depth/mine/seed5")
    figure = curves.draw(shelf.grids())
    assert figure.legends[0].get_title().get_text().startswith("recipe own")
    assert not any("recipe" in axes.get_title() for axes in figure.axes)


def test_without_a_log_there_is_no_curve(shelf: Shelf) -> None:
    for path in shelf.root.rglob("log.jsonl"):
        path.unlink()
    with pytest.raises(RecordError, match="a curve of its training"):
        panels("curves", shelf)
    flow = {"clean/epe": {"value": 5.0, "ci95": None, "unit": "px", "higher_is_better": False}}
    shelf.put("late", 5.0, history={10: 6.0, 20: 5.0}, selected__metric="epe", metrics=flow)
    (shelf.root / "700/own/nyuv2-depth/late/seed0/log.jsonl").unlink()
    (axes,) = panels("curves", shelf)
    assert "↓" in axes.get_title(), "the direction is that of the metric of a protocol"
    assert [line.get_label() for line in axes.lines if np.size(line.get_xdata()) == 2] == ["late"]


def test_label_efficiency_joins_runs_that_differ_in_the_number_of_images_alone(shelf: Shelf) -> None:
    with pytest.raises(RecordError, match="two numbers of images"):
        panels("efficiency", shelf)
    shelf.put("mine", 60.0, trained_on=70)
    shelf.put("rival", 50.0, trained_on=70, dataset__fingerprint="0ther")
    (axes,) = panels("efficiency", shelf)
    (line,) = [line for line in axes.lines if line.get_label() == "mine"]
    assert list(np.ravel(line.get_xdata())) == [70, 700]
    assert np.ravel(line.get_ydata()) == pytest.approx([60.0, 81.0])
    assert not [line for line in axes.lines if line.get_label() == "rival"], "scored on other files"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["70\n(10%)", "700\n(100%)"]


def test_results_that_can_not_be_read_are_told(tmp_path: Path) -> None:
    path = tmp_path / "own/nyuv2-depth/mine/seed0.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(RecordError, match="isn't a result of schema"):
        make("efficiency", [tmp_path], [tmp_path / "a.pdf"])


def test_a_setting_may_vary_if_the_user_says_so(tmp_path: Path, result_of: Any) -> None:
    shelf = Shelf(tmp_path / "results", result_of)
    for count in (70, 700):
        settings = {"task": {"share": count}, "resolved": {"train": {"train_images": count}}, "limit": None}
        shelf.put("mine", count / 10, trained_on=count, settings=settings)
    with pytest.raises(RecordError):
        panels("efficiency", shelf)
    assert panels("efficiency", shelf, vary=["task.share"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_equal_results_give_equal_files_whatever_the_users_settings(
    suffix: str, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put("mine", 60.0, trained_on=70)
    for kind in KINDS:
        files = [tmp_path / f"{kind}{number}{suffix}" for number in range(2)]
        make(kind, shelf.folders, files[:1])
        monkeypatch.setitem(matplotlib.rcParams, "font.size", 31.0)
        make(kind, shelf.folders, files[1:])
        contents = [path.read_bytes() for path in files]
        assert contents[0] == contents[1] and len(contents[0]) > 1000
        assert not any(word in contents[0] for word in (b"CreationDate", b"<dc:date>", b"Matplotlib v"))


def test_each_block_stands_at_its_best_rate(shelf: Shelf) -> None:
    (axes,) = panels("layers", shelf)
    line, chosen = axes.get_lines()[:2]
    assert list(line.get_xydata().ravel()) == [0, 15, 1, 30, 2, 25]  # type: ignore[union-attr]
    assert list(chosen.get_xydata().ravel()) == [1, 30]  # type: ignore[union-attr]


def test_blocks_of_two_recipes_have_a_panel_each(shelf: Shelf) -> None:
    shelf.put("first", 60.0, recipe__name="a", settings={"limit": None})  # of no probe: no panel, and not the heading
    shelf.put("third", 60.0, recipe__name="other")
    one, two = panels("layers", shelf)
    found = one.get_title(), two.get_title()
    assert "recipe" not in found[0]
    assert found[1].replace("\n", " ").endswith(", recipe own, own own.toml"), found


def test_read_outs_without_training_have_a_panel_for_each_kind(tmp_path: Path, result_of: Any) -> None:
    """The mean of all attention, and blocks without a value, aren't drawn."""
    values = {"encoder 1": 5.0, "encoder 2": 9.0, "attention 1": 3.0, "attention 2": 4.0, "attention 3": None}
    task = {
        "read_outs": {"headline": "encoder 2", "encoder": "encoder 2", "attention": "attention mean"},
        "selection": {"delta1": {**values, "attention mean": 8.0}},
    }
    shelf = Shelf(tmp_path, result_of)
    shelf.put("mine", 50.0, settings={"limit": None, "resolved": {"task": task}})
    attention, encoder = panels("layers", shelf)
    assert attention.get_title().replace("\n", " ") == "nyuv2-depth, attention: delta1 of the selection split"
    lines = [[list(line.get_xydata().ravel()) for line in axes.get_lines()] for axes in (attention, encoder)]  # type: ignore[union-attr]
    assert lines == [[[0, 3, 1, 4]], [[0, 5, 1, 9], [1, 9]]]


def test_a_figure_of_blocks_needs_runs_that_tried_several(tmp_path: Path, result_of: Any) -> None:
    other = Shelf(tmp_path / "plain", result_of)
    other.put("mine", 50.0, settings={"limit": None})
    with pytest.raises(
        RecordError, match=r"tried several blocks; run a recipe such as linear with --set head\.layers=auto"
    ):
        make("layers", other.folders, [tmp_path / "figure.pdf"])


def test_notes_are_those_of_the_table_but_for_its_print(shelf: Shelf, tmp_path: Path) -> None:
    (shelf.folders[0] / "own" / "nyuv2-depth" / "mine" / "seed7.json").write_text("{")
    notes = make("bars", shelf.folders, [tmp_path / "figure.pdf"])
    assert any("not ranked" in note for note in notes) and not any("bold" in note for note in notes)
    assert [note for note in notes if note.startswith("left out: ") and "seed7.json" in note]


def test_damaged_results_alone_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "paper" / "nyuv2-depth" / "mine" / "seed0.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{", encoding="utf-8")
    with pytest.raises(RecordError, match=r"no result to draw.*seed0\.json isn't a result"):
        make("bars", [tmp_path], [tmp_path / "figure.pdf"])


def test_odd_names_are_text(tmp_path: Path, result_of: Any) -> None:
    shelf = Shelf(tmp_path / "results", result_of)
    shelf.put("$x^2{a$ & <b>_%", 80.0)
    make("bars", shelf.folders, [tmp_path / f"odd{suffix}" for suffix in SUFFIXES])
    assert all((tmp_path / f"odd{suffix}").is_file() for suffix in SUFFIXES)


def test_backbones_keep_apart_beyond_the_colors() -> None:
    names = [f"model{number:02d}" for number in range(40)]
    palette = Palette([*names, "dis"], ["dis"])
    assert len({(palette.color(name), palette.marker(name)) for name in names}) == 40
    assert palette.color("dis") not in {palette.color(name) for name in names}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "figure.txt"], "end its name with"),
        (["--model", "mime"], "mine"),
        (["--recipe", "none"], "there is no result to draw"),
        (["--recipe", "absent"], ", none of absent"),
    ],
)
def test_wrong_words_are_one_sentence(words: list[str], said: str, shelf: Shelf, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "croco_bench", "plot", "bars", "--results", str(shelf.folders[0]), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode in (1, 2) and said in done.stderr and "Traceback" not in done.stderr


def test_the_error_of_a_wrong_kind_of_file_comes_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        make("bars", [tmp_path / "absent"], [tmp_path / "figure.jpg"])
