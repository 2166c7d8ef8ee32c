"""The task: the number of discs as a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from bench_shapes.dataset import CLASSES, ShapesReader
from croco_bench.contracts import Evaluation, Reader, Task, TaskData, TrainingSplits
from croco_bench.data.splitting import split_by_group
from croco_bench.data.transforms.color import to_uint8, to_unit
from croco_bench.metrics.classification import ClassificationMeter
from croco_bench.types import Array, Batch, Sample, Size


@dataclass(frozen=True)
class CountShapesOptions:
    """Settings of the task.

    Attributes:
        select: share of the training images that selects the weights.
    """

    select: float = 0.2


class CountShapes(Task):
    """One score per number of discs, from whole images."""

    Options = CountShapesOptions
    dense = False

    def __init__(self, options: CountShapesOptions, image_size: Size) -> None:
        self.options, self.image_size, self.state = options, image_size, {}

    def open(self, root: Path, *, seed: int) -> TaskData:
        """See `Task.open`."""
        parts = split_by_group(ShapesReader(root, "train"), self.options.select, seed=seed)
        return TaskData(ShapesReader(root, "test"), TrainingSplits(*parts), class_names=CLASSES)

    def out_channels(self, data: TaskData) -> int:
        """Number of classes."""
        return len(CLASSES)

    def augment(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Darker by up to a fifth, and a flip."""
        ready = self._prepare(sample)
        image = ready["image"] * rng.uniform(0.8, 1.0)
        return {**ready, "image": image.flip(-1) if rng.random() < 0.5 else image}

    def _prepare(self, sample: Sample) -> Sample:
        image = Image.fromarray(sample["image"]).resize(self.image_size[::-1], Image.Resampling.BICUBIC)
        return {"image": to_unit(np.array(image)), "label": sample["label"]}

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(output, batch["label"])

    @property
    def selection_metric(self) -> str:
        """The headline."""
        return "top1"

    def selection(self, reader: Reader) -> Evaluation:
        """As the test split is scored."""
        return Evaluation(
            prefix="",
            reader=reader,
            meter=ClassificationMeter(len(CLASSES)),
            prepare=self._prepare,
            predict=self._predict,
            batch_size=64,
            citation="whole images; a template",
        )

    def evaluations(self, data: TaskData) -> list[Evaluation]:
        """All test images."""
        return [self.selection(data.test)]

    def _predict(self, network: nn.Module, batch: Batch) -> list[Array]:
        scores: Tensor = network(batch["image"])
        return list(scores.float().cpu().numpy())

    def panels(self, data: TaskData, sample: Sample, prediction: Array) -> Mapping[str, Array]:
        """The image, and a bar per class as high as its probability."""
        image = to_uint8(sample["image"])
        shares = np.exp(prediction - prediction.max())
        heights = np.repeat(shares / shares.sum(), -(-image.shape[1] // len(CLASSES)))[: image.shape[1]]
        bars = np.linspace(1, 0, image.shape[0])[:, None] < heights
        guess, truth = CLASSES[int(prediction.argmax())], CLASSES[int(sample["label"])]
        return {"image": image, f"{guess} (is {truth})": np.repeat(bars[..., None] * np.uint8(255), 3, axis=2)}
