"""Progress on a stream that nobody reads or that can't be written: no work is lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_WORK = """
from pathlib import Path
from croco_bench.progress import Bar, log
for number in range(3):
    log("before the work")
with Bar("work", 3) as bar:
    for number in range(3):
        bar.advance(1)
Path("done").touch()
"""


@pytest.mark.processes
def test_work_goes_on_without_a_reader(tmp_path: Path) -> None:
    readable, writable = os.pipe()
    os.close(readable)
    ended = subprocess.run([sys.executable, "-c", _WORK], cwd=tmp_path, stderr=writable, check=False)
    os.close(writable)
    assert ended.returncode == 0 and (tmp_path / "done").is_file()


@pytest.mark.processes
def test_work_goes_on_where_a_log_has_no_space(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run([sys.executable, "-c", _WORK], cwd=tmp_path, stderr=full, check=False)
    assert ended.returncode in (0, 120) and (tmp_path / "done").is_file()
