"""Processes in a folder of their own: started, watched, stopped by a signal, and looked for afterwards."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A process that takes longer hangs; machines that do much else are slow.
TIMEOUT_S = 1200.0
_MARK = "CROCO_BENCH_FAULTS"
_MODULE = ["-m", "croco_bench"]
# Read by Python when it starts, so that a fork can't follow them.
_START_ONLY = {"PYTHONHASHSEED", "LANG"}


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


class Child:
    """A child process, started anew or forked; its output goes to files."""

    def __init__(self, pid: int, out: Path, err: Path) -> None:
        self.pid, self._out, self._err = pid, out, err
        self._began, self._ended = time.monotonic(), 0.0
        self._code: int | None = None

    def poll(self) -> int | None:
        """The exit code; None while the process is at work."""
        if self._code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self._code, self._ended = os.waitstatus_to_exitcode(status), time.monotonic()
        return self._code

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def end(self) -> Ended:
        """Waits for the end; a process that hangs is killed (exit code -9)."""
        hangs = ""
        while (code := self.poll()) is None:
            if time.monotonic() - self._began > TIMEOUT_S:
                self.send(signal.SIGKILL)
                hangs = f"\nno end within {TIMEOUT_S:.0f} s"
            time.sleep(0.01)
        out, err = (path.read_text(encoding="utf-8", errors="replace") for path in (self._out, self._err))
        return Ended(code, out, err + hangs, self._ended - self._began)


@dataclass(frozen=True)
class Place:
    """A folder for one command: working folder, cache, temporary files, home.

    Attributes:
        folder: the whole.
        environment: variables that differ from this process's.
        warm: fork croco-bench from this process, which has imported everything, instead of starting Python anew.
        mark: stands in the environment of all processes.
        sessions: those of the processes that were started here.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    warm: bool = False
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    sessions: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("end/work", "end/cache", "home", "tmp", "output"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def end(self) -> Path:
        """The folder that holds all files of an end: those in the working folder, and the cache."""
        return self.folder / "end"

    def start(self, line: Sequence[str], prepare: Callable[[], object] | None = None) -> Child:
        """Starts a command here, in a session of its own; `prepare` runs in the new process first."""
        number = len(list((self.folder / "output").iterdir())) // 2
        out, err = (self.folder / "output" / f"{number}.{name}" for name in ("out", "err"))
        environment = {
            **os.environ,
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "CROCO_BENCH_CACHE": str(self.end / "cache"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            **self.environment,
            _MARK: self.mark,
        }

        def begin() -> None:
            # Processes that a shell's background job starts would ignore Ctrl-C.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if prepare is not None:
                prepare()

        if self.warm and list(line[1:3]) == _MODULE and not _START_ONLY & self.environment.keys():
            for path in (out, err):
                path.touch()  # so that the next process has other files
            child = Child(self._fork(line, environment, begin, out, err), out, err)
            self.sessions.append(child.pid)
            return child
        with out.open("wb") as out_stream, err.open("wb") as err_stream:
            process = subprocess.Popen(
                line,
                cwd=self.end / "work",
                env=environment,
                stdout=out_stream,
                stderr=err_stream,
                start_new_session=True,
                preexec_fn=begin,
            )
        process.returncode = 0  # `Child` waits for it
        self.sessions.append(process.pid)
        return Child(process.pid, out, err)

    def _fork(
        self, line: Sequence[str], environment: Mapping[str, str], begin: Callable[[], None], out: Path, err: Path
    ) -> int:
        """The command line of croco-bench in a copy of this process."""
        if pid := os.fork():
            return pid
        os.setsid()
        for path, descriptor in ((out, 1), (err, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(self.end / "work")
        tempfile.tempdir = None
        time.tzset()
        begin()
        sys.argv = ["croco-bench", *line[3:]]
        os._exit(_exit_code_of_main())

    def run(self, line: Sequence[str], prepare: Callable[[], object] | None = None) -> Ended:
        """Starts a command and waits for its end."""
        return self.start(line, prepare).end()

    def helpers(self, patience_s: float = 60.0) -> list[int]:
        """Processes of this place that are still alive, after some seconds to end by themselves. Linux only.

        Python with torch takes a second of processor time to end, on a busy machine many seconds.
        """
        until = time.monotonic() + patience_s
        while (alive := self.alive()) and time.monotonic() < until:
            time.sleep(0.1)
        return alive

    def alive(self, *variables: str) -> list[int]:
        """Living processes that were started here, those with these variables (`NAME=VALUE`) in their environment."""
        wanted = {f"{_MARK}={self.mark}".encode(), *(variable.encode() for variable in variables)}
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                marked = wanted <= set((path / "environ").read_bytes().split(b"\0"))
                state, _, _, session = (path / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            # A fork's environment, as the system shows it, is that of the process that it was forked from.
            if state != "Z" and (marked or (not variables and int(session) in self.sessions)):
                found.append(int(path.name))
        return found

    def temporary_files(self) -> list[Path]:
        """Files that are being written."""
        return [path for path in self.end.rglob(".*") if ".partial" in path.name]

    def has_begun(self) -> bool:
        """Whether a file or folder was written."""
        return any((self.end / "work").iterdir()) or any((self.end / "cache").iterdir())


def _exit_code_of_main() -> int:
    """Runs the command line to the end of an ordinary process: threads are joined, what was registered for the end is run."""
    from croco_bench.cli.main import main

    code: object = 1
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    return code if isinstance(code, int) else int(code is not None)
