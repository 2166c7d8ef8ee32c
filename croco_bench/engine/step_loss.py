"""The loss of an optimiser step, read on the host while the device works on the next step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from croco_bench.errors import DivergedError


class StepLoss:
    """The mean loss of a step, on its way from the device to the host.

    The copy is queued behind the step's own work: reading it waits for this step, not for those that were queued later.

    Attributes:
        done: number of finished steps once this one is.
        rate: learning rate of the step.
    """

    def __init__(self, loss: Tensor, *, done: int, rate: float) -> None:
        """`loss` is a scalar on any device."""
        self.done, self.rate = done, rate
        self._host = loss.detach().to("cpu", non_blocking=True)  # pinned memory, where the device is a GPU
        self._copied: torch.cuda.Event | None = None
        if loss.device.type == "cuda":
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record(torch.cuda.current_stream(loss.device))

    @property
    def is_finite(self) -> bool:
        """Whether it is a finite number."""
        return math.isfinite(self._read())

    def value(self) -> float:
        """The loss.

        Raises:
            DivergedError: it is not finite.
        """
        value = self._read()
        if not math.isfinite(value):
            raise DivergedError(
                f"the loss is {value} at step {self.done}",
                "lower the learning rate (--set optim.lr or optim.blr), raise "
                "--set optim.warmup or set optim.clip_grad=1; the state of the last save stays where it is",
            )
        return value

    def _read(self) -> float:
        if self._copied is not None:
            self._copied.synchronize()
        return float(self._host)
