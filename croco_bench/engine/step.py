"""Optimiser steps with accumulation, mixed precision, several processes and sharding; saved states."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from croco_bench.engine.compiling import Compilation
from croco_bench.engine.dataloading import BatchCopier
from croco_bench.engine.optim import Schedule
from croco_bench.errors import DivergedError, OtherResultError
from croco_bench.files import archive_fault, atomic
from croco_bench.seeding import derive
from croco_bench.types import Batch

State = dict[str, Any]


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


class Stepper:
    """Runs a module and its optimiser under an accelerator. Random draws of a step depend on seed and step only.

    Args:
        module: a network, not yet prepared by the accelerator.
        optimizer: over the module's parameters.
        schedule: sets the learning rate of every step.
        loss_of: (prepared module, batch) -> scalar loss in float32; called under autocast.
        accelerator: device, precision, processes.
        accumulate: micro-batches per step.
        clip_grad: largest gradient norm; 0: no clipping.
        compilation: of the module, if it is compiled.
        seed: of random draws in the module, such as dropout.
        sharded: the module was sharded by `shard` before its optimiser was built.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        loss_of: Callable[[nn.Module, Batch], Tensor],
        accelerator: Accelerator,
        *,
        accumulate: int,
        clip_grad: float,
        seed: int,
        sharded: bool = False,
        compilation: Compilation | None = None,
    ) -> None:
        self.module, self.schedule, self.accelerator = module, schedule, accelerator
        self.wrapped = module if sharded else accelerator.prepare(module)
        self.optimizer = accelerator.prepare(optimizer)
        self._loss_of, self._parts, self._clip, self._seed = loss_of, accumulate, clip_grad, seed
        self.sharded, self._plain_optimizer = sharded, optimizer
        self._compilation = compilation
        self._copier = BatchCopier(accelerator.device)

    @property
    def late(self) -> bool:
        """Whether losses should be read one step late: a GPU works on the next step meanwhile."""
        return bool(self.accelerator.device.type == "cuda")

    def step(self, step: int, batches: Iterator[Batch]) -> StepLoss:
        """One optimiser step (0-based) over the accumulated micro-batches.

        Where losses are read late, this only queues the work. A loss that isn't finite has then spoilt the weights by the
        time that it is read: read it before they are used or saved.

        Returns:
            The mean loss over all processes.

        Raises:
            DivergedError: losses aren't read late, and this one is not finite; the weights are as before the step.
        """
        rate, accelerator = self.schedule.set(step), self.accelerator
        self.wrapped.train()
        total = torch.zeros((), device=accelerator.device)
        for part in range(self._parts):
            batch = self._copier(next(batches))
            try:
                total += self._backward(step, part, batch)
            except Exception as error:
                if part or self._compilation is None or not self._compilation.forgives(error):
                    raise
                self.optimizer.zero_grad(set_to_none=True)
                total += self._backward(step, part, batch)
        mean = accelerator.reduce(total, "mean") if accelerator.num_processes > 1 else total
        found = StepLoss(mean, done=step + 1, rate=rate)
        self._apply(found)
        return found

    def _backward(self, step: int, part: int, batch: Batch) -> Tensor:
        """Adds the gradients of a micro-batch; returns its share of the step's loss."""
        accelerator = self.accelerator
        # After the batch: the loader draws from torch's generator when it starts, which is at another step after a restart.
        torch.manual_seed(derive(self._seed, "step", step, part, accelerator.process_index))
        with accelerator.no_sync(self.wrapped) if part + 1 < self._parts else nullcontext():
            with accelerator.autocast():
                loss = self._loss_of(self.wrapped, batch) / self._parts
            accelerator.backward(loss)
        return loss.detach()

    def _apply(self, loss: StepLoss) -> None:
        """Clips the gradients and changes the weights, if the loss allows."""
        try:
            if not self.late:
                loss.value()
            if self._clip:
                self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self._clip)
            self.optimizer.step()
        finally:
            self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> State:
        """Complete weights, optimiser and gradient scaler; data order and random draws need no state.

        If the module is sharded, every process must call this; the first one gets the complete state.
        """
        scaler = self.accelerator.scaler
        if self.sharded:
            options = StateDictOptions(full_state_dict=True, cpu_offload=True)
            network, optimizer = get_state_dict(self.module, self._plain_optimizer, options=options)
        else:
            network, optimizer = self.module.state_dict(), self.optimizer.state_dict()
        return {
            "network": network,
            "optimizer": optimizer,
            "scaler": scaler.state_dict() if scaler is not None else None,
        }

    def restore(self, state: State) -> None:
        """The inverse of `state`."""
        network, optimizer = state["network"], state["optimizer"]
        if self.sharded:
            set_state_dict(
                self.module,
                self._plain_optimizer,
                model_state_dict=network,
                optim_state_dict=optimizer,
                options=StateDictOptions(full_state_dict=True),
            )
        else:
            self.module.load_state_dict(network)
            self.optimizer.load_state_dict(optimizer)
        if state["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])


def shard(module: nn.Module, blocks: Iterable[nn.Module], methods: Iterable[str], accelerator: Accelerator) -> None:
    """Shards the weights over all processes in place (FSDP).

    Args:
        module: the network.
        blocks: modules that are gathered one at a time.
        methods: names of methods, besides `forward`, that use the weights.
        accelerator: device and processes.
    """
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    module.to(accelerator.device)
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    for method in methods:
        register_fsdp_forward_method(module, method)


def save_state(path: Path, state: State) -> None:
    """Writes a state atomically."""
    # To an open file: given a path, torch writes the temporary name into the archive, and equal states differ.
    with atomic(path) as temporary, temporary.open("wb") as stream:
        torch.save(state, stream)


def unreadable_state(path: Path, error: Exception) -> OtherResultError:
    """The error of a saved state that is damaged, or has other content."""
    reason = (isinstance(error, OSError) and error.strerror) or type(error).__name__
    return OtherResultError(f"the saved state {path} can't be read ({reason})", "start over with --fresh")


def load_state(path: Path, key: str) -> State | None:
    """The saved state of a training; None without a file.

    Raises:
        OtherResultError: the file is damaged, or belongs to a training with another `key`.
    """
    if not path.is_file():
        return None
    fault = archive_fault(path)
    if fault:
        raise OtherResultError(f"the saved state {path} can't be read: {fault}", "start over with --fresh")
    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise unreadable_state(path, error) from error
    if not isinstance(state, dict) or state.get("key") != key:
        raise OtherResultError(
            f"{path.parent} holds a run with other settings, data or weights",
            "choose another name or folder to keep both, or --fresh to start over",
        )
    return state
