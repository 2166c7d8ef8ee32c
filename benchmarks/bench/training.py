"""Fine-tuning steps of every task, as a run does them, on batches that stay in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import default_collate

from benchmarks.bench.samples import MemoryReader, raw_samples
from croco_bench import registry
from croco_bench.config.load import options_of
from croco_bench.config.recipe import Recipe, TaskRecipe, load_task_recipe
from croco_bench.config.tables import Precision
from croco_bench.contracts import Evaluation, ScoredTask, Task, TaskData, TrainingSplits
from croco_bench.engine import devices
from croco_bench.engine.dataloading import Plan
from croco_bench.engine.evaluate import BackbonePredictor, NetworkPredictor
from croco_bench.engine.network import BareNetwork, Network
from croco_bench.engine.train import FineTuneJob, Trainer
from croco_bench.runs.networks import backbone_of, build_network
from croco_bench.runs.request import RunRequest
from croco_bench.types import Batch, Size

# ImageNet's; other tasks know the number of their outputs without data.
_CLASSES = tuple(str(number) for number in range(1000))
# Bytes that AdamW moves per trained number: it reads weight, gradient and two moments, and writes three of them.
OPTIMIZER_BYTES = 7 * 4
# Steps of a training that doesn't end here, and items that its reader has.
ENDLESS, MANY = 10**8, 10**5


@dataclass(frozen=True)
class Subject:
    """A task with its recipe, and a network of random weights where nothing else was asked for."""

    request: RunRequest
    task: ScoredTask
    data: TaskData
    network: Network | BareNetwork

    @property
    def name(self) -> str:
        """Task and recipe."""
        return f"{self.request.task} {self.recipe.name}"

    @property
    def unit(self) -> str:
        """What the task predicts: images or pairs."""
        return "image" if self.task.views == 1 else "pair"

    @property
    def recipe(self) -> TaskRecipe:
        """With `train.image_size=auto` resolved."""
        return self.request.recipe

    @property
    def image_size(self) -> Size:
        """Of the network's input."""
        return self.recipe.train.image_size

    @property
    def predictor(self) -> NetworkPredictor | BackbonePredictor:
        """What an evaluation scores."""
        if isinstance(self.network, Network):
            return NetworkPredictor(self.network)
        return BackbonePredictor(self.network)

    def evaluations(self) -> list[Evaluation]:
        """Those of the test split; of a task that trains nothing, that which chooses what to report."""
        if isinstance(self.task, Task):
            return self.task.evaluations(self.data)
        return [self.task.selection(self.data.test)]


def subject_of(task: str, recipe: str, ckpt: str, changes: tuple[str, ...], size: Size | None) -> Subject:
    """Builds task and network on samples in memory; `size` replaces that of the dataset's images."""
    entry = registry.tasks()[task]
    request = RunRequest(task, ckpt, load_task_recipe(task, recipe, changes))
    task_type: type[ScoredTask] = entry.load()
    options = options_of(task_type.Options, request.recipe.task, "[task]")
    few = raw_samples(task, test=False, size=size)
    train = MemoryReader(few, MANY)
    test = MemoryReader(raw_samples(task, test=True, size=size, count=1), 1)
    data = TaskData(test, TrainingSplits(train, train), class_names=_CLASSES)
    made = task_type(options, request.recipe.train.image_size)
    network: Network | BareNetwork
    if isinstance(request.recipe, Recipe):
        assert isinstance(made, Task)
        made.measure_state(MemoryReader(few, len(few)))
        head_type = registry.heads()[request.recipe.head.name].load()
        head_options = options_of(head_type.Options, request.recipe.head.options, "[head]")
        request, network = build_network(request, made, data, head_type, head_options)
    else:
        network = BareNetwork(backbone_of(request), views=made.views)
    return Subject(request, made, data, network)


def start(device: str, precision: Precision) -> Accelerator:
    """As a run starts."""
    return devices.start(device, precision, seed=0)


def trainer_of(subject: Subject, accelerator: Accelerator, batch: int) -> Trainer:
    """The trainer of a run without end."""
    assert (
        isinstance(subject.recipe, Recipe) and isinstance(subject.task, Task) and isinstance(subject.network, Network)
    )
    assert subject.data.training is not None
    plan = Plan(ENDLESS, 1, MANY // batch, batch, 1)
    job = FineTuneJob(
        recipe=subject.recipe,
        plan=plan,
        seed=0,
        folder=Path("unused"),
        key="",
        task=subject.task,
        splits=subject.data.training,
        network=subject.network,
    )
    return Trainer(job, accelerator)


def training_batch(subject: Subject, batch: int, size: Size | None = None) -> Batch:
    """A batch of augmented samples; few are different."""
    task = subject.task
    assert isinstance(task, Task)
    rng = np.random.default_rng(0)
    few = [
        task.augment(sample, rng)
        for sample in raw_samples(subject.request.task, test=False, size=size)[: max(1, min(batch, 4))]
    ]
    collated: Batch = default_collate([few[number % len(few)] for number in range(batch)])
    return collated


def pinned(batch: Batch, device: torch.device) -> Batch:
    """The batch as the loader hands it over."""
    if device.type != "cuda":
        return batch
    return {key: value.pin_memory() if isinstance(value, torch.Tensor) else value for key, value in batch.items()}


def steps(trainer: Trainer, batch: Batch) -> Callable[[], object]:
    """One optimiser step per call."""
    batches: Iterator[Batch] = repeat(pinned(batch, trainer.accelerator.device))
    numbers = iter(range(ENDLESS))
    return lambda: trainer.stepper.step(next(numbers), batches)
