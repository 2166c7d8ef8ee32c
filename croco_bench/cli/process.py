"""The process around a command: signals, and streams that can't be written."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

import typer
from typer.core import TyperGroup

from croco_bench.errors import Stopped
from croco_bench.progress import log
from croco_bench.signals import Repeats


class Commands(TyperGroup):
    """Commands that a signal ends with a sentence and the usual exit code, 128 + its number."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            stopped = error if isinstance(error, Stopped) else Stopped(signal.SIGINT)
            log(f"croco-bench: stopped by {stopped.signal.name}; {stopped.outcome}")
            raise typer.Exit(128 + stopped.signal) from error


def raise_on_signals() -> None:
    """Lets SIGTERM and the warning signal of clusters end a command like Ctrl-C, by an exception."""
    repeats = Repeats()

    def receive(number: int, _: FrameType | None) -> None:
        if not repeats.has(number):
            raise Stopped(signal.Signals(number))

    for name in ("SIGTERM", "SIGUSR1"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
            signal.signal(getattr(signal, name), receive)


def close_output() -> int:
    """Writes what stdout still holds; exit code 1, and a sentence, where it can't be written.

    A reader that has seen enough (`| head`) is no error. Whatever the command computed is on disk before it is printed.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
        return 0
    except BrokenPipeError:
        _discard_output()
        return 0
    except (OSError, ValueError) as error:
        return output_failed(error)


def output_failed(error: OSError | ValueError) -> int:
    """Says why stdout can't be written. Exit code 1."""
    _discard_output()
    log(f"croco-bench: can't write to standard output: {getattr(error, 'strerror', None) or error}")
    return 1


def _discard_output() -> None:
    # Python flushes the stream once more at exit, which would fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
