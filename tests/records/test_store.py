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
    with pytest.warns(UserWarning, match="left out: .*seed1") as warned:
        assert set(load_results(tmp_path)["seed"]) == {0}
    assert Path(warned[0].filename) == Path(__file__)
    slot.json.unlink()
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


def test_a_fresh_start_removes_everything_of_an_unfinished_run_but_the_lock(tmp_path: Path) -> None:
    slot = slot_in(tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    with slot.lock():
        (slot.folder / "tensorboard").mkdir()
        (slot.folder / "last.pt").write_text("x")
        (slot.folder / "link").symlink_to(outside)
        slot.begin(fresh=True)
        assert {path.name for path in slot.folder.iterdir()} <= {"lock"}
        assert slot.at_work() == slot
    assert (outside / "kept").exists()


def test_leftovers_of_killed_processes_are_swept(tmp_path: Path, result_of: Any) -> None:
    slot = slot_in(tmp_path)
    with slot.lock():
        write(slot, result_of(), ROWS)
        (slot.folder / ".last.pt.abc.partial").touch()
        (slot.folder.parent / f".{slot.json.name}.abc.partial").touch()
        (slot.folder.parent / ".seed12.json.abc.partial").touch()  # another run's
        slot.begin(fresh=False)
    assert sorted(path.name for path in tmp_path.rglob("*.partial")) == [".seed12.json.abc.partial"]
    assert slot.json.exists() and slot.rows.exists()


@pytest.mark.parametrize("killed_after", range(5))
def test_replacing_a_result_can_be_killed_anywhere(
    killed_after: int, tmp_path: Path, result_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old files, or after the next command the new ones; the old breakdown has no successor."""
    slot = slot_in(tmp_path)
    with slot.lock():
        write(slot, result_of(), ROWS)
        for name in ("log.jsonl", "sheet.png", "breakdown.csv"):
            (slot.folder / name).write_text("old")
        slot.begin(fresh=True)
        work = slot.at_work()
        assert work.folder != slot.folder and work.json == slot.json and work.rows == slot.rows
        for name in ("log.jsonl", "sheet.png", "last.pt"):
            (work.folder / name).write_text("new")
        calls = 0

        def rename(self: Path, target: Path) -> Path:
            nonlocal calls
            calls += 1
            if calls > killed_after:
                raise KeyboardInterrupt
            return keep(self, target)

        keep = Path.rename
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", rename)
            if killed_after < 3:
                with pytest.raises(KeyboardInterrupt):
                    work.end()
            else:
                work.end()
        slot.begin(fresh=False)
        assert slot.at_work() == slot
    found = {path.name: path.read_text() for path in slot.folder.iterdir() if path.name != "lock"}
    assert found == {"log.jsonl": "new", "sheet.png": "new", "last.pt": "new"}


def test_a_work_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    slot = slot_in(tmp_path)
    slot.folder.parent.mkdir(parents=True)
    slot.folder.symlink_to(tmp_path)
    with pytest.raises(RecordError, match="is a link to a folder"), slot.lock():
        pass


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
    (tmp_path / "seed0.json").touch()
    with pytest.raises(RecordError, match="is a file, not a folder of results; croco-bench show"):
        read_all([tmp_path / "seed0.json"])


@pytest.mark.parametrize("path", ["r/t/m/seed3 (copy).json", "r/t/m/seed.json", "r/t/m/seed1_0.json", "m/seed3.json"])
def test_a_file_of_another_name_is_told_as_such(path: str) -> None:
    with pytest.raises(RecordError, match=r"isn't RECIPE/TASK/MODEL/seedN\.json; rename it"):
        ResultPaths.of(Path("results") / path if path.count("/") > 1 else Path(path))
