"""Evaluations of samples in memory, as a run does them, beside the forward passes of the same inputs alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from benchmarks.bench.training import Subject
from croco_bench.contracts import Evaluation, TensorPredict
from croco_bench.engine.dataloading import evaluation_batches, to_device
from croco_bench.engine.evaluate import evaluate, stays_on
from croco_bench.engine.network import BareNetwork, Network


@dataclass
class Calls:
    """Calls of a network: the shapes of its inputs, or the arguments of its `pairs`."""

    made: list[Callable[[], object]] = field(default_factory=list)


class Recorder(nn.Module):
    """Stands before a network and keeps its calls, to be repeated without anything around them."""

    def __init__(self, network: Network | BareNetwork, calls: Calls) -> None:
        super().__init__()
        self._parts = network, calls  # in a tuple: no submodule

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parts[0], name) if name != "_parts" else super().__getattr__(name)

    def forward(self, *images: Tensor) -> Any:
        """See `nn.Module`."""
        network, calls = self._parts
        calls.made.append(lambda: network(*images))
        return network(*images)

    def pairs(self, images: Tensor, first: Sequence[int], second: Sequence[int], *, at_once: int) -> Tensor:
        """See `Network.pairs`."""
        network, calls = self._parts
        assert isinstance(network, Network)
        calls.made.append(lambda: network.pairs(images, first, second, at_once=at_once))
        return network.pairs(images, first, second, at_once=at_once)


def seconds(subject: Subject, evaluation: Evaluation, accelerator: Accelerator, workers: int) -> float:
    """Of a whole evaluation, from files to metrics."""
    device = accelerator.device
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    began = clock()
    evaluate(subject.predictor, evaluation, accelerator, workers=0 if alone else workers)
    return clock() - began


def batch_of(evaluation: Evaluation, device: torch.device) -> int:
    """Images that the engine predicts at once."""
    predict = evaluation.predict
    together = predict.together if isinstance(predict, TensorPredict) and stays_on(device) else None
    return together or evaluation.batch_size


def bare(subject: Subject, evaluation: Evaluation, accelerator: Accelerator) -> Callable[[], object]:
    """The forward passes of the first batch alone, their inputs on the device already."""
    device, network, predict = accelerator.device, subject.network.eval(), evaluation.predict
    stays = isinstance(predict, TensorPredict) and stays_on(device)
    indices = list(range(min(batch_of(evaluation, device), len(evaluation.reader))))
    batch = next(evaluation_batches(evaluation, indices, device=device, workers=0, to_move=stays))
    calls = Calls()
    if isinstance(network, BareNetwork):
        shown = [batch["image1"].to(device), batch["image2"].to(device)]
        calls.made.append(lambda: network(*shown))
    else:
        recorder, moved = Recorder(network, calls), to_device(batch, device, lists=stays)
        with torch.inference_mode(), accelerator.autocast():
            if stays:
                assert isinstance(predict, TensorPredict)
                predict.tensors(recorder, moved)
            else:
                predict(recorder, moved)

    def repeated() -> None:
        with torch.inference_mode(), accelerator.autocast():
            for call in calls.made:
                call()

    return repeated
