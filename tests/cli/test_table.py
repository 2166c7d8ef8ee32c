"""The table command: what its options print, and what doesn't go together."""

import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from croco_bench.cli import main
from croco_bench.cli.table import EXAMPLES
from croco_bench.records.store import ResultPaths, write

RESULTS = Path(__file__).parents[2] / "results"
MINE = ("--results", "mine")


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code."""
    monkeypatch.setattr(sys, "argv", ["croco-bench", "table", "--format", "markdown", *arguments])
    with pytest.raises(SystemExit) as leave:
        main.main()
    return int(leave.value.code or 0)


@pytest.fixture
def results(tmp_path: Path, result_of: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one result on the real dataset, one on a miniature and one on ten images; not the working folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mine"
    for model, changes in (("real", {}), ("mini", {"dataset__miniature": True}), ("few", {"dataset__images": 10})):
        result = result_of(model__name=model, **changes)
        write(ResultPaths(folder, "paper", "nyuv2-depth", model, 0), result, {"index": [0.0], "delta1": [1.0]})
    return folder


@pytest.mark.parametrize(
    ("arguments", "there", "absent"),
    [
        ([], ["| real |", "85.6", "| mini |"], ["few", "### published"]),
        (["--no-published"], ["| real |", "| mini |"], ["85.6"]),
        (["--published"], ["| real |", "### published numbers", "85.6"], ["### published: "]),
        (["--limited"], ["| few, 10 of 654 |"], []),
        (["--against", "published"], ["measured minus published", "real − CroCo"], ["mini", "few"]),
        (["--like", "croco"], ["Table 3"], ["| real |"]),
        (["--recipe", "mini"], ["no results yet", "mine are of paper, none of mini"], ["| real |"]),
        (["--recipe", "/mini"], ["none of /mini"], ["| real |"]),
        (["--recipe", "p*"], ["| real |"], ["none of"]),
        (["--model", "r*", "--task", "nyuv2-depth"], ["| real |"], ["| mini |", "85.6"]),
        (["--transpose", "--no-published"], ["| task | real |"], ["| backbone |"]),
        (["--digits", "3", "--no-published"], ["85.123"], []),
        (["--published", "--task", "sintel-flow"], ["### published"], ["nyuv2", "| real |"]),
        (["--rows", "seed", "--sort", "name"], ["| real, seed 0 |"], []),
    ],
)
def test_options_print_what_they_say(
    results: Path,
    arguments: list[str],
    there: list[str],
    absent: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(monkeypatch, "--results", str(results), *arguments) == 0
    text = capsys.readouterr().out
    assert [words for words in there if words not in text] == []
    assert [words for words in absent if words in text] == []


def test_published_numbers_need_no_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "--published") == 0
    assert "published: nyuv2-depth" in capsys.readouterr().out
    assert call(monkeypatch, "--published", "--like", "croco", "--out", "paper.md") == 0
    assert "Table 5" in Path("paper.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--like", "croko"], "did you mean croco"),
        (["--like", "croco", "--no-published"], "leave --against and --no-published out"),
        (["--published-dir", "gone", "--published"], "there is no folder gone"),
        (["--ties", "worst"], "'worst'"),
        ([*MINE, "--task", "nyu"], "no task is called 'nyu'; did you mean nyuv2-depth"),
        ([*MINE, "--model", "reel"], "no backbone is called 'reel'; did you mean real"),
        ([*MINE, "--metric", "delta"], "no metric is called 'delta'; did you mean delta1"),
        ([*MINE, "--sort", "delta9"], "no column is called 'delta9'"),
        (["--like", "croco", "--rows", "seed"], "--rows and --columns arrange results"),
        ([*MINE, "--columns", "class"], "no chosen result has numbers per class"),
        (["--width", "10"], "30"),
        (["--digits", "16"], "--digits"),
    ],
)
def test_what_makes_no_sense_is_said(
    results: Path,
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(monkeypatch, *arguments) != 0
    assert words in capsys.readouterr().err


def test_the_rule_for_ties_is_said(results: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, result_of: Any) -> None:
    l1 = {"l1": {"value": 0.05, "ci95": None, "unit": "", "higher_is_better": False}}
    for domain in ("curvature", "depth", "edges", "keypoints2d", "keypoints3d", "normals", "occlusion", "reshading"):
        for model in ("a", "b"):
            paths = ResultPaths(results, "paper", f"taskonomy-{domain}", model, 0)
            write(
                paths,
                result_of(task__name=paths.task, model__name=model, metrics=l1, settings={}),
                {"index": [0.0], "l1": [0.05]},
            )
    for ties, rank in (("mean", "1.50"), ("best", "1.00")):
        assert call(monkeypatch, "--results", str(results), "--ties", ties, "--no-published") == 0
        text = capsys.readouterr().out
        assert rank in text and f"share the {ties} of their ranks" in text


EXAMPLE = re.findall(r"^  croco-bench (table .*)$", EXAMPLES, flags=re.M)


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLE)
def test_examples_of_the_help_run(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(RESULTS, tmp_path / "results")
    classes = tmp_path / "results/mini/ade20k-seg/random/seed0/breakdown.csv"
    classes.parent.mkdir()
    classes.write_text("protocol,class,iou\nheadline,wall,50\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["croco-bench", *shlex.split(example)])
    with pytest.raises(SystemExit) as leave:
        main.main()
    printed = capsys.readouterr()
    assert leave.value.code in (None, 0), printed.err
    assert printed.out.strip() or any(tmp_path.glob("*.*"))


def test_there_are_examples() -> None:
    assert len(EXAMPLE) >= 12


def test_a_file_has_its_own_width_and_no_codes(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    assert call(monkeypatch, "--results", str(results), "--format", "terminal") == 0
    shown = capsys.readouterr().out
    assert "\x1b[" in shown
    assert call(monkeypatch, "--results", str(results), "--format", "terminal", "--out", "table.txt") == 0
    lines = Path("table.txt").read_text().splitlines()
    assert "\x1b[" not in "".join(lines) and 40 < max(map(len, (line for line in lines if "://" not in line))) <= 120
    assert (
        call(monkeypatch, "--results", str(results), "--format", "terminal", "--width", "50", "--out", "table.txt") == 0
    )
    assert max(len(line) for line in Path("table.txt").read_text().splitlines() if "://" not in line) <= 50
