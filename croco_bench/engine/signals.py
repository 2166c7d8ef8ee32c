"""Signals that end a training: the step at work is finished and its state saved before the process stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from croco_bench.errors import Stopped
from croco_bench.signals import STOPPING, Repeats


class StopRequest:
    """The first signal that came; None so far."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._repeats = Repeats()

    def receive(self, number: int, _: FrameType | None) -> None:
        """Notes the signal. A second one doesn't wait for the step and its save, unless it is the same within a second.

        Raises:
            Stopped: it is the second signal.
        """
        if self._repeats.has(number):
            return
        if self.signal is not None:
            raise Stopped(signal.Signals(number))
        self.signal = signal.Signals(number)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Inside the block signals that end a process are only noted. Signals that the process ignores stay ignored.

    Raises:
        Stopped: after a signal, in place of an error of the block: where several processes train, those that go on while
            the first one has saved and left fail in a collective operation.
    """
    request = StopRequest()
    before = {}
    # Python allows handlers in the main thread alone.
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, request.receive)
    try:
        yield request
    except Exception as error:
        if request.signal is None:
            raise
        raise Stopped(request.signal) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
