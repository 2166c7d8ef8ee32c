"""Choosing tasks, metrics and backbones by name or by glob."""

from pathlib import Path
from typing import Any

import pytest

from croco_bench.errors import UsageError
from croco_bench.records.selection import Selection, chosen, matches, metric_keys, position, require_known, tasks_of
from croco_bench.records.store import ResultFile, ResultPaths

KEYS = ("delta1", "rmse", "eigen/delta1", "eigen/rmse", "last/rmse", "last/eigen/rmse")


def file_of(result_of: Any, task: str, model: str) -> ResultFile:
    return ResultFile(
        ResultPaths(Path("r"), "paper", task, model, 0), result_of(task__name=task, model__name=model, settings={})
    )


@pytest.mark.parametrize(
    ("globs", "keys"),
    [
        (["rmse"], ["rmse"]),
        (["eigen/*"], ["eigen/delta1", "eigen/rmse"]),
        (["*rmse", "delta1"], ["rmse", "eigen/rmse", "delta1"]),
        (["last/*"], ["last/rmse", "last/eigen/rmse"]),
        (["last/rmse"], ["last/rmse"]),
        (["*"], ["delta1", "rmse", "eigen/delta1", "eigen/rmse"]),
        (["RMSE"], ["rmse"]),
        (["rms"], []),
    ],
)
def test_globs_choose_metrics_in_their_order(globs: list[str], keys: list[str]) -> None:
    assert metric_keys(KEYS, globs) == keys


def test_a_name_stands_for_itself_even_with_brackets() -> None:
    assert matches("mae[800]", "mae[800]") and not matches("mae8", "mae[800]x")
    assert chosen(["b", "a1", "a2"], ["a?", "b"]) == ["a1", "a2", "b"]
    assert chosen(["b", "a"], []) == ["b", "a"]
    assert [position(name, ["a*", "b"]) for name in ("b", "ab", "c")] == [1, 0, 2]


def test_a_group_stands_for_its_tasks(result_of: Any) -> None:
    found = [file_of(result_of, task, "m") for task in ("taskonomy-normals", "nyuv2-depth", "unheard-of")]
    assert len(tasks_of(["taskonomy"], found)["taskonomy"]) == 8
    assert tasks_of(["unheard*"], found) == {"unheard*": {"unheard-of"}}
    kept = Selection(tasks=("taskonomy", "unheard-of")).results(found)
    assert [file.result.task.name for file in kept] == ["taskonomy-normals", "unheard-of"]
    assert Selection().results(found) == found
    assert Selection(models=("M",)).results(found) == found and not Selection(models=("n*",)).results(found)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nyu", "no task is called 'nyu'; did you mean nyuv2-depth?"),
        ("nyuv2-dept", "did you mean nyuv2-depth"),
        ("*nyuv3-depth*", "did you mean nyuv2-depth"),
        ("IMAGENET", "did you mean imagenet-linear"),
        ("", "known: "),
    ],
)
def test_what_stands_for_nothing_is_refused_with_the_nearest(given: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        tasks_of([given], [])


def test_an_unknown_name_is_said_by_its_kind() -> None:
    require_known("backbone", ["croco-*"], ["croco-v1", "mae-vitb"])
    with pytest.raises(UsageError, match=r"no backbone is called 'dino\*'; known: croco-v1, mae-vitb$"):
        require_known("backbone", ["dino*"], ["mae-vitb", "croco-v1", "mae-vitb"])
