"""Pre-trainings of a few steps of a tiny network, for the tests of this folder."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from croco_bench.cli import main
from croco_bench.pretraining.pretrain import pretrain

SIZES = {
    "model": {"width": 32, "depth": 4, "heads": 2},
    "data": {"holdout": 2},
    "train": {"image_size": 32, "batch_size": 4, "steps": 6, "check_every": 3, "save_seconds": 0},
    "optim": {"warmup": 1},
}
OF_PAIRS = {"model": {"decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2}, "data": {"resize": 36}}
OF_MODALITIES = {"multimae": {"visible": 8, "decoder_heads": 2, "decoder_width": 32}}


def tiny_changes(*changes: str, objective: str | None = None) -> list[str]:
    """Changes of the recipe `mini` that make it tiny, of those that the objective reads; then `changes`."""
    named = [value for key, _, value in (change.partition("=") for change in changes) if key == "objective"]
    own = OF_MODALITIES if (objective or "".join(named[-1:])) == "multimae" else OF_PAIRS
    sizes = [(table, settings) for part in (SIZES, own) for table, settings in part.items()]
    return [*(f"{table}.{key}={value}" for table, settings in sizes for key, value in settings.items()), *changes]


@pytest.fixture(scope="session")
def tiny_settings() -> Callable[..., list[str]]:
    """`tiny_changes`."""
    return tiny_changes


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Path]:
    """Runs a pre-training; keywords are those of `pretrain`."""

    def run(data: Path, out: Path, *changes: str, **arguments: Any) -> Path:
        settings = tiny_changes(*changes, objective=arguments.get("objective"))
        made = pretrain("mini", out, data_root=data, changes=settings, device="cpu", **arguments)
        assert made is not None
        return made

    return run


@pytest.fixture(scope="session")
def words() -> Callable[..., list[str]]:
    """The same as a command line."""

    def say(data: Path, out: Path, *changes: str) -> list[str]:
        given = ["pretrain", "--recipe", "mini", "--device", "cpu", "--data-root", str(data), "--out", str(out)]
        return [*given, *(f"--set={change}" for change in tiny_changes(*changes))]

    return say


@pytest.fixture(scope="module")
def pairs_root(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root whose six pairs count as six scenes, so that two of different scenes can be held out."""
    root = tmp_path_factory.mktemp("pairs")
    for folder in ("habitat_release", "multimae"):
        shutil.copytree(tiny_data / folder, root / folder)
    (root / "habitat_release" / "scenes.txt").write_text("".join(f"{i}\n" for i in range(6)))
    return root


@pytest.fixture
def complaint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command line that fails; returns its exit code and its last line."""

    def fails(arguments: list[str]) -> str:
        monkeypatch.setattr(sys, "argv", ["croco-bench", *arguments])
        with pytest.raises(SystemExit) as caught:
            main.main()
        errors = capsys.readouterr().err
        assert "Traceback" not in errors
        return f"{caught.value.code} {errors.splitlines()[-1]}"

    return fails
