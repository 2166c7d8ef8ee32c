"""Losses that are read one step late, as on a GPU: the same numbers, and no weights are kept that a step spoilt."""

import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from croco_bench import run
from croco_bench.engine.step import Stepper
from croco_bench.engine.train import Trainer
from croco_bench.engine.training_log import lines
from croco_bench.errors import DivergedError, Stopped
from croco_bench.records.schema import Result


def smoke(data: Path, results: Path, *changes: str) -> Result:
    """A run of the smoke recipe of depth."""
    result = run(
        "nyuv2-depth",
        "random:mini-croco",
        recipe="smoke",
        data_root=data,
        results=results,
        device="cpu",
        changes=changes,
    )
    assert result is not None
    return result


def log_of(results: Path) -> list[dict[str, Any]]:
    """The log of that run, whatever the speed."""
    (path,) = results.rglob("log.jsonl")
    return [{key: value for key, value in line.items() if key != "images_per_s"} for line in lines(path.parent)]


def test_losses_read_late_change_no_number(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soon = smoke(tiny_data, tmp_path / "soon")
    monkeypatch.setattr(Stepper, "late", True)
    late = smoke(tiny_data, tmp_path / "late")
    assert late.metrics == soon.metrics and late.selected == soon.selected
    assert log_of(tmp_path / "late") == log_of(tmp_path / "soon")


def test_a_stop_is_heard_a_step_later_and_the_rest_is_the_same(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stepper, "late", True)
    after_step = Trainer.after_step

    def warn(self: Trainer, done: int, loss: float, rate: float) -> None:
        if done == 1:
            signal.raise_signal(signal.SIGTERM)
        after_step(self, done, loss, rate)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "after_step", warn)
        with pytest.raises(Stopped):
            smoke(tiny_data, tmp_path / "stopped")
    (state,) = (tmp_path / "stopped").rglob("last.pt")
    assert torch.load(state)["step"] == 2
    assert smoke(tiny_data, tmp_path / "stopped").metrics == smoke(tiny_data, tmp_path / "whole").metrics
    assert log_of(tmp_path / "stopped") == log_of(tmp_path / "whole")


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("wrong", "save_seconds", "saved"),
    [(4, 0, 3), (5, 120, None), (6, 120, None), (7, 0, 6), (7, 120, 6), (8, 120, 6), (12, 120, 6)],
)
def test_weights_that_a_step_spoilt_are_never_scored_or_saved(
    wrong: int,
    save_seconds: int,
    saved: int | None,
    late: bool,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Steps 6 and 12 are scored, after which the state is saved."""
    monkeypatch.setattr(Stepper, "late", late)
    loss_of, select, calls = Trainer.loss_of, Trainer.select, 0

    def infinite(self: Trainer, wrapped: torch.nn.Module, batch: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return loss_of(self, wrapped, batch) * (math.inf if calls == wrong else 1.0)

    def seen(self: Trainer, done: int) -> None:
        assert done < wrong
        assert all(bool(tensor.isfinite().all()) for tensor in self.job.network.state_dict().values())
        select(self, done)

    monkeypatch.setattr(Trainer, "loss_of", infinite)
    monkeypatch.setattr(Trainer, "select", seen)
    with pytest.raises(DivergedError, match=f"the loss is inf at step {wrong}"):
        smoke(tiny_data, tmp_path, f"train.save_seconds={save_seconds}")
    states = [torch.load(path) for path in tmp_path.rglob("last.pt")]
    assert [state["step"] for state in states] == ([] if saved is None else [saved])
    assert all(bool(tensor.isfinite().all()) for state in states for tensor in state["network"].values())
