"""The demo: what it runs, its one line of progress, and the whole of it on tiny data, killed and begun again."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from croco_bench.backbones import zoo
from croco_bench.data.miniatures.make import MINIATURES, make_mini
from croco_bench.errors import UsageError
from croco_bench.sweeps.estimate import Estimates
from croco_bench.sweeps.overview import look
from croco_bench.sweeps.state import SweepFolder
from croco_bench.workflows import demo
from croco_bench.workflows.demo_plan import DemoPlan, Protocol, demo_plan
from croco_bench.workflows.demo_progress import DemoLine

TINY = DemoPlan((Protocol("smoke", "nyuv2-depth", 5.0), Protocol("smoke-knn-dense", "ade20k-seg", 1.0)))


def test_all_backbones_run_every_protocol_and_other_tasks_are_packaged() -> None:
    plan = demo_plan()
    assert len(plan.sweep.cells) == len(plan.protocols) * (1 + len(zoo.packaged()))
    tasks = {file.result.task.name for file in plan.packaged()}
    assert "nyuv2-depth" not in tasks and tasks >= {"stereo", "sintel-flow", "taskonomy-depth", "imagenet-linear"}
    assert plan.rendering_s.keys() <= MINIATURES.keys()


def test_the_quick_one_is_a_part_of_the_whole_beside_more_packaged_results() -> None:
    quick, whole = demo_plan(quick=True), demo_plan()
    assert set(quick.protocols) < set(whole.protocols)
    assert len(quick.packaged()) > len(whole.packaged())


def test_chosen_tasks_are_fine_tuned_and_stand_alone() -> None:
    plan = demo_plan(["stereo"], seeds=2)
    assert {(cell.recipe, cell.task) for cell in plan.sweep.cells} == {("mini", "stereo")}
    assert {cell.seed for cell in plan.sweep.cells} == {0, 1} and not plan.packaged()
    for tasks, quick in ((["stereo"], True), (["no-task"], False)):
        with pytest.raises(UsageError):
            demo_plan(tasks, quick=quick)


def test_the_time_left_follows_the_pace_of_the_rendering(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """10 s of rendering took 30 s, and another 10 s count as expected: what is left takes twice as long as expected."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    line = DemoLine(TINY.sweep, {"nyuv2": 10.0, "ade20k": 20.0}, jobs=1)
    assert line.left_s == 30 + 5 * (5 + 1)
    with line.rendering("nyuv2"):
        now = 130.0
    assert line.left_s == 2 * (20 + 30)
    assert line.paced().expected_s == {("smoke", "nyuv2-depth"): 10.0, ("smoke-knn-dense", "ade20k-seg"): 2.0}


def test_expected_times_count_until_a_run_has_a_record() -> None:
    plan = TINY.sweep
    known = Estimates(expected_s=plan.expected_s)
    first, last = plan.cells[0], plan.cells[-1]
    assert (known.of(first), known.of(last)) == (5.0, 1.0)
    known.add((first.recipe, first.task, first.name), 15.0)
    assert (known.of(first), known.of(last)) == (15.0, 3.0)


def test_the_overview_of_runs_that_nobody_timed_has_a_time_left(tmp_path: Path) -> None:
    plan = TINY.sweep
    overview = look(SweepFolder(tmp_path), plan.cells, 2, Estimates(expected_s=plan.expected_s))
    assert overview.left_s == (5 * 5 + 5 * 1) / 2


@pytest.mark.slow
@pytest.mark.processes
def test_the_demo_prints_tables_and_writes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second call runs nothing, and shows the same."""
    monkeypatch.setattr(demo, "make_mini", functools.partial(make_mini, tiny=True))
    demo.demo(tmp_path, TINY, jobs=2, open_page=False)
    first = capsys.readouterr()
    demo.demo(tmp_path, TINY, jobs=2, open_page=False)
    again = capsys.readouterr()
    assert first.err.count("done     smoke") == 10 and "packaged, not run here: fine-tuned results of" in first.err
    assert "an earlier demo goes on: 10 of 10 runs are done\n" in again.err and "10 to do" not in again.err
    assert first.out == again.out and "recipe smoke," in first.out and "◇" in first.out
    assert "published" not in first.out and "MultiMAE" not in first.out
    page = (tmp_path / "index.html").read_text()
    assert page.count("data:image/webp;base64,") == 10 and "packaged, not run here" in page
    assert all(name in page for name in ("random", *zoo.packaged()))


SCRIPT = """
import functools, sys
from pathlib import Path
from croco_bench.data.miniatures.make import make_mini
from croco_bench.workflows import demo
from croco_bench.workflows.demo_plan import DemoPlan, Protocol
demo.make_mini = functools.partial(make_mini, tiny=True)
if __name__ == "__main__":
    demo.demo(Path(sys.argv[1]), DemoPlan((Protocol("smoke", "nyuv2-depth", 5.0),), beside=False), jobs=1)
"""


@pytest.mark.slow
@pytest.mark.processes
def test_a_killed_demo_goes_on_and_says_so(tmp_path: Path) -> None:
    script, out = tmp_path / "script.py", tmp_path / "out"
    script.write_text(SCRIPT)
    line = [sys.executable, str(script), str(out)]
    with subprocess.Popen(line, stderr=subprocess.PIPE, start_new_session=True) as process:
        deadline = time.monotonic() + 300
        while not list(out.glob("results/smoke/*/*/seed0.json")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert "an earlier demo goes on: " in done.stderr and "of 5 runs are done" in done.stderr
    assert len(list(out.glob("results/smoke/*/*/seed0.json"))) == 5 and "recipe smoke" in done.stdout
