"""Rows of a table that hold several pre-trainings of one method."""

import json
import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from croco_bench import report, tables
from croco_bench.cli import main
from croco_bench.errors import RecordError, UsageError
from croco_bench.tables.shape import Shape

Put = Callable[..., None]
# What each pre-training adds to its method's mean.
LUCK = {"a": (-2.0, 0.0, 1.0), "b": (-1.0, 1.0)}
BOTH = ("A=a-*", "B=b-*")


@pytest.fixture
def methods(put: Put) -> None:
    """Pre-trainings of two methods with two seeds each, but three of the first."""
    for method, luck in LUCK.items():
        for index, shift in enumerate(luck):
            for seed in range(3 if (method, index) == ("a", 0) else 2):
                put(f"{method}-{index}", 80.0 + shift, seed)


def printed(folder: Path, *methods: str, **more: Any) -> str:
    return tables.make([folder], shape=Shape(methods=methods), published="none", **more)


def cells(folder: Path, *methods: str) -> dict[str, dict[str, Any]]:
    return {cell["backbone"]: cell for cell in json.loads(printed(folder, *methods, format="json"))["cells"]}


@pytest.mark.usefixtures("methods")
def test_a_row_has_the_mean_and_deviation_over_pretrainings_however_many_seeds_they_have(tmp_path: Path) -> None:
    alone, together = cells(tmp_path), cells(tmp_path, *BOTH)
    assert len(alone) == 5 and list(together) == ["A", "B"]
    for method, name in (("a", "A"), ("b", "B")):
        means = [cell["value"] for backbone, cell in alone.items() if backbone.startswith(method)]
        assert together[name]["value"] == pytest.approx(math.fsum(means) / len(means))
        assert together[name]["deviation"] == pytest.approx(statistics.stdev(means))
        assert together[name]["n"] == len(means)


@pytest.mark.usefixtures("methods")
def test_marks_are_tests_of_methods_and_notes_say_what_stands_behind_them(tmp_path: Path) -> None:
    assert {cell["mark"] for cell in cells(tmp_path, *BOTH).values()} == {"tied"}  # one file of a is told from one of b
    text = printed(tmp_path, *BOTH)
    assert "±: standard deviation over pre-trainings, n=3" in text
    assert "A: 3 pre-trainings (a-0, a-1, a-2), 2 to 3 seeds of each" in text
    assert "±: standard deviation over seeds, of A over pre-trainings" in " ".join(printed(tmp_path, BOTH[0]).split())
    assert "one seed or pre-training: C" in " ".join(printed(tmp_path, BOTH[0], "C=b-0").split())


@pytest.mark.usefixtures("methods")
def test_a_method_with_a_clearly_higher_mean_is_the_best(tmp_path: Path, put: Put) -> None:
    for index, shift in enumerate((-0.5, 0.0, 0.5)):
        put(f"c-{index}", 95.0 + shift, index)
    found = cells(tmp_path, *BOTH, "C=c-*")
    assert found["C"]["mark"] == "best" and found["A"]["mark"] != "best"


def test_many_seeds_of_two_pretrainings_do_not_pass_for_many_pretrainings(tmp_path: Path, put: Put) -> None:
    for method, mean in (("a", 81.0), ("b", 79.0)):
        for index, luck in enumerate((-1.5, 1.5)):
            for seed in range(6):
                put(f"{method}-{index}", mean + luck, seed)
    assert {cell["mark"] for cell in cells(tmp_path, *BOTH).values()} == {"tied"}


@pytest.mark.usefixtures("methods")
def test_runs_that_are_set_apart_keep_their_rows(tmp_path: Path, put: Put) -> None:
    put("a-1", 80.0, 0, recipe__name="paper", recipe__fingerprint="other", protocol__deviations=("set optim.lr=1",))
    records = json.loads(printed(tmp_path, *BOTH, format="json"))["cells"]
    assert {record["backbone"] for record in records} == {"A", "B", "a-1"}
    assert next(record for record in records if record["backbone"] == "A")["n"] == 3


@pytest.mark.usefixtures("methods")
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("a-*",), "'a-\\*' isn't NAME=BACKBONE"),
        (("A=",), "isn't NAME=BACKBONE"),
        (("A=c-*",), "no backbone is called 'c-\\*'"),
        (("b-0=a-*",), "b-0 is a backbone of its own"),
        (("A=a-*", "A=b-*"), "two of them are called A"),
        (("A=a-*", "B=a-1,b-*"), "a-1 is in both, A and B"),
    ],
)
def test_what_is_no_method_is_refused(given: tuple[str, ...], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        printed(tmp_path, *given)


@pytest.mark.parametrize("options", [("--against", "published"), ("--like", "croco")])
def test_what_methods_do_not_go_with_is_refused(
    options: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["croco-bench", "table", "--method", "A=a-*", *options])
    with pytest.raises(SystemExit):
        main.main()
    assert "--method gathers rows of backbones; leave it out" in capsys.readouterr().err


@pytest.mark.usefixtures("methods")
@pytest.mark.parametrize("rows", ["seed", "recipe"])
def test_rows_of_seeds_and_recipes_are_of_no_method(rows: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"methods gather rows of backbones; leave them out where a row is a {rows}"):
        tables.make([tmp_path], shape=Shape(rows=rows, methods=BOTH), published="none")


@pytest.mark.usefixtures("methods")
def test_unlike_pretrainings_share_no_row(tmp_path: Path, put: Put) -> None:
    put("a-9", 80.0, 0, model__parameters=7)
    with pytest.raises(RecordError, match="a-9 of A aren't pre-trainings of one network: parameters"):
        printed(tmp_path, *BOTH)
    put("zero", 40.0, 0, model__family="classical", model__sha256=None)
    with pytest.raises(UsageError, match="Z has a method without learning"):
        printed(tmp_path, "Z=zero")


@pytest.mark.usefixtures("methods")
def test_scenes_and_pages_have_rows_of_methods_too(tmp_path: Path) -> None:
    shape = replace(Shape(columns="scene"), methods=BOTH)
    records = json.loads(tables.make([tmp_path], shape=shape, published="none", format="json"))["cells"]
    assert {(record["backbone"], record["n"]) for record in records} == {("A", 3), ("B", 2)}
    assert any("@scene0" in record["metric"] for record in records)
    page = printed(tmp_path, *BOTH, format=report.page)
    assert "A: 3 pre-trainings (a-0, a-1, a-2), 2 to 3 seeds of each" in page
