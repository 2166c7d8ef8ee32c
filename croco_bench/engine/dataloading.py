"""Batches from readers. Order and augmentation depend on seed and step only, not on workers or restarts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset, default_collate

from croco_bench.config.tables import Loop
from croco_bench.contracts import Evaluation, Reader
from croco_bench.errors import BenchError, DataError, UsageError
from croco_bench.seeding import derive, make_rng
from croco_bench.signals import held_back, leave_to_parent
from croco_bench.tiling import CONTINUES, same_as_before
from croco_bench.types import Array, Batch, Sample

Key = tuple[int, int]


@dataclass(frozen=True)
class Plan:
    """The length of a training in optimiser steps.

    Attributes:
        steps: number of optimiser steps.
        unit: steps per unit of the recipe's lengths: 1, or those of an epoch.
        steps_per_epoch: without the last, incomplete batch.
        micro_batch: images per process and forward pass.
        accumulate: micro-batches per step.
    """

    steps: int
    unit: int
    steps_per_epoch: int
    micro_batch: int
    accumulate: int

    @classmethod
    def of(cls, train: Loop, images: int, processes: int) -> Plan:
        """The plan for a training set of `images` items.

        Raises:
            UsageError: a batch doesn't divide over processes and accumulation, or is larger than the training set.
        """
        parts = processes * train.accumulate
        if train.batch_size % parts:
            raise UsageError(
                f"train.batch_size={train.batch_size} doesn't divide by {processes} processes x {train.accumulate} "
                f"accumulated parts",
                f"use a multiple of {parts}",
            )
        if images < train.batch_size:
            raise UsageError(
                f"the training split has {images} images, fewer than one batch of {train.batch_size}",
                f"lower it with --set train.batch_size={images} or raise --limit",
            )
        per_epoch = images // train.batch_size
        unit = 1 if train.epochs is None else per_epoch
        length = train.steps or train.epochs
        assert length is not None
        return cls(length * unit, unit, per_epoch, train.batch_size // parts, train.accumulate)


class MicroBatches:
    """Batch sampler of one process: keys (index, seed) of its micro-batches, beginning with step `start`.

    Every epoch has its own permutation of all images; a global batch is split into one part per (accumulation, process).
    """

    def __init__(self, plan: Plan, images: int, *, seed: int, start: int, process: int, processes: int) -> None:
        self._plan, self._images, self._seed, self._start = plan, images, seed, start
        self._process, self._processes = process, processes

    def __len__(self) -> int:
        return (self._plan.steps - self._start) * self._plan.accumulate

    def __iter__(self) -> Iterator[list[Key]]:
        size, parts = self._plan.micro_batch, self._plan.accumulate * self._processes
        order, epoch_of_order = np.empty(0, dtype=np.int64), -1
        for step in range(self._start, self._plan.steps):
            epoch, position = divmod(step, self._plan.steps_per_epoch)
            if epoch != epoch_of_order:
                order, epoch_of_order = make_rng(self._seed, "order", epoch).permutation(self._images), epoch
            for part in range(self._plan.accumulate):
                first = (position * parts + part * self._processes + self._process) * size
                yield [(int(i), derive(self._seed, "augment", epoch, int(i))) for i in order[first : first + size]]


class _TrainingSamples(Dataset[Any]):
    def __init__(self, reader: Reader, augment: Callable[[Sample, np.random.Generator], Sample]) -> None:
        self._reader, self._augment = reader, augment

    def __getitem__(self, key: Key) -> Sample | BenchError:
        index, seed = key
        try:
            return self._augment(self._reader[index], np.random.default_rng(seed))
        except BenchError as error:  # returned, not raised: torch would wrap it in a traceback
            return error


class _EvaluationSamples(Dataset[Any]):
    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation

    def __getitem__(self, index: int) -> Sample | BenchError:
        try:
            return {**self._evaluation.prepare(self._evaluation.reader[index]), "index": index}
        except BenchError as error:
            return error


def _raise_first(samples: list[Sample | BenchError]) -> list[Sample]:
    for sample in samples:
        if isinstance(sample, BenchError):
            raise sample
    return samples  # type: ignore[return-value]  # no error is left in it


def _collate_training(samples: list[Sample | BenchError]) -> Batch | BenchError:
    try:
        return default_collate(_raise_first(samples))  # type: ignore[no-any-return]
    except BenchError as error:
        return error


def _collate_evaluation(
    samples: list[Sample | BenchError], *, stacks: bool = True, to_move: bool = False
) -> Batch | BenchError:
    """Stacks network inputs (keys that begin with `image`); targets stay lists, as their sizes may differ.

    Args:
        samples: prepared.
        stacks: otherwise images are lists, too.
        to_move: targets are to be moved to a GPU: arrays become tensors, which the loader pins.
    """

    def collated(key: str, values: list[Any]) -> Any:
        if key.startswith("image"):
            images = [torch.as_tensor(value) for value in values]
            return _stacked(images) if stacks else images
        if to_move and isinstance(values[0], np.ndarray):
            return [torch.from_numpy(np.ascontiguousarray(value)) for value in values]
        return values

    try:
        whole = _raise_first(samples)
        batch = {key: collated(key, [sample[key] for sample in whole]) for key in whole[0]}
        return {**batch, **_continued(batch)} if to_move else batch
    except BenchError as error:
        return error


def _continued(batch: Batch) -> Batch:
    """Of pairs of images: which pairs continue the one before, found before they are on a GPU."""
    one, two = batch.get("image1"), batch.get("image2")
    if not isinstance(one, torch.Tensor) or not isinstance(two, torch.Tensor) or one.shape != two.shape:
        return {}
    return {CONTINUES: same_as_before(one, two)}


def _stacked(images: list[torch.Tensor]) -> torch.Tensor:
    shapes = sorted({tuple(image.shape) for image in images})
    if len(shapes) > 1:
        raise DataError(
            f"images that are scored together differ in size ({shapes[0]} and {shapes[1]})",
            "images of several sizes need batch_size=1 in the task's Evaluation",
        )
    return torch.stack(images)


def _quiet_worker(_: int) -> None:
    leave_to_parent()  # which finishes its step and saves before it ends its workers
    # One thread per worker: there are as many workers as processors.
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def _batches(loader: DataLoader[Any]) -> Iterator[Batch]:
    try:
        with held_back():
            batches = iter(loader)
        for batch in batches:
            if isinstance(batch, BenchError):
                raise batch
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" in str(error):
            raise DataError(
                f"a data-loading worker died ({str(error).splitlines()[0]})",
                "if memory is short, lower it with --set train.workers=0",
            ) from error
        raise


def usable_workers(wanted: int) -> int:
    """Data-loading workers: at most this process's share of the processors minus one, for the network.

    `CROCO_BENCH_CORES` limits them where several runs share the machine.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores //= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # processes that torchrun started on this machine
    share = os.environ.get("CROCO_BENCH_CORES", "")
    return min(wanted, max(min(cores, int(share) if share.isdecimal() else cores) - 1, 0))


def training_batches(
    reader: Reader,
    augment: Callable[[Sample, np.random.Generator], Sample],
    plan: Plan,
    accelerator: Accelerator,
    *,
    seed: int,
    start: int,
    workers: int,
) -> Iterator[Batch]:
    """Micro-batches of tensors for this process, beginning with step `start`.

    Raises:
        BenchError: a reader's, as it was raised in a worker.
    """
    process, processes = accelerator.process_index, accelerator.num_processes
    keys = MicroBatches(plan, len(reader), seed=seed, start=start, process=process, processes=processes)
    loader: DataLoader[Any] = DataLoader(
        _TrainingSamples(reader, augment),
        batch_sampler=keys,
        num_workers=usable_workers(workers),
        collate_fn=_collate_training,
        worker_init_fn=_quiet_worker,
        pin_memory=accelerator.device.type == "cuda",
    )
    return _batches(loader)


def evaluation_batches(
    evaluation: Evaluation, indices: list[int], *, device: torch.device, workers: int, to_move: bool = False
) -> Iterator[Batch]:
    """Batches of prepared samples for these indices, each exactly once, to be moved to `device`.

    The key `index` holds the indices of a batch. With `to_move` its targets, too, are tensors that can be moved, and it is
    as large as `TensorPredict.together` says.
    """
    together = getattr(evaluation.predict, "together", None) if to_move else None
    size = together or evaluation.batch_size
    loader: DataLoader[Any] = DataLoader(
        _EvaluationSamples(evaluation),
        batch_sampler=[indices[first : first + size] for first in range(0, len(indices), size)],
        num_workers=usable_workers(workers),
        collate_fn=partial(_collate_evaluation, stacks=together is None, to_move=to_move),
        worker_init_fn=_quiet_worker,
        pin_memory=device.type == "cuda",
    )
    return _batches(loader)


def to_device(batch: Batch, device: torch.device, *, lists: bool = False) -> Batch:
    """Moves the tensors of a batch, and on request those in lists."""
    return {key: _moved(value, device, lists=lists) for key, value in batch.items()}


def _moved(value: Any, device: torch.device, *, lists: bool) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if lists and isinstance(value, list):
        return [_moved(one, device, lists=False) for one in value]
    return value


def upload(array: Array, device: torch.device) -> torch.Tensor:
    """The array as a tensor on a device; to a GPU by pinned memory, so that nobody waits for the copy."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class BatchCopier:
    """Moves batches to a device; to a GPU on a stream of its own, so that the copy runs beside the work that is queued.

    `lists`: also the tensors in lists.
    """

    def __init__(self, device: torch.device, *, lists: bool = False) -> None:
        self._device, self._lists = device, lists
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, batch: Batch) -> Batch:
        """The batch on the device; work that is queued from now on waits for it."""
        if self._stream is None:
            return to_device(batch, self._device, lists=self._lists)
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            moved = to_device(batch, self._device, lists=self._lists)
        current.wait_stream(self._stream)
        for value in moved.values():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, torch.Tensor):
                    one.record_stream(current)  # its memory is free again only after the work on `current`
        return moved
