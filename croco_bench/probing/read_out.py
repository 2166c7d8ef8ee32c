"""Tasks that train nothing: the read-out of a backbone's features that is best on the selection split."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from croco_bench.contracts import TrainingFreeTask, TrainingSplits
from croco_bench.engine.dataloading import evaluation_batches, to_device
from croco_bench.engine.evaluate import BackbonePredictor, evaluate
from croco_bench.types import Batch


@dataclass(frozen=True)
class ReadOutChoice:
    """That `task.choose` was called: `metric` had `value` on the selection split, after `seconds`."""

    metric: str
    value: float
    seconds: float


def choose_read_out(
    task: TrainingFreeTask,
    predictor: BackbonePredictor,
    splits: TrainingSplits,
    accelerator: Accelerator,
    *,
    workers: int,
) -> ReadOutChoice:
    """Measures statistics of features on the training split, then chooses on the selection split.

    Every process measures on the whole training split, which is small, so that their number changes nothing.

    Raises:
        DataError: nothing can be chosen by, as no item of the selection split has what the metric needs.
    """
    began = time.monotonic()
    with torch.inference_mode(), accelerator.autocast():
        task.measure(predictor.network, _training_batches(task, splits, accelerator, workers))
    scores = evaluate(predictor, task.selection(splits.select), accelerator, workers=workers)
    value = scores.value_of(task.selection_metric)
    task.choose(scores.rows)
    return ReadOutChoice(task.selection_metric, value, time.monotonic() - began)


def _training_batches(
    task: TrainingFreeTask, splits: TrainingSplits, accelerator: Accelerator, workers: int
) -> Iterator[Batch]:
    evaluation = task.selection(splits.train)
    indices = list(range(len(splits.train)))
    for batch in evaluation_batches(evaluation, indices, device=accelerator.device, workers=workers):
        yield to_device(batch, accelerator.device)
