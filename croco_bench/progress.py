"""Progress of long work: a live bar with ETA on a terminal, sparse lines in a log file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from croco_bench.display import printable


class _Console(Console):
    """Prints to stderr for as long as somebody reads it."""

    def on_broken_pipe(self) -> None:
        """Discards what comes from now on; rich itself would end the process here, and with it a training."""
        self.quiet = True
        with suppress(OSError, ValueError):  # Python flushes the stream once more at exit, which would fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


console = _Console(stderr=True)
_LINE_SECONDS = 30.0
# Told title, items done, items in all and seconds left of every bar that goes on: how a sweep follows its runs.
listener: Callable[[str, int, int, float], None] | None = None
_only_told = False


class Bar:
    """A context manager: `with Bar("train", total) as bar: bar.advance(1, "loss 0.12")`.

    `start` items of `total` are done already; nothing is printed unless `shown`.
    """

    def __init__(self, title: str, total: int, *, start: int = 0, shown: bool = True) -> None:
        self._title, self._total, self._done, self._shown = title, total, start, shown
        self._live = shown and console.is_terminal and not _only_told
        self._began, self._start = time.monotonic(), start
        self._last_line = self._began
        self._progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=console,
            disable=not self._live,
        )
        self._task = self._progress.add_task(title, total=total, completed=start, text="")

    def __enter__(self) -> Bar:
        with suppress(OSError, ValueError):
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError, ValueError):
            self._progress.stop()

    def advance(self, by: int, text: str = "") -> None:
        """Counts `by` more items as done and shows `text` beside the bar."""
        self._done += by
        self._progress.update(self._task, completed=self._done, text=text)
        now = time.monotonic()
        left = (now - self._began) / max(self._done - self._start, 1) * (self._total - self._done)
        if self._shown and listener is not None:
            listener(self._title, self._done, self._total, left)
        silent = self._live or _only_told
        if self._shown and not silent and (now - self._last_line > _LINE_SECONDS or self._done >= self._total):
            self._last_line = now
            log(f"{self._title} {self._done}/{self._total}, {_clock(left)} left  {text}".rstrip())


@contextmanager
def only_told(to: Callable[[str, int, int, float], None]) -> Iterator[None]:
    """Inside the block bars show nothing; what they would show is told, as `listener` is. For work with one bar over all."""
    global listener, _only_told
    listener, _only_told = to, True
    try:
        yield
    finally:
        listener, _only_told = None, False


def log(text: str) -> None:
    """Prints a line to stderr, above any live bar. A stream that can't be written costs no work."""
    with suppress(OSError, ValueError):
        console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
