"""The contract of `TrainingFreeTask` as inherited tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from croco_bench.backbones import load_backbone
from croco_bench.contracts import (
    TaskData,
    TrainingFreeTask,
)
from croco_bench.engine.dataloading import evaluation_batches
from croco_bench.engine.network import BareNetwork
from croco_bench.metrics.meter import stack
from croco_bench.testing.scored_tasks import (
    CPU,
    ScoredTaskContract,
    first_batches,
    first_indices,
    predictions_of,
)


class TrainingFreeContract(ScoredTaskContract[TrainingFreeTask]):
    """Tests that every task passes that trains nothing. Subclasses are named `Test...` and set `name`."""

    base = TrainingFreeTask

    def network(self, task: TrainingFreeTask, data: TaskData) -> nn.Module:
        """A small random backbone for two views, without a head."""
        return BareNetwork(load_backbone("random:mini-croco", image_size=self.image_size), views=task.views)

    def ready(self, data_root: Path) -> tuple[TrainingFreeTask, TaskData, nn.Module]:
        """With its choice made."""
        task, data = self.build(), self.open(data_root)
        network = self.network(task, data)
        with torch.inference_mode():
            task.measure(network, first_batches(task.selection(data.train)))
        selection = task.selection(data.select)
        rows = stack(
            [selection.meter.measure(*pair) for pair in predictions_of(selection, network, first_indices(selection, 8))]
        )
        task.choose(rows)
        return task, data, network

    def test_what_was_chosen_is_told(self, data_root: Path) -> None:
        """`state` and derived values are plain, and every evaluation has metrics."""
        task, data, _ = self.ready(data_root)
        assert task.state and json.loads(json.dumps(task.state)) == task.state
        assert json.loads(json.dumps(task.resolved(data))) == task.resolved(data)
        assert all(evaluation.meter.metrics for evaluation in task.evaluations(data))

    def test_pictures_of_features_are_as_large_as_panels(self, data_root: Path) -> None:
        """(H, W, 3) uint8 with titles, for every sample of a batch."""
        task, data, network = self.ready(data_root)
        evaluation = task.evaluations(data)[0]
        ((prediction, sample),) = predictions_of(evaluation, network, [0])
        (shape,) = {panel.shape for panel in task.panels(data, sample, prediction).values()}
        with torch.inference_mode():
            (batch,) = evaluation_batches(evaluation, [0], device=CPU, workers=0)
            (pictures,) = task.inside(network, batch)
        assert all(picture.shape == shape and picture.dtype == np.uint8 for picture in pictures.values())
