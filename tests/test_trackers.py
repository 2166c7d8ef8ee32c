"""Trackers: what they are told, that a restart goes on in the same run, and that one that fails costs no training."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate import tracking

from croco_bench.engine import devices
from croco_bench.engine.training_log import RunLog, lines
from croco_bench.errors import UsageError
from croco_bench.trackers import open_tracker


class FakeRun:
    """What `wandb.init` and `trackio.init` return."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = False

    def log(self, values: dict[str, float], step: int) -> None:
        if values.get("loss") == 0.0:
            raise OSError("no network")
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished = True


class FakePackage(SimpleNamespace):
    """Stands for the package of a tracker that isn't installed here."""

    def __init__(self) -> None:
        self.runs: list[FakeRun] = []
        self.options: list[dict[str, Any]] = []
        self.settings: dict[str, Any] = {}
        self.config = SimpleNamespace(update=lambda values, **_: self.settings.update(values))

    def init(self, **options: Any) -> FakeRun:
        self.options.append(options)
        self.runs.append(FakeRun())
        return self.runs[-1]


@pytest.fixture(params=["wandb", "trackio"])
def package(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, FakePackage]:
    fake = FakePackage()
    devices.start("cpu", "fp32", 0)
    assert request.param in tracking.LOGGER_TYPE_TO_CLASS
    monkeypatch.setitem(sys.modules, request.param, fake)
    monkeypatch.delenv("CROCO_BENCH_PROJECT", raising=False)
    return request.param, fake


def test_numbers_and_settings_go_to_one_run_of_the_project(package: tuple[str, FakePackage], tmp_path: Path) -> None:
    name, fake = package
    folder = tmp_path / "mini/nyuv2-depth/croco/seed0"
    settings = {"train": {"steps": 3, "image_size": [64, 64]}, "head": {"name": "dpt"}}
    log = RunLog(folder, start=0, tracker=name, settings=settings)
    log.add(0, loss=1.0, lr=0.1)
    log.close()
    assert fake.runs[0].logged == [(0, {"loss": 1.0, "lr": 0.1})] and fake.runs[0].finished
    assert fake.options[0]["project"] == "croco-bench" and fake.options[0]["name"] == "mini/nyuv2-depth/croco/seed0"
    assert fake.settings == {"train.steps": 3, "train.image_size": "[64, 64]", "head.name": "dpt"}
    again = RunLog(folder, start=1, tracker=name, settings=settings)
    again.close()
    assert fake.options[1] == fake.options[0] and fake.options[0]["resume"] == "allow"


def test_a_tracker_that_fails_is_left_out(
    package: tuple[str, FakePackage], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, fake = package
    log = RunLog(tmp_path, start=0, tracker=name)
    for step, loss in enumerate((1.0, 0.0, 2.0)):
        log.add(step, loss=loss)
    log.close()
    assert [step for step, _ in fake.runs[0].logged] == [0]
    assert [line["loss"] for line in lines(tmp_path)] == [1.0, 0.0, 2.0]
    assert capsys.readouterr().err.count("is left out from here: no network") == 1


def test_the_project_is_a_variable(
    package: tuple[str, FakePackage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, fake = package
    monkeypatch.setenv("CROCO_BENCH_PROJECT", "mine")
    open_tracker(name, tmp_path, 0, {})
    assert fake.options[0]["project"] == "mine"


def test_an_absent_package_and_one_that_does_not_start_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(
        UsageError, match=r"needs the wandb package; install it with: pip install 'croco-bench\[wandb\]'"
    ):
        open_tracker("wandb", tmp_path, 0, {})

    def refuse(**_: object) -> None:
        raise OSError("no account")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=refuse))
    with pytest.raises(UsageError, match="can't be started: no account"):
        open_tracker("wandb", tmp_path, 0, {})
    assert open_tracker("none", tmp_path, 0, {}) is None
