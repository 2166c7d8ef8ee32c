"""Methods with several pre-trainings on a side of `compare`: scores, intervals, what is said and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench.errors import BenchError, RecordError, UsageError
from croco_bench.records.store import read_all
from croco_bench.tables.comparison.compare import Comparison, compare
from croco_bench.tables.comparison.render import RENDERERS
from croco_bench.tables.comparison.scores import load_column
from croco_bench.tables.comparison.sides import Side, runs_of_side, scores_of_sides

Put = Callable[..., None]
# What each pre-training adds to its method's mean.
LUCK = (-4.0, -1.0, 0.0, 2.0, 3.0)


@pytest.fixture
def methods(put: Put) -> None:
    """Five pre-trainings of two methods that are equally good, which differ by luck, with two seeds each."""
    for method, luck in (("a", LUCK), ("b", [-one for one in LUCK])):
        for index, shift in enumerate(luck):
            for seed in range(2):
                put(f"{method}-{index}", 80.0 + shift, seed)


def between(first: str, second: str, folder: Path, **more: Any) -> Comparison:
    return compare([first, second], [folder], **more)


@pytest.mark.usefixtures("methods")
def test_the_score_is_the_mean_over_pretrainings_and_their_scatter_is_in_the_interval(tmp_path: Path) -> None:
    (row,) = between("A=a-*", "B=b-*", tmp_path).rows
    single = [between("A=a-*", f"b-{index}", tmp_path).rows[0] for index in range(5)]
    assert row.means[1].value == pytest.approx(np.mean([one.means[1].value for one in single]))
    assert (row.names, row.methods, row.difference.seeds) == (("A", "B"), (True, True), (5, 5))
    assert row.verdict == "undecided" and row.difference.covers_seeds
    # Two files told apart as if nothing but seeds and images made a difference.
    (lucky,) = between("a-4", "b-4", tmp_path).rows
    assert lucky.verdict == "holds"
    assert row.difference.standard_error > 2 * lucky.difference.standard_error


@pytest.mark.usefixtures("methods")
def test_a_pretraining_stands_where_a_seed_does_otherwise_as_the_mean_of_its_seeds(tmp_path: Path) -> None:
    found = [file for file in read_all([tmp_path])[0] if file.result.model.name.startswith("a-")]
    by_name = {f"a-{index}": [file for file in found if file.result.model.name == f"a-{index}"] for index in range(5)}
    (method,) = scores_of_sides([runs_of_side(Side("A", tuple(by_name), method=True), by_name)], "delta1").values()
    single = load_column(by_name, "delta1")
    assert method.parts.shape == (5, 12) and single["a-0"].parts.shape == (2, 12)
    np.testing.assert_allclose(method.parts, [single[name].parts.mean(axis=0) for name in by_name])
    assert method.value == pytest.approx(np.mean([file.result.metrics["delta1"].value for file in found]))


@pytest.mark.usefixtures("methods")
def test_more_seeds_of_a_pretraining_are_no_more_pretrainings(tmp_path: Path, put: Put) -> None:
    before = between("A=a-*", "B=b-*", tmp_path).rows[0].difference
    for seed in range(2, 6):
        put("a-0", 76.0, seed)
    (row,) = between("A=a-*", "B=b-*", tmp_path).rows
    assert row.difference.seeds == before.seeds == (5, 5)
    assert "A: 5 pre-trainings (a-0, a-1, a-2, a-3, a-4), 2 to 6 seeds of each" in row.notes


@pytest.mark.usefixtures("methods")
def test_every_format_says_what_was_counted(tmp_path: Path) -> None:
    found = between("A=a-0,a-1,a-3", "b-2", tmp_path)
    for text in (RENDERERS["markdown"](found), RENDERERS["latex"](found)):
        assert "laim: A is better than b-2" in text
        assert "3 pre-trainings and 2 seeds, 60 images in 12 scenes" in text
        assert "means over pre-trainings or seeds" in text
        assert "b-2 is one file of weights" in text
        assert "a backbone is one pre-training" not in text
    assert "a backbone is one pre-training" in RENDERERS["markdown"](between("a-0", "b-2", tmp_path))
    assert "5 and 5 pre-trainings, 60 images" in RENDERERS["markdown"](between("A=a-*", "B=b-*", tmp_path))
    (row,) = json.loads(RENDERERS["json"](found))["rows"]
    assert row["first"]["pretrainings"] == 3 and "seeds" not in row["first"]
    assert row["second"]["seeds"] == 2 and "pretrainings" not in row["second"]


@pytest.mark.usefixtures("methods")
def test_seeds_that_all_pretrainings_share_are_told(tmp_path: Path, put: Put) -> None:
    (row,) = between("A=a-*", "B=b-*", tmp_path).rows
    assert "2 seeds of each, the same (0, 1): what a seed does to all alike isn't in the interval" in row.notes[0]
    for index in range(3):
        put(f"c-{index}", 80.0, seed=index)
        put(f"d-{index}", 80.0, seed=0, selected={"step": 0, "metric": "delta1", "split": "val"})
    (row,) = between("C=c-*", "D=d-*", tmp_path).rows
    assert {
        "C: 3 pre-trainings (c-0, c-1, c-2), one seed of each",
        "D: 3 pre-trainings (d-0, d-1, d-2), one seed of each",
    } <= set(row.notes)


@pytest.mark.parametrize(
    ("known", "words"),
    [((), "C: how long they learned isn't recorded"), ((0,), "C: how long c-1 learned isn't recorded"), ((0, 1), "")],
)
def test_pretrainings_of_unknown_length_are_named(known: tuple[int, ...], words: str, tmp_path: Path, put: Put) -> None:
    for index in range(2):
        length = {"objective": "croco", "images": 512} if index in known else None
        put(f"c-{index}", 80.0, seed=index, model__pretraining=length)
        put(f"r-{index}", 80.0, seed=index, model__source=f"random:mini-croco@{index}")
    (row,) = between("C=c-*", "R=r-*", tmp_path).rows
    told = [note for note in row.notes if "learned isn't recorded" in note]
    assert told == ([f"{words}, so unlike ones are not refused"] if words else [])


def test_one_pretraining_of_each_says_nothing_of_others(tmp_path: Path, put: Put) -> None:
    put("a-1", 85.0)
    put("b-1", 80.0)
    (row,) = between("A=a-*", "B=b-*", tmp_path).rows
    assert not row.difference.covers_seeds
    assert any(
        note.startswith("one pre-training of A and of B: interval and p-value are of these") for note in row.notes
    )
    (mixed,) = between("A=a-*", "b-1", tmp_path).rows
    assert any(note.startswith("one pre-training of A and one seed of b-1: interval") for note in mixed.notes)


def test_three_methods_are_ranked(tmp_path: Path, put: Put) -> None:
    for task in ("nyuv2-depth", "other-task"):
        for method, mean in (("a", 85.0), ("b", 80.0), ("c", 75.0)):
            for index in range(3):
                put(f"{method}-{index}", mean, task__name=task)
    found = compare(["A=a-*", "B=b-*", "c-0"], [tmp_path])
    ((_, ranks),) = found.overviews
    assert [round(ranks.intervals[name].value) for name in ("A", "B", "c-0")] == [1, 2, 3]


@pytest.mark.usefixtures("methods")
def test_a_pretraining_without_results_of_a_task_is_told(tmp_path: Path, put: Put) -> None:
    for name in ("a-0", "a-1", "b-0"):
        put(name, 80.0, task__name="other-task")
    found = between("A=a-0,a-1", "B=b-0,b-1", tmp_path)
    assert found.left_out == ("b-1 has no results of other-task (recipe paper)",)
    (other,) = (row for row in found.rows if row.task == "other-task")
    assert other.difference.seeds == (2, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model__sha256": "a-0" * 8}, "a-0 and a-1 of A are the same weights"),
        ({"model__parameters": 7}, "aren't pre-trainings of one network: parameters 123 and 7"),
        ({"model__family": "mae"}, "aren't pre-trainings of one network: family"),
        ({"model__positions": "rotary"}, "aren't pre-trainings of one network: positions None and rotary"),
        ({"dataset__fingerprint": "beef"}, "the files of nyuv2 differ"),
        (
            {"model__pretraining": {"objective": "croco", "images": 512_000}},
            "a-0 and a-1 of A were pre-trained otherwise: croco of 51,200 images and croco of 512,000 images",
        ),
    ],
)
def test_unlike_weights_are_no_method(changes: dict[str, Any], words: str, tmp_path: Path, put: Put) -> None:
    usual = {"model__parameters": 123, "model__pretraining": {"objective": "croco", "images": 51_200}}
    put("a-0", 80.0, **usual)
    put("a-1", 80.0, **{**usual, **changes})
    put("b", 80.0)
    with pytest.raises(RecordError) as caught:
        between("A=a-*", "b", tmp_path)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.usefixtures("methods")
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("A=a-*", "a-1"), "a-1 is in both, A and a-1"),
        (("A=a-*", "A=b-*"), "two of them are called A"),
        (("a-*", "b-*"), "no backbone is called 'a-*'; name several pre-trainings of one method like this: 'NAME=a-*'"),
        (("A=c-*", "b-1"), "no backbone is called 'c-*'"),
        (("A=", "b-1"), "'A=' isn't NAME=BACKBONE"),
        (("=a-1", "b-1"), "'=a-1' isn't NAME=BACKBONE"),
        (("A=a-*", "A=a-*"), "A=a-* can't be compared with itself"),
    ],
)
def test_nonsense_gets_one_sentence(names: tuple[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises((UsageError, BenchError)) as caught:
        between(*names, tmp_path)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_backbone_may_have_an_equals_sign_in_its_name(tmp_path: Path, put: Put) -> None:
    put("lr=1", 85.0)
    put("b", 80.0)
    (row,) = between("lr=1", "b", tmp_path).rows
    assert row.names == ("lr=1", "b") and row.methods == (False, False)
