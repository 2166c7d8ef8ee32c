"""What the machine can do to a run: no memory, no disk, dead workers, damaged state."""

import errno
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from croco_bench import run
from croco_bench.cli.main import main
from croco_bench.engine.step import StepLoss, Stepper
from croco_bench.engine.train import Trainer
from croco_bench.engine.training_log import RunLog
from croco_bench.errors import BenchError, DataError, RecordError
from croco_bench.files import atomic
from croco_bench.records.schema import Result
from croco_bench.records.store import ResultPaths


def smoke(data: Path, results: Path, **options: Any) -> object:
    return run(
        "nyuv2-depth",
        "random:mini-croco",
        **{"recipe": "smoke", "data_root": data, "results": results, "device": "cpu", **options},
    )


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory. Tried to allocate"), MemoryError()])
def test_out_of_memory_says_what_to_set(
    error: Exception, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> float:
        raise error

    monkeypatch.setattr(Stepper, "step", fail)
    with pytest.raises(BenchError, match=r"train\.accumulate=2"):
        smoke(tiny_data, tmp_path)


def test_other_errors_of_the_program_stay_what_they_are(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> float:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(Stepper, "step", fail)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        smoke(tiny_data, tmp_path)


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_the_run_goes_on_later(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saves = []
    keep = Trainer.save

    def second_fails(self: Trainer, done: int) -> None:
        saves.append(done)
        if len(saves) == 2:
            monkeypatch.setattr(os, "fsync", full)
        keep(self, done)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Trainer, "save", second_fails)
    with pytest.raises(RecordError, match="No space left"):
        smoke(tiny_data, tmp_path)
    monkeypatch.undo()
    smoke(tiny_data, tmp_path)
    assert f"going on from step {saves[0]} of 12" in capsys.readouterr().err


@pytest.mark.slow
def test_damaged_and_foreign_states_are_refused(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    keep = Stepper.step
    calls: list[int] = []

    def seven_steps(self: Stepper, step: int, batches: Any) -> StepLoss:
        calls.append(step)
        found: StepLoss = stop() if step == 7 else keep(self, step, batches)
        return found

    monkeypatch.setattr(Stepper, "step", seven_steps)
    with pytest.raises(KeyboardInterrupt):
        smoke(tiny_data, tmp_path)
    monkeypatch.undo()
    with pytest.raises(RecordError, match="other settings"):
        smoke(tiny_data, tmp_path, changes=["optim.lr=1e-5"])
    state = ResultPaths(tmp_path, "smoke", "nyuv2-depth", "random-mini-croco", 0).folder / "last.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(RecordError, match="fresh=True"):
        smoke(tiny_data, tmp_path)
    assert smoke(tiny_data, tmp_path, fresh=True)


@pytest.mark.slow
def test_errors_of_the_dataset_cross_the_workers(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from croco_bench.data.datasets.nyuv2 import MatReader

    def fail(self: object, index: int) -> dict[str, Any]:
        raise DataError("image 3 is damaged; get it again")

    reads = iter(range(1000))
    keep = MatReader.__getitem__
    # The statistics of the training split are measured first, in the main process.
    monkeypatch.setattr(
        MatReader, "__getitem__", lambda self, index: keep(self, index) if next(reads) < 9 else fail(self, index)
    )
    for workers in (0, 1):
        reads = iter(range(1000))
        with pytest.raises(DataError, match=r"^image 3 is damaged; get it again$"):
            smoke(tiny_data, tmp_path, changes=[f"train.workers={workers}"], name=f"workers{workers}")


def test_atomic_leaves_the_old_file_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(ValueError, match="no"), atomic(path) as temporary:
        temporary.write_text("new")
        raise ValueError("no")
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["x"]
    with atomic(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="can't write"), atomic(tmp_path / "file" / "y") as temporary:
        pass


def test_the_log_drops_what_a_restart_repeats_and_half_a_line(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 0, "loss": 1.0}\n{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    log = RunLog(tmp_path, start=1, tracker="tensorboard")
    log.add(1, loss=3.0)
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines == [{"step": 0, "loss": 1.0}, {"step": 1, "loss": 3.0}]
    assert list((tmp_path / "tensorboard").glob("events*"))


@pytest.mark.parametrize(
    ("error", "code"), [(BrokenPipeError(errno.EPIPE, "Broken pipe"), 0), (OSError(28, "full"), 1)]
)
def test_stdout_that_can_not_be_written_costs_no_other_task_of_a_group(
    error: OSError, code: int, result_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = list[str]()

    def two(task: str, run_task: object) -> Iterator[Result]:
        for name in ("taskonomy-depth", "taskonomy-edges"):
            yield result_of(task__name=name)
            ended.append(name)

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("croco_bench.runs.group.run_group", two)
    monkeypatch.setattr("croco_bench.tables.show.show", lambda path: "a result")
    monkeypatch.setattr(typer, "echo", fail)
    monkeypatch.setattr(sys, "argv", ["croco-bench", "run", "taskonomy", "--ckpt", "mini-mae"])
    with pytest.raises(SystemExit) as leave:
        main()
    assert int(leave.value.code or 0) == code and len(ended) == 2
