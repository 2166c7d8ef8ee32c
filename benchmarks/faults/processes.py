"""Processes in a folder of their own: started, watched, stopped by a signal, and looked for afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# A process that takes longer hangs.
TIMEOUT_S = 300.0
_MARK = "CROCO_BENCH_FAULTS"


@dataclass(frozen=True)
class Ended:
    """An ended process: exit code (negative for a signal), what it wrote, and the seconds that it took."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def is_sentence(self) -> bool:
        """Whether it failed as it should: exit code 1, and one line of the program's own on stderr as the last one."""
        lines = self.err.strip().splitlines()
        return self.code == 1 and "Traceback" not in self.err and bool(lines) and lines[-1].startswith("croco-bench: ")


@dataclass(frozen=True)
class Place:
    """A folder for one command: working folder `work`, cache, temporary files, home.

    Attributes:
        folder: the whole.
        environment: variables that differ from this process's.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        for name in ("end/work", "end/cache", "home", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def end(self) -> Path:
        """The folder that holds all files of an end: those in the working folder, and the cache."""
        return self.folder / "end"

    def start(self, line: Sequence[str], prepare: Callable[[], object] | None = None) -> subprocess.Popen[str]:
        """Starts a command here; `prepare` runs in the new process first."""

        def begin() -> None:
            # Processes that a shell's background job starts would ignore Ctrl-C.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if prepare is not None:
                prepare()

        environment = {
            **os.environ,
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "CROCO_BENCH_CACHE": str(self.end / "cache"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")])),
            **self.environment,
            _MARK: self.mark,
        }
        return subprocess.Popen(
            line,
            cwd=self.end / "work",
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            preexec_fn=begin,
        )

    def run(self, line: Sequence[str], prepare: Callable[[], object] | None = None) -> Ended:
        """Starts a command and waits for its end."""
        began = time.monotonic()
        return ended(self.start(line, prepare), began)

    def helpers(self, patience_s: float = 5.0) -> list[int]:
        """Processes of this place that are still alive, after some seconds to end by themselves. Linux only."""
        until = time.monotonic() + patience_s
        while (alive := self.alive()) and time.monotonic() < until:
            time.sleep(0.1)
        return alive

    def alive(self, *variables: str) -> list[int]:
        """Living processes that were started here, with these variables (`NAME=VALUE`) in their environment."""
        wanted = {f"{_MARK}={self.mark}".encode(), *(variable.encode() for variable in variables)}
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if wanted <= set(path.read_bytes().split(b"\0")):
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found

    def temporary_files(self) -> list[Path]:
        """Files that are being written."""
        return [path for path in self.end.rglob(".*") if ".partial" in path.name]

    def has_begun(self) -> bool:
        """Whether a file or folder was written."""
        return any((self.end / "work").iterdir()) or any((self.end / "cache").iterdir())


def ended(process: subprocess.Popen[str], began: float) -> Ended:
    """Waits for the end; a process that hangs is killed (exit code -9)."""
    try:
        out, err = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        err += f"\nno end within {TIMEOUT_S:.0f} s"
    return Ended(process.returncode, out, err, time.monotonic() - began)
