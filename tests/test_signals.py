"""Workers and the signals of their group."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from croco_bench.data.process_pool import process_pool
from croco_bench.signals import STOPPING, Repeats, leave_to_parent


def wait(path: Path, process: subprocess.Popen[str]) -> None:
    """Until there is something at a path."""
    deadline = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert path.exists()


def left(session: int) -> list[str]:
    """Command lines of processes of a session that are still alive after a while."""
    until = time.monotonic() + 20
    while (found := list(_alive(session))) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def _alive(session: int) -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, number = (path / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(number) == session and state != "Z":
                yield (path / "cmdline").read_text()
        except OSError:  # it has ended
            continue


def test_a_signal_that_follows_the_same_one_at_once_is_a_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    repeats = Repeats()
    assert [repeats.has(15), repeats.has(15), repeats.has(2), repeats.has(15)] == [False, True, False, False]
    now = 11.5
    assert not repeats.has(15)


_HELD_BACK = """
import os, signal
from croco_bench.signals import held_back
came = []
signal.signal(signal.SIGUSR1, lambda *_: came.append("signal"))
with held_back():
    os.kill(os.getpid(), signal.SIGUSR1)
    came.append("block")
assert came == ["block", "signal"], came
"""


def test_signals_arrive_after_the_block() -> None:
    """In a fresh process: other threads of this one would take the signal at once."""
    subprocess.run([sys.executable, "-c", _HELD_BACK], check=True)


def _work(said: "multiprocessing.SimpleQueue[str]") -> None:
    leave_to_parent()
    said.put("ready")
    time.sleep(60)


def test_a_worker_ends_by_its_parent_alone() -> None:
    context = multiprocessing.get_context("spawn")
    said: multiprocessing.SimpleQueue[str] = context.SimpleQueue()
    worker = context.Process(target=_work, args=(said,), daemon=True)
    worker.start()
    assert said.get() == "ready" and worker.pid
    for number in STOPPING:
        subprocess.run(["kill", f"-{number.name}", str(worker.pid)], check=True)
    worker.join(0.3)
    assert worker.is_alive()
    worker.terminate()
    worker.join(30)
    assert worker.exitcode == 0


def _die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.processes
def test_a_pool_of_which_one_process_was_killed_ends() -> None:
    with pytest.raises(BrokenProcessPool), process_pool(2) as pool:
        list(pool.map(_die, range(2)))


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("sigint_is_obeyed")
def test_a_signal_to_all_processes_of_a_command_is_one_sentence(number: signal.Signals, tmp_path: Path) -> None:
    words = ["data", "make-mini", str(tmp_path / "mini"), "--only", "nyuv2", "--workers", "2"]
    with subprocess.Popen(
        [sys.executable, "-m", "croco_bench", *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        wait(tmp_path / "mini", process)
        time.sleep(0.3)  # some of its processes are starting
        os.killpg(process.pid, number)
        said = process.communicate()[1]
    assert process.returncode == 128 + number, said
    assert said.splitlines()[-1].startswith(f"croco-bench: stopped by {number.name}")
    assert "Traceback" not in said
    assert not left(process.pid)
