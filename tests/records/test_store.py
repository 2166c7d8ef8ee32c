import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from croco_bench import load_results
from croco_bench.errors import RecordError
from croco_bench.records.store import ResultPaths, read, read_all, write


def slot_in(tmp_path: Path, **changes: Any) -> ResultPaths:
    return ResultPaths(
        **{"results": tmp_path, "recipe": "paper", "task": "nyuv2-depth", "model": "croco-v1", "seed": 0, **changes}
    )


ROWS = {"index": np.arange(3.0), "delta1": np.array([80.0, 85.5, 90.25])}


def test_a_result_comes_back_bit_for_bit(tmp_path: Path, result_of: Any) -> None:
    slot, result = slot_in(tmp_path), result_of()
    write(slot, result, ROWS)
    assert slot.json == tmp_path / "paper/nyuv2-depth/croco-v1/seed0.json"
    assert read(slot.json) == result
    assert ResultPaths.of(slot.json) == slot
    with np.load(slot.rows) as rows:
        assert {name: rows[name].tolist() for name in rows.files} == {
            name: values.tolist() for name, values in ROWS.items()
        }
    assert [path.name for path in slot.json.parent.iterdir() if path.name.startswith(".")] == []


def test_values_that_are_not_finite_are_refused(result_of: Any) -> None:
    with pytest.raises(ValidationError):
        result_of(metrics__delta1__value=float("nan"))
    with pytest.raises(ValidationError, match="isn't finite"):
        result_of(settings={"optim": {"lr": float("inf")}})
    with pytest.raises(ValidationError):
        result_of(extra=1)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 2}', "\x00\x01"])
def test_broken_files_are_one_sentence(tmp_path: Path, result_of: Any, text: str) -> None:
    slot = slot_in(tmp_path)
    write(slot, result_of(), ROWS)
    bad = slot_in(tmp_path, seed=1).json
    bad.write_text(text)
    with pytest.raises(RecordError) as caught:
        read(bad)
    assert str(bad) in str(caught.value)
    assert "\n" not in str(caught.value)
    found, complaints = read_all([tmp_path])
    assert len(found) == len(complaints) == 1
    with pytest.raises(RecordError):
        load_results(tmp_path)


def test_a_failed_write_keeps_the_old_result_and_rescues_the_new(
    tmp_path: Path, result_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = slot_in(tmp_path)
    write(slot, result_of(), ROWS)
    before = slot.json.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecordError, match="No space left") as caught:
        write(slot, result_of(seed=0, model__name="other"), ROWS)
    rescue = Path(str(caught.value).rpartition("kept in ")[2])
    assert json.loads(rescue.read_text())["model"]["name"] == "other"
    rescue.unlink()
    assert slot.json.read_bytes() == before
    assert not list(slot.json.parent.glob(".*"))


@pytest.mark.processes
def test_two_runs_on_one_slot(tmp_path: Path) -> None:
    slot = slot_in(tmp_path)
    code = (
        "import sys, time; from pathlib import Path; from croco_bench.records.store import ResultPaths;"
        f"s = ResultPaths(Path({str(tmp_path)!r}), 'paper', 'nyuv2-depth', 'croco-v1', 0)\n"
        "with s.lock():\n print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(RecordError, match="another run is at work"), slot.lock():
            pass
        other.kill()
        other.wait()
    with slot.lock():  # a killed run leaves nothing in the way
        pass


def test_clear_removes_everything_but_the_lock(tmp_path: Path, result_of: Any) -> None:
    slot = slot_in(tmp_path)
    with slot.lock():
        write(slot, result_of(), ROWS)
        (slot.folder / "tensorboard").mkdir()
        (slot.folder / "last.pt").write_text("x")
        slot.clear()
    assert not slot.json.exists() and not slot.rows.exists()
    assert {path.name for path in slot.folder.iterdir()} <= {"lock"}


def test_the_frame_has_a_row_per_metric(tmp_path: Path, result_of: Any) -> None:
    for seed in (0, 1):
        write(slot_in(tmp_path, seed=seed), result_of(seed=seed), ROWS)
    frame = load_results(tmp_path)
    assert list(frame["seed"]) == [0, 1]
    assert frame["value"].tolist() == [85.123456789012] * 2
    assert (frame.loc[0, "unit"], frame.loc[0, "ci_low"], frame.loc[0, "miniature"]) == ("%", 84.0, False)


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no results folder"):
        read_all([tmp_path / "gone"])
