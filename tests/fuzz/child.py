"""Runs one input in a child process with limits, and says how it ended."""

from __future__ import annotations

import faulthandler
import os
import pickle
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from croco_bench.errors import BenchError, Stopped

Kind = Literal["sentence", "right", "other", "wrong", "long", "traceback", "hang", "memory", "signal"]
# An input that ends in one of these is a fault.
FAULTS: tuple[Kind, ...] = ("wrong", "long", "traceback", "hang", "memory", "signal")

ROOT = Path(__file__).parents[2]
SECONDS = 5.0  # of processor time, which other work on the machine doesn't change
_WALL_SECONDS = 60.0  # for what waits without working
GROWTH = 2**30  # bytes of memory in use, above those of the parent
_ADDRESSES = 3 * 2**30  # bytes of memory asked for, above those of the parent


@dataclass(frozen=True)
class Outcome:
    """How an input ended.

    Attributes:
        kind: `sentence`: one clear error; `right`: the values of the undamaged input; `other`: other values; `wrong`: other
            values, though the format could have told; `long`: an error of several lines.
        text: the value's digest, the error, or the place of a traceback.
        seconds: of processor time.
    """

    kind: Kind
    text: str
    seconds: float = 0.0

    @property
    def is_fault(self) -> bool:
        """Whether it should be mended."""
        return self.kind in FAULTS


def outcome_of(probe: Callable[[], str], expected: str | None = None, *, knowable: bool = False) -> Outcome:
    """The outcome of `probe`, called in a child process.

    Args:
        probe: reads an input, and returns a text that tells its values from others.
        expected: the text of the undamaged input.
        knowable: whether the format has a checksum or an end that tells of the damage.
    """
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        _work(probe, writable)
    os.close(writable)
    answer = _answer(readable, child)
    _, status, usage = os.wait4(child, 0)
    seconds = usage.ru_utime + usage.ru_stime
    if answer is None or os.WIFSIGNALED(status) or not answer:
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        hung = answer is None or number in (signal.SIGXCPU, signal.SIGKILL)
        return Outcome("hang" if hung else "signal", "" if hung else f"signal {number}, exit {status}", seconds)
    kind, text, resident = pickle.loads(answer)
    grown = 1024 * usage.ru_maxrss - resident
    if grown > GROWTH:
        return Outcome("memory", f"{grown / 2**20:.0f} MiB; {text}", seconds)
    if seconds > SECONDS:
        return Outcome("hang", text, seconds)
    if kind == "value":
        kind = "right" if expected == text else "wrong" if knowable else "other"
    return Outcome(kind, text, seconds)


def _answer(readable: int, child: int) -> bytes | None:
    """What the child writes up to its end; None if it takes too long, and is killed."""
    parts: list[bytes] = []
    ends = time.monotonic() + _WALL_SECONDS
    with os.fdopen(readable, "rb", buffering=0) as stream:
        while select.select([stream], [], [], max(ends - time.monotonic(), 0))[0]:
            part = stream.read(65536)
            if not part:
                return b"".join(parts)
            parts.append(part)
    os.kill(child, signal.SIGKILL)
    return None


def _work(probe: Callable[[], str], writable: int) -> None:
    """Runs the probe, writes kind, text and the memory in use before (bytes), and ends the process."""
    try:
        faulthandler.disable()  # the parent tells how this process ended
        _limit()
        resident = _resident()
        os.write(writable, pickle.dumps((*_called(probe), resident)))
    finally:
        os._exit(0)


def _limit() -> None:
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    processor = int(SECONDS) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (processor, processor + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_virtual() + _ADDRESSES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silent, stream)
    warnings.simplefilter("ignore")


def _called(probe: Callable[[], str]) -> tuple[str, str]:
    try:
        return "value", probe()
    except BenchError as error:
        text = str(error)
        return ("long" if "\n" in text else "sentence"), text[:1000]
    except Stopped as error:
        return "sentence", str(error)
    except MemoryError as error:
        return "memory", _place(error)
    except BaseException as error:  # whatever a user would see a traceback of
        return "traceback", _place(error)


def _place(error: BaseException) -> str:
    """The last line of this project in the traceback, and the error."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [frame for frame in frames if frame.filename.startswith(str(ROOT)) and "/tests/" not in frame.filename]
    place = f"{Path(places[-1].filename).relative_to(ROOT)}:{places[-1].lineno}" if places else "?"
    return f"{place} {type(error).__name__}: {str(error)[:150]}"


def _virtual() -> int:
    return _status(0)


def _resident() -> int:
    return _status(1)


def _status(field: int) -> int:
    with open("/proc/self/statm", encoding="ascii") as stream:  # noqa: PTH123
        return int(stream.read().split()[field]) * resource.getpagesize()


if not sys.platform.startswith("linux"):
    raise ImportError("the limits of children are those of Linux")
