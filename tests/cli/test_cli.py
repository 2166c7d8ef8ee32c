"""The command line as users meet it: exit codes, one sentence on stderr, start-up time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import croco_bench
from croco_bench.cli import main
from croco_bench.pretraining import recipe as recipes

RUN = ["run", "nyuv2-depth", "--recipe", "smoke", "--device", "cpu"]


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["croco-bench", *arguments])
    try:
        main.main()
        code = 0
    except SystemExit as leave:
        code = int(leave.code or 0)
    output = capsys.readouterr()
    return code, output.out, output.err


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (2, "did you mean nyuv2-depth", ["run", "nyuv2-dept", "--ckpt", "x"]),
        (2, "--ckpt", ["run", "nyuv2-depth"]),
        (2, "did you mean paper", [*RUN[:2], "--ckpt", "random:mini-croco", "--recipe", "papier"]),
        (2, "isn't one of auto, cpu", [*RUN[:4], "--ckpt", "random:mini-croco", "--device", "gpu"]),
        (2, "did you mean optim.lr", [*RUN, "--ckpt", "random:mini-croco", "--set", "optim.lrr=1"]),
        (2, "no head is called", [*RUN, "--ckpt", "random:mini-croco", "--set", "head=dtp"]),
        (1, "there is no file", [*RUN, "--ckpt", "nothere.pth"]),
        (1, "no results folder", ["table", "--results", "nowhere"]),
        (2, "no source of published numbers is called ''", ["table", "--like", ""]),
        (2, "did you mean nyuv2", ["data", "check", "nyuv3"]),
        (2, "did you mean nyuv2", ["data", "make-mini", "x", "--only", "nyuv3"]),
        (2, "expected a whole number", ["data", "make-mini", "x", "--set", "nyuv2.train=many"]),
        (1, "no result", ["show", "nothing"]),
    ],
)
def test_nonsense_gets_one_sentence(
    code: int,
    words: str,
    arguments: list[str],
    tiny_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROCO_BENCH_DATA", str(tiny_data))
    found, _, errors = call(capsys, monkeypatch, *arguments)
    assert found == code
    assert words in errors
    assert "Traceback" not in errors


def test_no_data_root_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CROCO_BENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    code, _, errors = call(capsys, monkeypatch, *RUN, "--ckpt", "random:mini-croco")
    assert code == 1
    assert "--data-root" in errors and "make-mini" in errors


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from croco_bench.errors import UsageError

    with pytest.raises(UsageError):
        call(capsys, monkeypatch, "--debug", "run", "nyuv2-dept", "--ckpt", "x")


@pytest.mark.slow
def test_a_whole_session(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """run, table, show, tasks, models, data: each prints what it promises."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROCO_BENCH_DATA", str(tiny_data))
    code, out, _ = call(capsys, monkeypatch, *RUN, "--ckpt", "random:mini-mae", "--name", "mine")
    assert code == 0
    assert "δ" not in out.splitlines()[0] and "delta1" in out
    assert "sheet.png" in out
    assert "mine" in call(capsys, monkeypatch, "table", "--format", "markdown")[1]
    assert call(capsys, monkeypatch, "table", "--format", "html", "--out", "page.html")[0] == 0
    assert Path("page.html").read_text().startswith("<!doctype html>")
    assert "random:mini-mae" in call(capsys, monkeypatch, "show", "smoke/nyuv2-depth/mine/seed0")[1]
    assert "nyuv2-depth" in call(capsys, monkeypatch, "tasks")[1]
    assert "croco-v1" in call(capsys, monkeypatch, "models")[1]
    listing = call(capsys, monkeypatch, "data", "list")[1]
    assert "nyu_depth_v2_labeled.mat" in listing and "habitat_release" in listing
    code, out, _ = call(capsys, monkeypatch, "data", "check", "nyuv2")
    assert code == 0
    assert "miniature" in out and "BAD" not in out


def test_a_bad_dataset_fails_its_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nyuv2").mkdir()
    code, out, _ = call(capsys, monkeypatch, "data", "check", "nyuv2", "--data-root", str(tmp_path))
    assert code == 1
    assert "BAD" in out


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["tasks"], ["models"], ["table"]])
def test_light_commands_answer_at_once(arguments: list[str], tmp_path: Path) -> None:
    """Well under a second of processor time, whatever else runs; the best of several, as caches may be cold."""
    (tmp_path / "results").mkdir()
    times = []
    for _ in range(4):
        began = os.times()
        subprocess.run([sys.executable, "-m", "croco_bench", *arguments], check=True, capture_output=True, cwd=tmp_path)
        ended = os.times()
        times.append(ended.children_user + ended.children_system - began.children_user - began.children_system)
    assert min(times) < 1.5


def test_the_version_is_that_of_the_package(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(capsys, monkeypatch, "--version") == (0, f"croco-bench {croco_bench.__version__}\n", "")


def test_the_help_of_pretrain_lists_its_recipes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = call(capsys, monkeypatch, "pretrain", "--help")[1]
    whole = " ".join(text.replace("-\n", "- ").split()).replace("- ", "-")  # the help breaks lines at hyphens
    assert f"Recipes: {', '.join(recipes.names())}." in whole
