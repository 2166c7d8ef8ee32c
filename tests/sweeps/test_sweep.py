"""Sweeps as their users meet them: skipped, failed, killed, stopped, two at once."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench import run
from croco_bench.records.store import ResultPaths, read, write
from croco_bench.sweeps.cells import Cell
from croco_bench.sweeps.state import CellState, SweepFolder

pytestmark = [pytest.mark.slow, pytest.mark.processes]
LONG = ("train.steps=120", "train.select_every=40", "train.save_seconds=0")
RANDOM = Cell("nyuv2-depth", "smoke", "random", "random:mini-croco", 0, LONG)


def command(data: Path, results: Path, *more: str, changes: Sequence[str] = ()) -> list[str]:
    sets = [word for change in changes for word in ("--set", change)]
    words = ["sweep", "--ckpt", "random=random:mini-croco", "--task", "nyuv2-depth", "--recipe", "smoke", *sets]
    where = ["--device", "cpu", "--data-root", str(data), "--results", str(results)]
    return [sys.executable, "-m", "croco_bench", *words, *where, *more]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def started(line: list[str]) -> subprocess.Popen[str]:
    """A sweep that doesn't ignore Ctrl-C, as jobs in a shell's background do."""
    return subprocess.Popen(
        line,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )


def training(results: Path) -> CellState | None:
    """The state of a run that has made some steps."""
    state = SweepFolder(results).read(RANDOM)
    return state if state and state.status == "running" and state.text.startswith("train ") else None


def values(results: Path, cell: Cell = RANDOM) -> dict[str, float]:
    return {name: metric.value for name, metric in read(cell.paths(results).json).metrics.items()}


@pytest.fixture(scope="module")
def undisturbed(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    results = tmp_path_factory.mktemp("undisturbed")
    run("nyuv2-depth", RANDOM.ckpt, recipe="smoke", data_root=tiny_data, results=results, name="random", changes=LONG)
    return values(results)


def test_a_failed_run_stops_no_other_and_what_is_done_is_skipped(tiny_data: Path, tmp_path: Path) -> None:
    broken, results = tmp_path / "broken.pth", tmp_path / "results"
    broken.write_bytes(b"PK nothing")
    line = command(tiny_data, results, "--ckpt", str(broken), "--seeds", "2", "--jobs", "2")
    first = subprocess.run(line, capture_output=True, text=True, check=False)
    assert first.returncode == 1 and "Traceback" not in first.stderr
    assert "4 runs: 0 done, 4 to do" in first.stderr and "croco-bench: 2 of 4 runs failed;" in first.stderr
    assert f"failed: smoke nyuv2-depth broken seed 0, smoke nyuv2-depth broken seed 1: {broken}" in first.stderr
    log = (results / ".sweep/logs/smoke/nyuv2-depth/broken/0.txt").read_text()
    assert f"croco-bench: {broken}" in log
    told = subprocess.run(
        [*line[:3], "sweep", "status", "--results", str(results)], capture_output=True, text=True, check=True
    ).stdout
    assert told.startswith("4 runs: 2 done, 2 failed\n") and told.count(str(broken)) == 2
    dry = subprocess.run([*line, "--dry-run"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert dry[0].startswith("4 runs: 2 done, 2 to do") and len(dry) == 4 and dry[-1].startswith("about ")
    broken.unlink()
    dry = subprocess.run([*line, "--dry-run"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert dry[-2] == f"{broken}: no such file or folder; its runs would fail (2)"
    again = subprocess.run([*line, "--exclude", "*/broken"], capture_output=True, text=True, check=True)
    assert again.stderr == "2 runs: 2 done, 0 to do\n"
    other = subprocess.run(
        command(tiny_data, results, "--set", "optim.lr=1e-3"), capture_output=True, text=True, check=False
    )
    assert other.returncode == 1 and "holds a result with other settings" in other.stderr
    replaced = [*command(tiny_data, results, "--set", "optim.lr=1e-3"), "--replace"]
    subprocess.run(replaced, check=True)
    assert read(RANDOM.paths(results).json).settings["optim"]["lr"] == 1e-3


def test_a_killed_sweep_goes_on_with_the_same_numbers(
    tiny_data: Path, tmp_path: Path, undisturbed: dict[str, float]
) -> None:
    line = command(tiny_data, tmp_path, changes=LONG)
    with started(line) as process:
        until(lambda: training(tmp_path))
        state = training(tmp_path)
        assert state is not None
        process.kill()
        process.communicate()
    until(lambda: not Path(f"/proc/{state.pid}").exists())  # the run ends, too
    view = SweepFolder(tmp_path).view(RANDOM)
    assert view.status == "stopped" and not RANDOM.paths(tmp_path).json.exists()
    again = subprocess.run(line, capture_output=True, text=True, check=True)
    assert "1 runs: 1 done" in again.stderr
    assert "going on from step" in SweepFolder(tmp_path).log(RANDOM).read_text()
    assert values(tmp_path) == undisturbed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_runs_save(
    number: signal.Signals, code: int, tiny_data: Path, tmp_path: Path, undisturbed: dict[str, float]
) -> None:
    line = command(tiny_data, tmp_path, changes=LONG)
    with started(line) as process:
        until(lambda: training(tmp_path))
        process.send_signal(number)
        os.killpg(process.pid, number)  # `timeout` sends it twice, and clusters send it to all processes
        said = process.communicate()[1]
    assert process.returncode == code and f"stopped by {number.name}; the same command goes on" in said
    assert "stopped  smoke nyuv2-depth random seed 0" in said and "Traceback" not in said
    log = SweepFolder(tmp_path).log(RANDOM)
    assert "saved after step" in log.read_text()
    subprocess.run(line, check=True)
    assert "going on from step" in log.read_text()
    assert values(tmp_path) == undisturbed


def test_two_sweeps_share_the_work_and_a_killed_process_is_replaced(
    tiny_data: Path, tmp_path: Path, undisturbed: dict[str, float]
) -> None:
    line = command(tiny_data, tmp_path, "--seeds", "3", "--jobs", "1", changes=LONG)
    with started(line) as one, started(line) as other:
        until(lambda: training(tmp_path))
        state = training(tmp_path)
        assert state is not None
        os.kill(state.pid, signal.SIGKILL)
        said = [process.communicate()[1] for process in (one, other)]
    assert one.returncode == other.returncode == 0, said
    assert sum(text.count("its process was ended by SIGKILL") for text in said) == 1
    assert sum(len(re.findall(r"δ1 \S+ % in \d", text)) for text in said) == 3, said
    assert values(tmp_path) == undisturbed


def test_runs_of_several_processes_save_and_go_on(tiny_data: Path, tmp_path: Path) -> None:
    steps = ("train.steps=14", "train.select_every=7", "train.save_seconds=0")
    cell = replace(RANDOM, changes=steps)
    line = command(tiny_data, tmp_path, "--processes", "2", "--jobs", "1", changes=steps)
    last = cell.paths(tmp_path).folder / "last.pt"
    with started(line) as process:
        until(last.is_file)
        process.terminate()
        said = process.communicate()[1]
    assert process.returncode == 143 and SweepFolder(tmp_path).view(cell).status == "stopped", said
    subprocess.run(line, check=True)
    log = SweepFolder(tmp_path).log(cell).read_text()
    assert "saved after step" in log and "going on from step" in log
    assert read(cell.paths(tmp_path).json).environment.processes == 2
    other = [*command(tiny_data, tmp_path, "--processes", "2", "--jobs", "1", changes=[*steps, "optim.lr=1e-3"])]
    refused = subprocess.run(other, capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "--replace to start over" in refused.stderr and "--fresh" not in refused.stderr
    subprocess.run([*other, "--replace"], check=True)
    assert read(cell.paths(tmp_path).json).settings["optim"]["lr"] == 1e-3


@pytest.mark.parametrize("damaged", [False, True])
def test_an_unfinished_run_with_other_settings_is_replaced_if_asked(
    damaged: bool, tiny_data: Path, tmp_path: Path
) -> None:
    line = command(tiny_data, tmp_path, changes=LONG)
    with started(line) as process:
        last = RANDOM.paths(tmp_path).folder / "last.pt"
        until(last.is_file)
        process.terminate()
        process.communicate()
    if damaged:
        last.write_bytes(last.read_bytes()[:1000])
    other = command(tiny_data, tmp_path, changes=LONG if damaged else [*LONG, "optim.lr=1e-3"])
    refused = subprocess.run(other, capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "give --results to keep both, or --replace to start over" in refused.stderr
    again = subprocess.run([*other, "--replace"], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "going on from" not in SweepFolder(tmp_path).log(RANDOM).read_text().rpartition("\n-- ")[2]


def test_a_name_of_other_weights_is_refused_or_replaced_if_asked(
    tiny_data: Path, tmp_path: Path, result_of: Any
) -> None:
    """As after an update that brings other weights under a known name: all of the sweep's results will be replaced."""
    name = "random-mini-croco"
    old = result_of(model__name=name, model__sha256="cd" * 32)
    write(ResultPaths(tmp_path, "smoke", "ade20k-seg", name, 0), old, {"index": np.arange(1), "delta1": np.ones(1)})
    line = [word.removeprefix("random=") for word in command(tiny_data, tmp_path, changes=("train.steps=3",))]
    refused = subprocess.run(line, capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "in a sweep with --ckpt NAME=CKPT" in refused.stderr
    subprocess.run([*line, "--replace"], check=True)
    assert read(tmp_path / f"smoke/nyuv2-depth/{name}/seed0.json").model.source == "random:mini-croco"
