"""The `compare` command on results written for it: verdicts, formats, refusals in words."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from croco_bench.cli import main
from croco_bench.errors import BenchError, RecordError, UsageError
from croco_bench.tables.comparison.compare import compare
from croco_bench.tables.comparison.render import RENDERERS

Put = Callable[..., None]


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["croco-bench", "compare", *words])
    try:
        main.main()
        code = 0
    except SystemExit as leave:
        code = int(leave.code or 0)
    output = capsys.readouterr()
    return code, output.out, output.err


@pytest.mark.usefixtures("three")
def test_the_claim_holds_or_not_or_is_undecided(tmp_path: Path) -> None:
    verdicts = {
        (first, second): compare([first, second], [tmp_path]).rows[0].verdict
        for first, second in (("a", "b"), ("b", "a"), ("b", "c"))
    }
    assert verdicts == {("a", "b"): "holds", ("b", "a"): "does not hold", ("b", "c"): "undecided"}


@pytest.mark.usefixtures("three")
def test_the_json_has_what_a_paper_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = call(capsys, monkeypatch, "a", "b", "--results", str(tmp_path), "--format", "json")
    assert code == 0
    (row,) = json.loads(out)["rows"]
    assert row["first"]["seeds"] == row["second"]["seeds"] == 3
    assert (row["images"], row["scenes"], row["independent_blocks"]) == (60, 12, 12)
    assert (row["better"], row["verdict"], row["covers_seeds"]) == ("a", "holds", True)
    assert row["ci95"][0] < row["difference"] < row["ci95"][1]
    assert row["difference"] == pytest.approx(row["first"]["value"] - row["second"]["value"])
    assert row["bootstrap95"][0] > 0
    assert row["p_value"] == row["p_value_holm"] < 0.001
    assert 0 <= row["seed_share"] <= 1


@pytest.mark.usefixtures("three")
def test_terminal_and_markdown_say_the_same_and_fit_eighty_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = compare(["a", "b"], [tmp_path])
    terminal, markdown = RENDERERS["terminal"](found), RENDERERS["markdown"](found)
    assert max(map(len, terminal.splitlines())) <= 80
    for text in (terminal, markdown):
        assert "claim: a is better than b (recipe paper)" in text
        assert "% better" in text and "< 0.001" in text and "holds" in text
        assert "3 and 3 seeds, 60 images in 12 scenes" in text
    assert markdown.splitlines()[2].count("|") == markdown.splitlines()[4].count("|") == 7


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(("share", "wanting"), [(0.2, "scenes"), (0.9, "seeds"), (None, "")])
def test_an_undecided_row_says_what_would_tell_more(share: float | None, wanting: str, tmp_path: Path) -> None:
    found = compare(["a", "b", "c"], [tmp_path])
    rows = tuple(replace(row, difference=replace(row.difference, seed_share=share)) for row in found.rows)
    text = RENDERERS["markdown"](replace(found, rows=rows))
    advice = [line for line in text.splitlines() if "of which more would tell more" in line]
    expected = (
        f"- undecided, and most of the variance comes from {wanting}, of which more would tell more: nyuv2-depth δ1"
    )
    assert advice == ([expected] if wanting else [])  # of b and c alone: a is told from both
    alone = tuple(replace(row, difference=replace(row.difference, scenes=60)) for row in rows)
    text = RENDERERS["markdown"](replace(found, rows=alone))
    assert ("comes from images, of which more" in text) == (wanting == "scenes")


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("width", [30, 47, 66, 120, 200])
def test_nothing_is_cut_at_any_width(width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    found = compare(["a", "b"], [tmp_path])
    text, latex = RENDERERS["terminal"](found), RENDERERS["latex"](found)
    assert max(map(len, text.splitlines())) <= width
    row = found.rows[0]
    means = [f"{mean.value:.1f}" for mean in row.means]
    bounds = [f"{bound:+.1f}" for bound in row.difference.ci95]
    assert all(number in text and number in latex for number in (*means, *bounds)) and "holds" in text


@pytest.mark.usefixtures("three")
def test_globs_choose_tasks_and_metrics(tmp_path: Path) -> None:
    key = compare(["a", "b"], [tmp_path]).rows[0].metric.name
    assert {row.metric.name for row in compare(["a", "b"], [tmp_path], metrics=[f"{key[:-1]}?"]).rows} == {key}
    assert compare(["a", "b"], [tmp_path], tasks=["nyu*"]).rows
    with pytest.raises(UsageError, match="no task is called 'nyu'; did you mean nyuv2-depth"):
        compare(["a", "b"], [tmp_path], tasks=["nyu"])


@pytest.mark.usefixtures("three")
def test_three_backbones_are_compared_in_pairs_with_corrected_p_values(tmp_path: Path, put: Put) -> None:
    for seed in range(3):
        for model, mean in (("a", 85.0), ("b", 80.0), ("c", 80.0)):
            put(model, mean, seed, task__name="other-task")
    found = compare(["a", "b", "c"], [tmp_path])
    assert [(row.task, row.names) for row in found.rows[:3]] == [
        ("nyuv2-depth", ("a", "b")),
        ("nyuv2-depth", ("a", "c")),
        ("nyuv2-depth", ("b", "c")),
    ]
    smallest = min(row.difference.p_value for row in found.rows)
    assert min(row.adjusted_p for row in found.rows) == pytest.approx(6 * smallest)
    ((recipe, ranks),) = found.overviews
    assert recipe == "paper" and ranks.intervals["a"].value == 1
    assert "mean ranks over 2 tasks" in RENDERERS["terminal"](found)
    assert "Friedman" in RENDERERS["markdown"](found)
    assert json.loads(RENDERERS["json"](found))["ranks"][0]["mean_ranks"]["a"]["value"] == 1


def test_one_seed_is_said(tmp_path: Path, put: Put) -> None:
    put("a", 85.0)
    put("b", 80.0)
    (row,) = compare(["a", "b"], [tmp_path]).rows
    assert not row.difference.covers_seeds
    assert "one seed of a and of b: interval and p-value are of these trainings" in row.notes[0]
    put("b", 80.0, 1)
    (row,) = compare(["a", "b"], [tmp_path]).rows
    assert row.difference.covers_seeds
    assert "one seed of a: others are taken to scatter" in row.notes[0]


def test_a_classical_method_needs_no_seeds(tmp_path: Path, put: Put) -> None:
    put("sift", 70.0, model__family="classical", model__sha256=None, recipe__fingerprint="of an older recipe")
    for seed in range(3):
        put("a", 85.0, seed)
    (row,) = compare(["a", "sift"], [tmp_path]).rows
    assert row.verdict == "holds" and not row.notes


def test_results_that_name_no_scenes_are_compared_by_image_and_it_is_said(tmp_path: Path, put: Put) -> None:
    for model in "ab":
        put(model, 80.0, named=False)
    (row,) = compare(["a", "b"], [tmp_path]).rows
    assert row.difference.blocks == 60
    assert any("don't name scenes" in note for note in row.notes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"recipe__fingerprint": "other", "settings": {"optim": {"lr": 1e-3}, "limit": None}},
            "optim.lr=0.0001 and 0.001",
        ),
        ({"recipe__fingerprint": "other"}, "settings 0123456789ab and other"),
        ({"dataset__fingerprint": "beef"}, "the files of nyuv2 differ"),
        ({"dataset__split": "val"}, "scored on nyuv2 test and on nyuv2 val"),
        ({"dataset__miniature": True}, "a miniature and on the real dataset"),
        ({"dataset__images_available": 654}, "all images and on 60 of 654 images"),
        ({"settings": {"optim": {"lr": 1e-4}, "limit": 10}}, "with --limit 10"),
        ({"task__version": 2}, "versions 1 and 2 of the task"),
    ],
)
def test_unlike_results_are_refused_with_what_differs(
    changes: dict[str, Any], words: str, tmp_path: Path, put: Put
) -> None:
    put("a", 80.0)
    put("b", 80.0, **changes)
    with pytest.raises(RecordError) as caught:
        compare(["a", "b"], [tmp_path])
    text = str(caught.value).replace("the real dataset and on a miniature", "a miniature and on the real dataset")
    assert words in text and "can't be compared" in text
    assert "\n" not in text


def test_one_name_for_two_weights_is_refused(tmp_path: Path, put: Put) -> None:
    put("a", 80.0)
    put("b", 80.0)
    put("b", 80.0, 1, model__sha256="cd" * 32)
    with pytest.raises(RecordError, match=r"results of b on nyuv2-depth aren't runs of one setting: weights bbbb"):
        compare(["a", "b"], [tmp_path])


def test_a_folder_given_twice_counts_once(tmp_path: Path, put: Put) -> None:
    for model in "ab":
        put(model, 80.0)
    (row,) = compare(["a", "b"], [tmp_path, tmp_path]).rows
    assert row.difference.seeds == (1, 1)


def test_tasks_that_one_backbone_lacks_are_told(tmp_path: Path, put: Put) -> None:
    for model in "ab":
        put(model, 80.0)
    put("a", 80.0, task__name="other-task")
    assert compare(["a", "b"], [tmp_path]).left_out == ("b has no results of other-task (recipe paper)",)
    with pytest.raises(RecordError, match="b has no results of other-task"):
        compare(["a", "b"], [tmp_path], tasks=["other-task"])


def test_a_method_whose_predictions_failed_is_told_so() -> None:
    """SIFT's poses: most images of a room have no match."""
    results = Path(__file__).parents[3] / "results"
    with pytest.raises(
        RecordError, match=r"^sift-opencv: too many predictions failed .* of translation_m on relative-pose"
    ):
        compare(["sift-opencv", "sift-poselib"], [results], tasks=["relative-pose"])
    (row,) = compare(["identity", "sift-poselib"], [results], tasks=["relative-pose"], metrics=["auc5"]).rows
    assert row.verdict == "does not hold"


@pytest.mark.usefixtures("three")
def test_one_of_three_backbones_may_lack_a_task(tmp_path: Path, put: Put) -> None:
    for model in "ab":
        put(model, 80.0, task__name="other-task")
    found = compare(["a", "b", "c"], [tmp_path])
    assert found.left_out == ("c has no results of other-task (recipe paper)",)
    assert [row.names for row in found.rows if row.task == "other-task"] == [("a", "b")]
    assert found.overviews == ()


@pytest.mark.usefixtures("three")
def test_backbones_that_lack_the_same_tasks_share_a_line(tmp_path: Path, put: Put) -> None:
    for task in ("other-task", "third-task"):
        put("a", 80.0, task__name=task)
    assert compare(["a", "b", "c"], [tmp_path]).left_out == (
        "b, c have no results of other-task, third-task (recipe paper)",
    )


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("error", "words", "arguments"),
    [
        (UsageError, "no backbone is called 'aa'; did you mean a", {"names": ["aa", "b"]}),
        (UsageError, "can't be compared with itself", {"names": ["a", "a"]}),
        (UsageError, "a comparison needs two backbones, but a is named", {"names": ["a"]}),
        (UsageError, "did you mean nyuv2-depth", {"tasks": ["nyuv2-dept"]}),
        (UsageError, "did you mean delta1", {"metrics": ["delta11"]}),
        (RecordError, "there are no results of recipe mini; all results in ", {"recipe": "mini"}),
        (RecordError, "no results folder", {"results": [Path("nowhere")]}),
        (RecordError, "a and b have no results of sintel-flow", {"tasks": ["sintel-flow"]}),
    ],
)
def test_nonsense_gets_one_sentence(
    error: type[BenchError], words: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        compare(**{"names": ["a", "b"], "results": [tmp_path], **arguments})
    assert words in str(caught.value)


def test_help_has_worked_examples(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = call(capsys, monkeypatch, "--help")
    assert code == 0
    assert "croco-bench compare croco-v2 mae-vitb --task nyuv2-depth" in out
    assert "does not hold" in out


@pytest.mark.usefixtures("three")
def test_the_answer_can_go_to_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "compared.md"
    code, printed, _ = call(
        capsys, monkeypatch, "a", "b", "--results", str(tmp_path), "--format", "markdown", "--out", str(out)
    )
    assert code == 0 and not printed
    assert out.read_text(encoding="utf-8").startswith("### claim: a is better than b")


def test_few_images_are_told_and_one_is_refused(tmp_path: Path, put: Put) -> None:
    for name, mean in (("a", 80.0), ("b", 81.0)):
        put(name, mean, images=4)
    (row,) = compare(["a", "b"], [tmp_path]).rows
    assert "only a part of the data: 4 of 60" in row.notes
    assert any(note.startswith("only 4 images: interval and p-value suppose") for note in row.notes)
    for name, mean in (("a", 80.0), ("b", 81.0)):
        put(name, mean, images=1)
    with pytest.raises(RecordError, match="scored on one image"):
        compare(["a", "b"], [tmp_path])
