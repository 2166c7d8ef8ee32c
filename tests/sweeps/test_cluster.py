"""Sweeps as jobs: with submitit's local executor, with a stand-in for Slurm, and what options become."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from croco_bench.errors import UsageError
from croco_bench.sweeps import job_ends
from croco_bench.sweeps.cells import Cell
from croco_bench.sweeps.cluster import Cluster, parameters
from croco_bench.sweeps.job_ends import JobEnds
from croco_bench.sweeps.state import CellState, SweepFolder

LONG = ("train.steps=120", "train.select_every=40", "train.save_seconds=0")
RANDOM = Cell("nyuv2-depth", "smoke", "random", "random:mini-croco", 0, LONG)
# Stand-ins for Slurm's programs: they start an array's jobs as processes, tell which are at work, and signal them.
SBATCH = """#!{python}
import os, re, subprocess, sys, pathlib
text = pathlib.Path(sys.argv[1]).read_text()
assert "#SBATCH --partition=gpu" in text and "#SBATCH --qos=low" in text and "#SBATCH --time=90" in text, text
count = int(re.search("array=0-([0-9]+)%2", text)[1]) + 1
for index in range(count):
    out = re.search("output=(.*)", text)[1].strip("'").replace("%A", "77").replace("%a", str(index))
    ids = dict(SLURM_ARRAY_JOB_ID="77", SLURM_ARRAY_TASK_ID=str(index), SLURM_JOB_ID=f"{{78 + index}}", SLURM_LOCALID="0")
    with open(out.replace(".out", ".sbatch"), "w") as stream:
        subprocess.Popen(["bash", sys.argv[1]], env={{**os.environ, **ids}}, stdout=stream, stderr=stream)
print("Submitted batch job 77")
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do
  if [[ $1 == --unbuffered ]]; then shift; else shift 2; fi
done
exec "$@"
"""


def command(data: Path, results: Path, *more: str) -> list[str]:
    sets = [word for change in LONG for word in ("--set", change)]
    words = ["sweep", "--ckpt", "random=random:mini-croco", "--task", "nyuv2-depth", "--recipe", "smoke", *sets]
    where = ["--device", "cpu", "--data-root", str(data), "--results", str(results)]
    return [sys.executable, "-m", "croco_bench", *words, *where, *more]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def training(results: Path) -> CellState | None:
    state = SweepFolder(results).read(RANDOM)
    return state if state and state.status == "running" and state.text.startswith("train ") else None


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize(("number", "said"), [(signal.SIGUSR2, "saved after step"), (signal.SIGKILL, "died")])
def test_a_job_that_ends_early_is_submitted_again_and_goes_on(
    number: signal.Signals, said: str, tiny_data: Path, tmp_path: Path
) -> None:
    line = command(tiny_data, tmp_path, "--executor", "submitit-local", "--time", "60")
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: training(tmp_path))
        state = training(tmp_path)
        assert state is not None
        os.kill(parent(parent(state.pid)), number)  # the job, which forks from a process that forks workers
        told = process.communicate()[1]
    assert process.returncode == 0 and "1 runs: 1 done" in told, told
    log = SweepFolder(tmp_path).log(RANDOM).read_text()
    assert said in told + log and "going on from step" in log


@pytest.mark.slow
@pytest.mark.processes
def test_an_array_of_slurm_jobs_does_the_runs(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("sbatch", SBATCH.format(python=sys.executable)), ("srun", SRUN)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    slurm = ["--executor", "slurm", "--partition", "gpu", "--slurm", "qos=low", "--time", "1:30:00", "--jobs", "2"]
    line = command(tiny_data, tmp_path / "results", "--seeds", "3", "--per-job", "2", "--set", "train.steps=3", *slurm)
    told = subprocess.run(line, capture_output=True, text=True, check=True).stderr
    assert "submitted 2 jobs: 77_0, 77_1" in told and "3 runs: 3 done" in told
    again = subprocess.run(line, capture_output=True, text=True, check=True).stderr
    assert again == "3 runs: 3 done, 0 to do\n"


@pytest.mark.parametrize(
    ("text", "minutes"), [("45", 45), ("1:30:00", 90), ("2-00", 2880), ("1-02:30", 1590), ("10:30", 11), ("0", 1)]
)
def test_times_are_slurms(text: str, minutes: int) -> None:
    assert parameters(Cluster("slurm", {"time": text}))["timeout_min"] == minutes


def test_options_have_submitits_names_and_unknown_ones_go_through() -> None:
    given = {"partition": "gpu", "mem": "32GB", "gpus": "2", "cpus": "8", "reservation": "x"}
    found = parameters(Cluster("slurm", given, jobs=7))
    assert found["slurm_partition"] == "gpu" and found["slurm_mem"] == "32GB"
    assert (found["gpus_per_node"], found["cpus_per_task"], found["slurm_array_parallelism"]) == (2, 8, 7)
    assert found["slurm_additional_parameters"] == {"reservation": "x"}
    for wrong in ({"time": "soon"}, {"gpus": "two"}):
        with pytest.raises(UsageError):
            parameters(Cluster("slurm", wrong))


class Job:
    """One of submitit's jobs, as far as its end is concerned."""

    def __init__(self, job_id: str, folder: Path) -> None:
        self.job_id = job_id
        self.paths = SimpleNamespace(result_pickle=folder / f"{job_id}_0_result.pkl")


def test_a_job_that_slurms_queue_lacks_twice_is_over_without_accounting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(job_ends, "_ASK_S", -1.0)
    jobs = [Job(f"7_{index}", tmp_path) for index in range(3)]
    done, waiting, died = jobs
    done.paths.result_pickle.touch()

    def answer(text: str) -> None:
        (tmp_path / "squeue").write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "squeue").chmod(0o755)

    ends = JobEnds(slurm=True)
    answer("echo 7_1; echo 7_2")
    assert ends.over(jobs) == [done]
    answer("exit 1")  # the queue can't be asked
    assert ends.over(jobs) == ends.over(jobs) == [done]
    answer("echo 7_1")
    assert ends.over(jobs) == [done]
    answer("echo 7_1; echo 7_2")  # queued again
    assert ends.over(jobs) == [done]
    answer("echo 7_1")
    assert ends.over([waiting, died]) == []
    assert ends.over([waiting, died]) == [died]


@pytest.mark.slow
@pytest.mark.processes
def test_without_slurm_there_is_one_sentence(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    line = command(tiny_data, tmp_path, "--executor", "slurm")
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "srun" in done.stderr and "Traceback" not in done.stderr
    short = subprocess.run([*line, "--time", "0:02:00"], capture_output=True, text=True, check=False)
    assert short.returncode == 2 and "leaves a job no time to work" in short.stderr
