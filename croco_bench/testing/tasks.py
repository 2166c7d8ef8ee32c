"""The contract of `Task` as inherited tests.

    class TestMyTask(TaskContract):
        name = "my-task"

They need a pytest fixture `data_root`: a folder with the task's dataset (and others that it trains on), which may be tiny.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import default_collate

from croco_bench import registry
from croco_bench.backbones import load_backbone
from croco_bench.config.load import options_of
from croco_bench.contracts import Evaluation, Features, FeatureSpec, Head, Reader, Task, TaskData
from croco_bench.data.splitting import limit
from croco_bench.engine.dataloading import evaluation_batches
from croco_bench.engine.network import Network, spec_for
from croco_bench.metrics.meter import stack
from croco_bench.types import Array, Batch, Sample, Size

_CPU = torch.device("cpu")


class TaskContract:
    """Tests that every task passes. Subclasses are named `Test...` and set `name`.

    Attributes:
        name: the task's registered name.
        options: settings that suit the dataset below `data_root`.
        image_size: of the network's input, multiples of 16.
        augments: `augment` depends on its random generator.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    image_size: ClassVar[Size] = (32, 32)
    augments: ClassVar[bool] = True

    def build(self) -> Task:
        """A new task with these options."""
        kind: type[Task] = registry.tasks()[self.name].load()
        task = kind(options_of(kind.Options, self.options, f"[task] of {self.name}"), self.image_size)
        assert isinstance(task, Task)
        return task

    def open(self, data_root: Path) -> TaskData:
        """All of its data, opened by another instance."""
        return self.build().open(data_root / registry.tasks()[self.name].card.dataset, seed=0)

    def test_options_are_a_frozen_dataclass_with_defaults(self) -> None:
        """A recipe may give none of them, and nothing changes them later."""
        kind = self.build().Options
        assert is_dataclass(kind)
        options = kind()
        for item in fields(kind):
            try:
                setattr(options, item.name, None)
            except FrozenInstanceError:
                continue
            raise AssertionError(f"{kind.__name__}.{item.name} can be changed")

    def test_splits_are_apart_and_open_the_same_every_time(self, data_root: Path) -> None:
        """No item is both trained on and selected by; nothing depends on an earlier call."""
        data, again = self.open(data_root), self.open(data_root)
        for part, other in zip(_parts(data), _parts(again), strict=True):
            assert isinstance(part, Reader) and 0 < len(part) <= part.available
            assert len(part.groups) == len(part) and part.fingerprint() == other.fingerprint()
        assert len({part.fingerprint() for part in _parts(data)}) == 3
        assert not _names(data.train) & _names(data.select)

    def test_the_test_split_opens_alone(self, data_root: Path) -> None:
        """For weights that are fine-tuned already, and for classical methods."""
        data, alone = self.open(data_root), self.build().open_test(data_root / registry.tasks()[self.name].card.dataset)
        assert alone.training is None and alone.test.fingerprint() == data.test.fingerprint()
        assert alone.class_names == data.class_names and set(alone.further) == set(data.further)

    def test_no_method_needs_another_first(self, data_root: Path) -> None:
        """A task that has opened nothing does all with data that another one opened."""
        data = self.open(data_root)
        assert self.build().out_channels(data) == self.build().out_channels(data) > 0
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

    def test_training_samples_depend_on_the_generator_alone(self, data_root: Path) -> None:
        """Tensors of the network's size, images in [0, 1]; the raw sample stays what it was."""
        task, reader = self.build(), self.open(data_root).train
        raw = reader[0]
        before = pickle.dumps(raw)
        one, same, other = (task.augment(reader[0], np.random.default_rng(seed)) for seed in (0, 0, 1))
        task.augment(raw, np.random.default_rng(0))
        assert pickle.dumps(raw) == before
        assert one.keys() == same.keys() and all(np.array_equal(one[key], same[key]) for key in one)
        assert self.augments != all(np.array_equal(one[key], other[key]) for key in one)
        for key in _image_keys(task):
            assert one[key].shape == (3, *self.image_size) and one[key].dtype == torch.float32
            assert one[key].min() >= 0 and one[key].max() <= 1

    def test_the_loss_is_finite_and_has_gradients(self, data_root: Path) -> None:
        """Of any output, with the state measured on the training split; a task with that state computes the same."""
        task, data = self.build(), self.open(data_root)
        task.measure_state(data.train)
        batch = self.training_batch(task, data.train)
        output = self.random_output(task, data, len(batch[_image_keys(task)[0]])).requires_grad_()
        loss = task.loss(output, batch)
        assert loss.shape == () and loss.isfinite()
        torch.autograd.backward(loss)
        assert output.grad is not None and output.grad.isfinite().all() and output.grad.abs().max() > 0
        restored = self.build()
        restored.state = json.loads(json.dumps(task.state))
        assert torch.equal(restored.loss(output, batch), loss)

    def training_batch(self, task: Task, reader: Reader) -> Batch:
        """Two training samples, collated."""
        samples = [task.augment(reader[i % len(reader)], np.random.default_rng(i)) for i in range(2)]
        batch: Batch = default_collate(samples)
        return batch

    def random_output(self, task: Task, data: TaskData, images: int) -> Tensor:
        """A network output of the shape that the loss gets."""
        size = self.image_size if task.dense else ()
        count = 2 * images if task.symmetric else images
        generator = torch.Generator().manual_seed(0)
        return 0.1 * torch.randn(count, task.out_channels(data), *size, generator=generator)

    def test_evaluations_score_a_network(self, data_root: Path) -> None:
        """One prediction and one row per image, whatever the batch; the metrics that were announced."""
        task, data = self.build(), self.open(data_root)
        task.measure_state(data.train)
        network, found = self.network(task, data), set[str]()
        selection = task.selection(data.select)
        assert task.selection_metric in {metric.name for metric in selection.meter.metrics}
        for evaluation in (selection, *task.evaluations(data)):
            indices = list(range(min(3, len(evaluation.reader))))
            together = _predict(evaluation, network, indices)
            apart = [pair for i in indices for pair in _predict(evaluation, network, [i])]
            for (prediction, _), (alone, _) in zip(together, apart, strict=True):
                np.testing.assert_allclose(prediction, alone, rtol=1e-3, atol=1e-4)
            metrics = _score(evaluation, together)
            if evaluation is not selection:
                found |= {f"{evaluation.prefix}/{name}" if evaluation.prefix else name for name in metrics}
        assert {metric.name for metric in registry.tasks()[self.name].card.headline} <= found

    def network(self, task: Task, data: TaskData) -> Network:
        """A small random network with the smallest head that the task can use."""
        backbone = load_backbone("random:mini-croco", image_size=self.image_size)
        head = (_DenseHead if task.dense else _GlobalHead)(
            spec_for(backbone, task.views), task.out_channels(data), None
        )
        return Network(backbone, head, views=task.views, symmetric=task.symmetric, decode=task.decode).eval()

    def test_panels_are_pictures_of_one_size(self, data_root: Path) -> None:
        """(H, W, 3) uint8 with titles, of the headline protocol."""
        data = self.open(data_root)
        evaluation, network = self.build().evaluations(data)[0], self.network(self.build(), data)
        ((prediction, sample),) = _predict(evaluation, network, [0])
        panels = self.build().panels(data, sample, prediction)
        assert len(panels) > 1 and all(isinstance(title, str) for title in panels)
        assert {panel.dtype for panel in panels.values()} == {np.dtype(np.uint8)}
        (shape,) = {panel.shape for panel in panels.values()}
        assert len(shape) == 3 and shape[2] == 3

    def test_workers_can_get_everything(self, data_root: Path) -> None:
        """Readers, augmentation and preparation can be pickled, and work on the other side as they do here."""
        task, data = self.build(), self.open(data_root)
        train, augment = pickle.loads(pickle.dumps((data.train, task.augment)))
        _assert_equal(
            augment(train[0], np.random.default_rng(0)), task.augment(data.train[0], np.random.default_rng(0))
        )
        for evaluation in (task.selection(data.select), *task.evaluations(data)):
            reader, prepare = pickle.loads(pickle.dumps((evaluation.reader, evaluation.prepare)))
            _assert_equal(prepare(reader[0]), evaluation.prepare(evaluation.reader[0]))

    def test_classical_methods_are_scored_like_networks(self, data_root: Path) -> None:
        """Under evaluations that they adapt; without an answer, predictions are NaN and not less."""
        data = self.open(data_root)
        for name, method in self.build().classical_methods().items():
            evaluation = method.adapt(self.build().evaluations(data)[0])
            (batch,) = evaluation_batches(evaluation, [0], device=_CPU, workers=0)
            (prediction,) = method.predict(batch)
            metrics = _score(evaluation, [(prediction, _sample(batch, 0))])
            assert np.isfinite(prediction).all() or evaluation.meter.scores_failures, name
            assert metrics


class _DenseHead(Head):
    """One linear layer per token, enlarged to the image."""

    def __init__(self, spec: FeatureSpec, out_channels: int, options: Any) -> None:
        super().__init__(spec, out_channels, options)
        torch.manual_seed(0)
        self.linear, self.image_size = nn.Linear(spec.widths[-1], out_channels), spec.image_size

    def forward(self, features: Features) -> Tensor:
        """See `Head.forward`."""
        tokens = self.linear(features.tokens[-1])
        return F.interpolate(tokens.mT.unflatten(2, features.grid), size=self.image_size, mode="bilinear")


class _GlobalHead(_DenseHead):
    """One linear layer on the mean token."""

    dense = False

    def forward(self, features: Features) -> Tensor:
        """See `Head.forward`."""
        output: Tensor = self.linear(features.tokens[-1].mean(dim=1))
        return output


def _parts(data: TaskData) -> tuple[Reader, Reader, Reader]:
    return data.train, data.select, data.test


def _names(reader: Reader) -> set[str]:
    """What tells items apart: their `id`, or their group in readers without ids."""
    items = (reader[i] for i in range(len(reader)))
    return {f"{reader.dataset}/{item.get('id', group)}" for item, group in zip(items, reader.groups, strict=True)}


def _image_keys(task: Task) -> tuple[str, ...]:
    return ("image",) if task.views == 1 else ("image1", "image2")


def _sample(batch: Batch, i: int) -> Sample:
    """Sample i of an evaluation batch."""
    return {key: values[i] for key, values in batch.items()}


def _predict(evaluation: Evaluation, network: Network, indices: list[int]) -> list[tuple[Array, Sample]]:
    """Predictions with their prepared samples, in batches of the evaluation's size."""
    found: list[tuple[Array, Sample]] = []
    with torch.inference_mode():
        for batch in evaluation_batches(evaluation, indices, device=_CPU, workers=0):
            predictions = evaluation.predict(network, batch)
            assert len(predictions) == len(batch["index"])
            found += [(prediction, _sample(batch, i)) for i, prediction in enumerate(predictions)]
    return found


def _score(evaluation: Evaluation, predictions: list[tuple[Array, Sample]]) -> dict[str, float]:
    """Rows, then metrics: those that the meter announces."""
    rows = [evaluation.meter.measure(prediction, sample) for prediction, sample in predictions]
    assert len({frozenset(row) for row in rows}) == 1
    metrics = evaluation.meter.reduce(stack(rows))
    assert set(metrics) == {metric.name for metric in evaluation.meter.metrics}
    return metrics


def _assert_equal(one: Sample, two: Sample) -> None:
    assert one.keys() == two.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], two[key])
