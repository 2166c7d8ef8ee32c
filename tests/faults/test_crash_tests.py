"""Short forms of the crash tests of benchmarks/faults, and that these would notice a difference."""

import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.faults import disks, together
from benchmarks.faults.bench import Bench
from benchmarks.faults.commands import COMMANDS, DISTRIBUTED
from benchmarks.faults.ends import differences, end_of
from benchmarks.faults.interruptions import strike
from benchmarks.faults.server import archive, serve

GET, RUN = "data get", "run nyuv2-depth"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Places below a temporary folder, and a server of one archive; a test with a fault fails."""
    offered = tmp_path / "offered"
    offered.mkdir()
    (offered / "archive.zip").write_bytes(archive())
    with serve(offered) as server:
        one = Bench(tmp_path / "places", tmp_path / "data", server, random.Random(0), until=time.monotonic() + 600)
        yield one
    assert not one.faults


def write_end(folder: Path, *, seconds: float, value: float = 1.0) -> dict[str, str]:
    """An end that took some seconds, with a value in each file."""
    folder.mkdir()
    tensors = {"weight": torch.tensor([value, 2.0])}
    (folder / "seed0.json").write_text(json.dumps({"metrics": {"a": value}, "timing": {"train_s": seconds}}))
    (folder / "log.jsonl").write_text(json.dumps({"step": 0, "loss": value, "images_per_s": seconds}) + "\n")
    np.savez(folder / "seed0.npz", a=np.array([value]))
    torch.save({"step": 3, "seconds": seconds, "model": tensors}, folder / "last.pt")
    metadata = {"pretraining": json.dumps({"timing": {"seconds": seconds}, "seed": 0})}
    save_file(tensors, folder / "weights.safetensors", metadata=metadata)
    return end_of(folder)


def test_ends_are_equal_up_to_times(tmp_path: Path) -> None:
    one, other = write_end(tmp_path / "one", seconds=1.0), write_end(tmp_path / "other", seconds=2.0)
    assert not differences(one, other) and len(one) == 5


def test_every_other_difference_is_told(tmp_path: Path) -> None:
    one = write_end(tmp_path / "one", seconds=1.0)
    other = write_end(tmp_path / "other", seconds=1.0, value=1.0 + 2**-23)
    assert differences(one, other) == [f"differs: {name}" for name in sorted(one)]
    left = dict(one)
    left[".last.pt.x.partial"] = left.pop("last.pt")
    assert differences(one, left) == ["left over: .last.pt.x.partial", "missing: last.pt"]


def test_distributed_commands_are_known() -> None:
    assert set(DISTRIBUTED) <= COMMANDS.keys()


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_interrupted_download_ends_as_an_undisturbed_one(bench: Bench, number: signal.Signals) -> None:
    place = bench.place(GET)
    child = place.start(bench.line(GET))
    partial = place.end / "work/root/toy/.downloads/archive.zip.partial"
    while child.poll() is None and not (partial.is_file() and partial.stat().st_size):
        time.sleep(0.005)
    assert strike(place, child, time.monotonic(), number)
    stopped = child.end()
    assert stopped.code == (-9 if number == signal.SIGKILL else 143), stopped.err
    assert 0 < partial.stat().st_size < len(archive())
    last = place.run(bench.line(GET))
    assert last.code == 0 and "from byte" in last.err
    assert bench.compare(place, GET) and not place.helpers(1.0)


@pytest.mark.processes
def test_a_download_on_a_full_disk_ends_in_a_sentence_and_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks, "can_mount", lambda: False)
    disks.fill(bench, [GET], 1)
    (row,) = bench.tables[0].rows.values()
    assert row == {"sizes": 1, "one sentence": 1, "fitted": 0, "else": 0, "equal end": 1}


@pytest.mark.processes
def test_identical_downloads_at_once_end_as_one(bench: Bench) -> None:
    table = bench.table("", *together.COLUMNS)
    together.start_twins(bench, table, GET, 3)
    assert table.rows[GET]["equal end"] == 1 and table.rows[GET]["done"] == 3


@pytest.mark.slow
@pytest.mark.processes
def test_a_run_that_is_killed_while_it_saves_ends_as_an_undisturbed_one(bench: Bench, tiny_data: Path) -> None:
    bench.data = tiny_data
    place = bench.place(RUN)
    child = place.start(bench.line(RUN))
    while child.poll() is None and not place.temporary_files():
        time.sleep(0.001)
    assert strike(place, child, time.monotonic(), signal.SIGKILL)
    assert child.end().code == -9
    assert place.run(bench.line(RUN)).code == 0
    assert bench.compare(place, RUN) and not place.helpers(1.0)
