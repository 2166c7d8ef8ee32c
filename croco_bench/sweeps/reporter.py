"""The state file of a run at work: written at its start and end, when it goes on, and regularly as a sign of life."""

from __future__ import annotations

import os
import socket
import threading
import time
from types import TracebackType
from typing import Literal

from croco_bench import progress
from croco_bench.errors import RecordError
from croco_bench.sweeps.cells import Cell
from croco_bench.sweeps.state import BEAT_S, CellState, SweepFolder

_LEAST_S = 1.0


class Reporter:
    """A context manager around one run. What can't be written is left out: the run itself is worth more."""

    def __init__(self, folder: SweepFolder, cell: Cell, signature: str) -> None:
        self._folder, self._cell = folder, cell
        self._before = folder.read(cell)
        now, paths = time.time(), cell.paths(folder.results)
        self._state = CellState(
            status="running",
            signature=signature,
            text="starting",
            resumed=(paths.folder / "last.pt").is_file() or paths.json.is_file(),
            host=socket.gethostname(),
            pid=os.getpid(),
            started=now,
            beat=now,
        )
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def __enter__(self) -> Reporter:
        self._write()
        progress.listener = self.progress
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Without `end`, another process is at work on the run: the state is again that of before, unless it wrote one."""
        progress.listener = None
        self._ended.set()
        now = self._folder.read(self._cell)
        if self._state.status == "running" and self._before is not None and now is not None and now.pid == os.getpid():
            self._folder.write(self._cell, self._before)

    @property
    def seconds(self) -> float:
        """Since the run was begun."""
        return time.monotonic() - self._began

    def progress(self, title: str, done: int, total: int, left_s: float) -> None:
        """Of a bar of the run."""
        if time.time() - self._state.beat >= _LEAST_S or done == total:
            self._change(text=f"{title} {done}/{total}", left_s=left_s)

    def end(self, status: Literal["done", "failed", "stopped"], text: str = "", key: str | None = None) -> None:
        """Writes how the run ended."""
        self._ended.set()
        self._change(status=status, text=text, key=key, left_s=None)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            self._change()

    def _change(self, **values: object) -> None:
        with self._lock:
            if self._state.status == "running":
                now = {"beat": time.time(), "seconds": self.seconds}
                self._state = self._state.model_copy(update={**now, **values})
                self._write()

    def _write(self) -> None:
        try:
            self._folder.write(self._cell, self._state)
        except RecordError as error:
            progress.log(str(error))
