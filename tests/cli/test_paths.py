"""Paths on the command line: `~` means home in every option, and a model's name is no path."""

import sys
from pathlib import Path

import pytest

from croco_bench.cli import main

RUN = ["run", "nyuv2-depth", "--recipe", "smoke", "--device", "cpu", "--ckpt", "random:mini-mae"]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code."""
    monkeypatch.setattr(sys, "argv", ["croco-bench", *arguments])
    with pytest.raises(SystemExit) as leave:
        main.main()
    return int(leave.value.code or 0)


@pytest.fixture
def home(tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with `data` in it; the working folder is another one."""
    folder, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "data").symlink_to(tiny_data)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(elsewhere)
    return folder


@pytest.mark.slow
def test_the_tilde_is_home_in_every_option(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CROCO_BENCH_DATA", "~/data")
    assert call(monkeypatch, *RUN, "--results", "~/results", "--name", "mine") == 0
    assert (home / "results/smoke/nyuv2-depth").is_dir()
    assert call(monkeypatch, "show", "--results=~/results", "smoke/nyuv2-depth/mine/seed0") == 0
    assert call(monkeypatch, "data", "check", "nyuv2", "--data-root=~/data") == 0
    assert call(monkeypatch, "table", "--results=~/results", "--out", "~/table.md", "--format=markdown") == 0
    assert "mine" in (home / "table.md").read_text()
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize("name", ["../out", "a/b", "..", ".", "", " ", "a\nb", "a\\b", "x" * 201, "/tmp/x"])
def test_a_name_is_a_name(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *RUN, "--data-root", "~/data", "--name", name) == 2
    assert "can't be a model's name (--name)" in capsys.readouterr().err
    assert not list(Path.cwd().iterdir())
