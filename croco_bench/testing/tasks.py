"""The contract of `Task` as inherited tests.

    class TestMyTask(TaskContract):
        name = "my-task"

They need a pytest fixture `data_root`: a folder with the task's dataset (and others that it trains on), which may be tiny.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import default_collate

from croco_bench.backbones import load_backbone
from croco_bench.contracts import (
    Features,
    FeatureSpec,
    Head,
    Reader,
    Task,
    TaskData,
)
from croco_bench.engine.network import Network, spec_for
from croco_bench.testing.scored_tasks import (
    ScoredTaskContract,
    assert_equal,
    image_keys,
)
from croco_bench.types import Batch


class TaskContract(ScoredTaskContract[Task]):
    """Tests that every task passes that trains something. Subclasses are named `Test...` and set `name`.

    Attributes:
        augments: `augment` depends on its random generator.
    """

    base = Task
    augments: ClassVar[bool] = True

    def test_heads_have_outputs(self, data_root: Path) -> None:
        """However often the task is asked."""
        data = self.open(data_root)
        assert self.build().out_channels(data) == self.build().out_channels(data) > 0

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
        for key in image_keys(task):
            assert one[key].shape == (3, *self.image_size) and one[key].dtype == torch.float32
            assert one[key].min() >= 0 and one[key].max() <= 1

    def test_the_loss_is_finite_and_has_gradients(self, data_root: Path) -> None:
        """Of any output, with the state measured on the training split; a task with that state computes the same."""
        task, data = self.build(), self.open(data_root)
        task.measure_state(data.train)
        batch = self.training_batch(task, data.train)
        output = self.random_output(task, data, len(batch[image_keys(task)[0]])).requires_grad_()
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

    def test_workers_can_get_the_augmentation(self, data_root: Path) -> None:
        """It can be pickled, and works on the other side as it does here."""
        task, data = self.build(), self.open(data_root)
        train, augment = pickle.loads(pickle.dumps((data.train, task.augment)))
        assert_equal(augment(train[0], np.random.default_rng(0)), task.augment(data.train[0], np.random.default_rng(0)))

    def ready(self, data_root: Path) -> tuple[Task, TaskData, nn.Module]:
        """With its state measured."""
        task, data = self.build(), self.open(data_root)
        task.measure_state(data.train)
        return task, data, self.network(task, data)

    def network(self, task: Task, data: TaskData) -> nn.Module:
        """A small random network with the smallest head that the task can use."""
        backbone = load_backbone("random:mini-croco", image_size=self.image_size)
        head = (_DenseHead if task.dense else _GlobalHead)(
            spec_for(backbone, task.views), task.out_channels(data), None
        )
        return Network(backbone, head, views=task.views, symmetric=task.symmetric, decode=task.decode).eval()


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
