"""What the contracts of tasks with and without training share."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import nn

from croco_bench import registry
from croco_bench.config.load import options_of
from croco_bench.contracts import (
    Evaluation,
    Reader,
    ScoredTask,
    Task,
    TaskData,
)
from croco_bench.data.splitting import limit
from croco_bench.engine.dataloading import evaluation_batches
from croco_bench.metrics.meter import stack
from croco_bench.testing.options import assert_frozen
from croco_bench.types import Array, Batch, Sample, Size

CPU = torch.device("cpu")


AnyTask = TypeVar("AnyTask", bound=ScoredTask)


class ScoredTaskContract(Generic[AnyTask]):
    """Tests of the part that all tasks share.

    Attributes:
        name: the task's registered name.
        options: settings that suit the dataset below `data_root`.
        image_size: of the network's input, multiples of 16.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    image_size: ClassVar[Size] = (32, 32)
    base: ClassVar[type[ScoredTask]]

    def build(self) -> AnyTask:
        """A new task with these options."""
        kind = registry.tasks()[self.name].load()
        task: AnyTask = kind(options_of(kind.Options, self.options, f"[task] of {self.name}"), self.image_size)
        assert isinstance(task, self.base)
        return task

    def network(self, task: AnyTask, data: TaskData) -> nn.Module:
        """A small random network, as `Evaluation.predict` gets it."""
        raise NotImplementedError

    def ready(self, data_root: Path) -> tuple[AnyTask, TaskData, nn.Module]:
        """A task that has looked at its training data, and a network for it."""
        raise NotImplementedError

    def open(self, data_root: Path) -> TaskData:
        """All of its data, opened by another instance."""
        return self.build().open(data_root / registry.tasks()[self.name].card.dataset, seed=0)

    def test_options_are_a_frozen_dataclass_with_defaults(self) -> None:
        """A recipe may give none of them, and nothing changes them later."""
        assert_frozen(self.build().Options)

    def test_splits_are_apart_and_open_the_same_every_time(self, data_root: Path) -> None:
        """No item is both trained on and selected by; nothing depends on an earlier call."""
        data, again = self.open(data_root), self.open(data_root)
        for part, other in zip(parts_of(data), parts_of(again), strict=True):
            assert isinstance(part, Reader) and 0 < len(part) <= part.available
            assert len(part.groups) == len(part) and part.fingerprint() == other.fingerprint()
        assert len({part.fingerprint() for part in parts_of(data)}) == 3
        assert not names_of_items(data.train) & names_of_items(data.select)

    def test_the_test_split_opens_alone(self, data_root: Path) -> None:
        """For weights that are fine-tuned already, and for classical methods."""
        data, alone = self.open(data_root), self.build().open_test(data_root / registry.tasks()[self.name].card.dataset)
        assert alone.training is None and alone.test.fingerprint() == data.test.fingerprint()
        assert alone.class_names == data.class_names and set(alone.further) == set(data.further)

    def test_no_method_needs_another_first(self, data_root: Path) -> None:
        """A task that has opened nothing does all with data that another one opened."""
        data = self.open(data_root)
        resolved = self.build().resolved(data)
        assert json.loads(json.dumps(resolved)) == resolved
        evaluations = self.build().evaluations(data)
        assert len({evaluation.prefix for evaluation in evaluations}) == len(evaluations) > 0

    def test_a_limited_test_split_is_scored_as_it_is(self, data_root: Path) -> None:
        """As `--limit` makes it."""
        data = self.open(data_root)
        some = replace(data, test=limit(data.test, 1, seed=0))
        for whole, part in zip(self.build().evaluations(data), self.build().evaluations(some), strict=True):
            assert whole.prefix == part.prefix and len(part.reader) <= len(whole.reader)
        assert len(self.build().evaluations(some)[0].reader) == 1

    def test_evaluations_score_a_network(self, data_root: Path) -> None:
        """One prediction and one row per image, whatever the batch; the metrics that were announced."""
        task, data, network = self.ready(data_root)
        found = set[str]()
        selection = task.selection(data.select)
        assert task.selection_metric in {metric.name for metric in selection.meter.metrics}
        for evaluation in (selection, *task.evaluations(data)):
            indices = list(range(min(3, len(evaluation.reader))))
            together = predictions_of(evaluation, network, indices)
            apart = [pair for i in indices for pair in predictions_of(evaluation, network, [i])]
            for (prediction, _), (alone, _) in zip(together, apart, strict=True):
                np.testing.assert_allclose(prediction, alone, rtol=1e-3, atol=1e-4)
            metrics = metrics_of(evaluation, together)
            if evaluation is not selection:
                found |= {f"{evaluation.prefix}/{name}" if evaluation.prefix else name for name in metrics}
        assert {metric.name for metric in registry.tasks()[self.name].card.headline} <= found

    def test_panels_are_pictures_of_one_size(self, data_root: Path) -> None:
        """(H, W, 3) uint8 with titles, of the headline protocol."""
        task, data, network = self.ready(data_root)
        ((prediction, sample),) = predictions_of(task.evaluations(data)[0], network, [0])
        panels = task.panels(data, sample, prediction)
        assert len(panels) > 1 and all(isinstance(title, str) for title in panels)
        assert {panel.dtype for panel in panels.values()} == {np.dtype(np.uint8)}
        (shape,) = {panel.shape for panel in panels.values()}
        assert len(shape) == 3 and shape[2] == 3

    def test_workers_can_get_everything(self, data_root: Path) -> None:
        """Readers and preparation can be pickled, and work on the other side as they do here."""
        task, data = self.build(), self.open(data_root)
        for evaluation in (task.selection(data.select), *task.evaluations(data)):
            reader, prepare = pickle.loads(pickle.dumps((evaluation.reader, evaluation.prepare)))
            assert_equal(prepare(reader[0]), evaluation.prepare(evaluation.reader[0]))

    def test_classical_methods_are_scored_like_networks(self, data_root: Path) -> None:
        """Under evaluations that they adapt; without an answer, predictions are NaN and not less."""
        data = self.open(data_root)
        for name, method in self.build().classical_methods().items():
            evaluation = method.adapt(self.build().evaluations(data)[0])
            (batch,) = evaluation_batches(evaluation, [0], device=CPU, workers=0)
            (prediction,) = method.predict(batch)
            metrics = metrics_of(evaluation, [(prediction, sample_of(batch, 0))])
            assert np.isfinite(prediction).all() or evaluation.meter.scores_failures, name
            assert metrics


def parts_of(data: TaskData) -> tuple[Reader, Reader, Reader]:
    """Training, selection and test split."""
    return data.train, data.select, data.test


def names_of_items(reader: Reader) -> set[str]:
    """What tells items apart: their `id`, or their group in readers without ids."""
    items = (reader[i] for i in range(len(reader)))
    return {f"{reader.dataset}/{item.get('id', group)}" for item, group in zip(items, reader.groups, strict=True)}


def image_keys(task: Task) -> tuple[str, ...]:
    """Keys of the images in a sample."""
    return ("image",) if task.views == 1 else ("image1", "image2")


def sample_of(batch: Batch, i: int) -> Sample:
    """Sample i of an evaluation batch."""
    return {key: values[i] for key, values in batch.items()}


def predictions_of(evaluation: Evaluation, network: nn.Module, indices: list[int]) -> list[tuple[Array, Sample]]:
    """Predictions with their prepared samples, in batches of the evaluation's size."""
    found: list[tuple[Array, Sample]] = []
    with torch.inference_mode():
        for batch in evaluation_batches(evaluation, indices, device=CPU, workers=0):
            predictions = evaluation.predict(network, batch)
            assert len(predictions) == len(batch["index"])
            found += [(prediction, sample_of(batch, i)) for i, prediction in enumerate(predictions)]
    return found


def metrics_of(evaluation: Evaluation, predictions: list[tuple[Array, Sample]]) -> dict[str, float]:
    """Rows, then metrics: those that the meter announces."""
    rows = [evaluation.meter.measure(prediction, sample) for prediction, sample in predictions]
    assert len({frozenset(row) for row in rows}) == 1
    metrics = evaluation.meter.reduce(stack(rows))
    assert set(metrics) == {metric.name for metric in evaluation.meter.metrics}
    return metrics


def first_indices(evaluation: Evaluation, count: int) -> list[int]:
    """Indices of the first items of an evaluation."""
    return list(range(min(count, len(evaluation.reader))))


def first_batches(evaluation: Evaluation) -> Iterator[Batch]:
    """The first batches of an evaluation's reader."""
    yield from evaluation_batches(evaluation, first_indices(evaluation, 4), device=CPU, workers=0)


def assert_equal(one: Sample, two: Sample) -> None:
    """Fails unless two samples have equal values."""
    assert one.keys() == two.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], two[key])
