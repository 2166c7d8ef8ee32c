"""Counts what would make the host wait for a GPU, on the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from croco_bench import valid_pixels
from croco_bench.engine import dataloading, network
from croco_bench.engine.dataloading import training_batches
from croco_bench.engine.loop import TrainingLoop
from croco_bench.engine.step import Stepper

# Operations whose result the host needs before it can go on, that ask a GPU whether they failed, or that copy a constant to it.
_WAIT = {
    "_linalg_check_errors",
    "_linalg_eigh",
    "_linalg_svd",
    "_local_scalar_dense",
    "_unique2",
    "equal",
    "lift_fresh",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "unique_dim",
}
# Methods that copy to the host without an operation of their own where the tensor is on the host already.
_COPIES = ("cpu", "numpy", "tolist")


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Names of operations that would make the host wait for a GPU. Optimisers keep their step counts on the host."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []
        self.paused = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket._qualified_op_name.partition("::")[2]
        if name in _WAIT or (name in ("index", "_unsafe_index") and _has_mask(args[1])):
            self.note(name)
        return func(*args, **(kwargs or {}))

    def note(self, name: str) -> None:
        """Notes a wait."""
        if not self.paused:
            self.found.append(name)

    def _unseen(self, function: Any) -> Any:
        def call(*args: Any) -> Any:
            self.paused = True
            try:
                return function(*args)
            finally:
                self.paused = False

        return call

    @contextmanager
    def counted(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Counts inside the block, except in optimisers."""
        hooks = [
            register_optimizer_step_pre_hook(lambda *_: setattr(self, "paused", True)),
            register_optimizer_step_post_hook(lambda *_: setattr(self, "paused", False)),
        ]
        with monkeypatch.context() as patch, self:
            for name in _COPIES:
                method = getattr(torch.Tensor, name)
                patch.setattr(torch.Tensor, name, _noted(self, name, method))
            patch.setattr(torch.Tensor, "__getitem__", _noted_lists(self, torch.Tensor.__getitem__))
            # Copies by pinned memory, while the host goes on.
            patch.setattr(network, "upload", self._unseen(dataloading.upload))
            yield
        for hook in hooks:
            hook.remove()


def _noted(waits: Waits, name: str, method: Any) -> Any:
    def copy(*args: Any, **kwargs: Any) -> Any:
        waits.note(name)
        return method(*args, **kwargs)

    return copy


def _noted_lists(waits: Waits, method: Any) -> Any:
    """Places in a list, or in an array, are copied to the device, and the host waits for the copy."""

    def get(tensor: torch.Tensor, index: Any) -> Any:
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(part, list | range | np.ndarray) for part in parts):
            waits.note("places in a list")
        return method(tensor, index)

    return get


def _has_mask(indices: Any) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def treat_as_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU is treated as a GPU is."""
    monkeypatch.setattr(Stepper, "late", True)
    monkeypatch.setattr(valid_pixels, "packed_on", lambda device: False)


def waits_of(trainer: TrainingLoop[Any], monkeypatch: pytest.MonkeyPatch, steps: int = 5) -> list[list[str]]:
    """What each of the first steps waits for."""
    job, accelerator = trainer.job, trainer.accelerator
    batches = training_batches(trainer._reader, trainer._transform, job.plan, accelerator, seed=0, start=0, workers=0)
    ready = iter([next(batches) for _ in range(steps * job.plan.accumulate)])
    found = []
    for step in range(steps):
        waits = Waits()
        with waits.counted(monkeypatch):
            trainer.stepper.step(step, ready)
            trainer.follow_weights()
        found.append(waits.found)
    return found
