"""Signals, streams that can't be written, and --fresh: nothing that was computed is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from croco_bench import run
from croco_bench.engine.train import Trainer
from croco_bench.errors import Stopped
from croco_bench.records.schema import Result
from croco_bench.records.store import ResultPaths, read
from tests.test_signals import left

SLOT = ("smoke", "nyuv2-depth", "random-mini-croco", 0)


pytestmark = pytest.mark.usefixtures("sigint_is_obeyed")


def smoke(data: Path, results: Path, **options: Any) -> Result:
    settings = {"recipe": "smoke", "data_root": data, "results": results, "device": "cpu"}
    result = run("nyuv2-depth", "random:mini-croco", **{**settings, **options})
    assert result is not None
    return result


def values(result: Result) -> dict[str, float]:
    return {name: metric.value for name, metric in result.metrics.items()}


def command(data: Path, results: Path) -> list[str]:
    words = ["run", "nyuv2-depth", "--ckpt", "random:mini-croco", "--recipe", "smoke", "--device", "cpu"]
    return [sys.executable, "-m", "croco_bench", *words, "--data-root", str(data), "--results", str(results)]


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_a_signal_saves_once_and_the_same_command_goes_on(
    number: signal.Signals, code: int, tiny_data: Path, tmp_path: Path
) -> None:
    slot = ResultPaths(tmp_path, *SLOT)
    log = slot.folder / "log.jsonl"
    with subprocess.Popen(command(tiny_data, tmp_path), stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not (log.is_file() and log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(number)
        said = process.communicate()[1]
    assert process.returncode == code, said
    assert f"stopped by {number.name}; the same command goes on from the last save" in said
    assert "Traceback" not in said
    assert (slot.folder / "last.pt").is_file() or "saved after" not in said
    again = subprocess.run(command(tiny_data, tmp_path), capture_output=True, text=True, check=True)
    assert ("going on from step" in again.stderr) == ("saved after" in said)
    ended, undisturbed = read(slot.json), smoke(tiny_data, tmp_path / "undisturbed")
    assert values(ended) == values(undisturbed)
    assert ended.history == undisturbed.history and ended.selected is not None
    assert max(ended.history, key=lambda step: ended.history[step]) == ended.selected.step


@pytest.mark.slow
@pytest.mark.processes
def test_a_signal_to_all_processes_saves_too(tiny_data: Path, tmp_path: Path) -> None:
    log = ResultPaths(tmp_path, *SLOT).folder / "log.jsonl"
    # More steps than a busy machine takes until the signal comes.
    line = [*command(tiny_data, tmp_path), "--set", "train.workers=2", "--set", "train.steps=3000"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 120
        while not (log.is_file() and log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGTERM)  # as `timeout` does it: the child first, then its group
        os.killpg(process.pid, signal.SIGTERM)
        said = process.communicate()[1]
    assert process.returncode == 143, said
    assert "saved after step" in said and "Traceback" not in said
    assert said.splitlines()[-1] == "croco-bench: stopped by SIGTERM; the same command goes on from the last save"
    assert (log.parent / "last.pt").is_file()
    assert not left(process.pid)


def test_the_step_at_work_is_finished_and_saved(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []

    def warn(self: Trainer, done: int, loss: float, rate: float) -> None:
        if done == 2:
            signal.raise_signal(signal.SIGTERM)
        after_step(self, done, loss, rate)

    def note(self: Trainer, done: int) -> None:
        saved.append(done)
        save(self, done)

    after_step, save = Trainer.after_step, Trainer.save
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "after_step", warn)
        patch.setattr(Trainer, "save", note)
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(Stopped, match="SIGTERM"):
            smoke(tiny_data, tmp_path)
        assert signal.getsignal(signal.SIGTERM) is before
    assert saved == [2]
    assert values(smoke(tiny_data, tmp_path)) == values(smoke(tiny_data, tmp_path / "undisturbed"))


def test_a_second_signal_does_not_wait(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hurry(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "after_step", hurry)
    with pytest.raises(Stopped, match="SIGINT"):
        smoke(tiny_data, tmp_path)


@pytest.mark.slow
def test_fresh_keeps_the_finished_result_until_the_new_one_is_there(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = ResultPaths(tmp_path, *SLOT)
    old = smoke(tiny_data, tmp_path)
    files = {path.name: path.read_bytes() for path in slot.folder.iterdir()}
    rows = slot.rows.read_bytes()
    after_step = Trainer.after_step

    def stop(self: Trainer, done: int, loss: float, rate: float) -> None:
        after_step(self, done, loss, rate)
        if done == 3:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "after_step", stop)
        with pytest.raises(Stopped):
            smoke(tiny_data, tmp_path, changes=["optim.lr=1e-4"], fresh=True)
    assert read(slot.json) == old and slot.rows.read_bytes() == rows
    assert {path.name: path.read_bytes() for path in slot.folder.iterdir()} == files
    new = smoke(tiny_data, tmp_path, changes=["optim.lr=1e-4"])  # goes on, without --fresh
    assert read(slot.json) == new and values(new) != values(old)
    assert {path.name for path in slot.folder.parent.iterdir()} == {"seed0", "seed0.json", "seed0.npz"}
    assert values(new) == values(smoke(tiny_data, tmp_path / "undisturbed", changes=["optim.lr=1e-4"]))


@pytest.mark.slow
@pytest.mark.processes
def test_a_broken_stderr_costs_no_run(tiny_data: Path, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command(tiny_data, tmp_path), stdout=subprocess.PIPE, stderr=full, text=True, check=False)
    assert done.returncode == 0
    assert "nyuv2-depth" in done.stdout
    assert read(ResultPaths(tmp_path, *SLOT).json).status == "complete"


@pytest.mark.slow
@pytest.mark.processes
def test_a_full_stdout_is_one_sentence(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "croco_bench", "tasks"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "croco-bench: can't write to standard output: No space left on device\n"


@pytest.mark.parametrize(
    ("task", "words", "owner"),
    [
        ("correspondence", {}, "croco_bench.tasks.correspondence.base.PointMatching.choose"),
        ("ade20k-seg", {"recipe": "smoke-knn-dense"}, "croco_bench.probing.bank.evaluate"),
    ],
)
@pytest.mark.parametrize("raised", [KeyboardInterrupt(), Stopped(signal.SIGTERM)])
def test_where_nothing_is_kept_it_says_so(
    task: str,
    words: dict[str, Any],
    owner: str,
    raised: KeyboardInterrupt,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(owner, interrupted)
    options: Any = {"recipe": "smoke", "data_root": tiny_data, "results": tmp_path, "device": "cpu"} | words
    with pytest.raises(Stopped) as caught:
        run(task, "random:mini-croco", **options)
    assert caught.value.outcome == "nothing was kept: the same command starts over"
    assert caught.value.signal == (raised.signal if isinstance(raised, Stopped) else signal.SIGINT)
