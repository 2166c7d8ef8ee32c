"""Rows of images from batches: on the host, or on a GPU without waiting for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from croco_bench.contracts import Evaluation
from croco_bench.engine.dataloading import BatchCopier, to_device
from croco_bench.errors import DivergedError
from croco_bench.metrics.on_device import device_meter
from croco_bench.types import Array, Batch

Row = dict[str, float | Array]
# Batches whose copies to the host may be under way. Of more, a GPU gains nothing, and their answers take memory.
_UNDER_WAY = 2


class Scorer(ABC):
    """Predicts and scores batches of one evaluation; `rows` are complete after `finish`.

    Args:
        evaluation: the protocol.
        device: of the network.
        may_fail: predictions may hold NaN where the meter scores failures.
    """

    def __init__(self, evaluation: Evaluation, device: torch.device, *, may_fail: bool) -> None:
        self.evaluation, self.device, self.rows = evaluation, device, list[Row]()
        self._must_be_finite = not (may_fail and evaluation.meter.scores_failures)

    @abstractmethod
    def add(self, batch: Batch) -> None:
        """Predicts a batch of the loader.

        Raises:
            DivergedError: the prediction for an image of this batch, or of one before, isn't finite.
        """

    @abstractmethod
    def finish(self) -> None:
        """Waits for all rows.

        Raises:
            DivergedError: see `add`.
        """

    def _require_finite(self, finite: bool, index: int) -> None:
        if self._must_be_finite and not finite:
            raise DivergedError(
                f"the prediction for image {index} of the {self.evaluation.reader.split} split isn't finite: the network "
                "diverged",
                "lower --set optim.lr or use --set train.precision=fp32",
            )

    def _measure(self, prediction: Array, sample: Mapping[str, Any]) -> None:
        index = int(sample["index"])
        self._require_finite(bool(np.isfinite(prediction).all()), index)
        self.rows.append({**self.evaluation.meter.measure(prediction, sample), "index": float(index)})


class HostScorer(Scorer):
    """Scores arrays with the meter itself."""

    def __init__(
        self,
        evaluation: Evaluation,
        device: torch.device,
        predict: Callable[[Batch], list[Array]],
        *,
        may_fail: bool,
    ) -> None:
        super().__init__(evaluation, device, may_fail=may_fail)
        self._predict = predict

    def add(self, batch: Batch) -> None:
        """See `Scorer.add`."""
        samples = _samples(batch)
        for prediction, sample in zip(self._predict(to_device(batch, self.device)), samples, strict=True):
            self._measure(prediction, sample)

    def finish(self) -> None:
        """They are complete."""


@dataclass(frozen=True)
class _Copies:
    """Tensors on their way to the host, one per image, and the images' samples."""

    tensors: Sequence[Tensor]
    samples: Sequence[Mapping[str, Any]]
    done: torch.cuda.Event | None

    def arrays(self) -> list[Array]:
        """Waits for the copies, not for what was queued after them."""
        if self.done is not None:
            self.done.synchronize()
        return [tensor.numpy() for tensor in self.tensors]


class DeviceScorer(Scorer):
    """Scores where the predictions are, and copies numbers; without a `device_meter`, copies predictions.

    Copies are read two batches later, so that the device has work meanwhile.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        device: torch.device,
        predict: Callable[[Batch], Tensor | Sequence[Tensor]],
        *,
        may_fail: bool,
    ) -> None:
        super().__init__(evaluation, device, may_fail=may_fail)
        self._predict, self._meter = predict, device_meter(evaluation.meter)
        self._copier, self._under_way = BatchCopier(device, lists=True), deque[_Copies]()

    def add(self, batch: Batch) -> None:
        """See `Scorer.add`."""
        samples, moved = _samples(batch), self._copier(batch)
        found = self._predict(moved)
        if self._meter is not None:
            found = torch.stack(
                [self._numbers(one, sample) for one, sample in zip(found, _samples(moved), strict=True)]
            )
        self._under_way.append(_copies(found, samples, self.device))
        while len(self._under_way) > _UNDER_WAY:
            self._read(self._under_way.popleft())

    def finish(self) -> None:
        """See `Scorer.finish`."""
        while self._under_way:
            self._read(self._under_way.popleft())

    def _numbers(self, prediction: Tensor, sample: Mapping[str, Any]) -> Tensor:
        """The meter's numbers, and before them whether the prediction is finite."""
        assert self._meter is not None
        whole = prediction.isfinite() if prediction.is_floating_point() else prediction >= 0
        return torch.cat([whole.all().double()[None], self._meter.numbers(prediction, sample)])

    def _read(self, copies: _Copies) -> None:
        for array, sample in zip(copies.arrays(), copies.samples, strict=True):
            if self._meter is None:
                self._measure(array, {key: _as_array(value) for key, value in sample.items()})
                continue
            index = int(sample["index"])
            self._require_finite(bool(array[0]), index)
            self.rows.append({**self._meter.row(array[1:]), "index": float(index)})


def _samples(batch: Batch) -> list[dict[str, Any]]:
    """Targets of each image, and its index."""
    keys = [key for key in batch if not key.startswith("image")]
    return [{key: batch[key][i] for key in keys} for i in range(len(batch["index"]))]


def _copies(tensors: Tensor | Sequence[Tensor], samples: Sequence[Mapping[str, Any]], device: torch.device) -> _Copies:
    """Queues the copies; their memory is pinned, where the device is a GPU."""
    if isinstance(tensors, Tensor):
        host: Sequence[Tensor] = list(tensors.to("cpu", non_blocking=True))
    else:
        host = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
    if device.type != "cuda":
        return _Copies(host, samples, None)
    done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    done.record(torch.cuda.current_stream(device))
    return _Copies(host, samples, done)


def _as_array(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) else value
