"""Linear probe of frozen features on ImageNet-1K."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from croco_bench.contracts import Evaluation, Reader, Task, TaskData, TensorPredict, TrainingSplits
from croco_bench.data.datasets.imagenet import open_split, titles
from croco_bench.data.datasets.imagenet_c import CORRUPTIONS, ImageNetCReader, open_corrupted
from croco_bench.data.splitting import split_by_group
from croco_bench.data.transforms.color import to_uint8, to_unit
from croco_bench.metrics.classification import ClassificationMeter
from croco_bench.metrics.corruption import CorruptionMeter
from croco_bench.types import Array, Batch, Sample, Size

# Images predicted at once; results don't depend on it.
_EVAL_BATCH = 64
# Shorter side over crop size in evaluation; area and aspect ratio of random boxes in training.
_RESIZE, _AREA, _ASPECT = 256 / 224, (0.08, 1.0), (3 / 4, 4 / 3)
_TRUE, _OTHER = (60, 160, 80), (150, 150, 150)


@dataclass(frozen=True)
class ImageNetLinearOptions:
    """Settings of the task.

    Attributes:
        select_fraction: share of the training images, drawn by a hash of their names, that selects weights and rates.
        corrupted: also score ImageNet-C, a folder `imagenet_c` beside `imagenet`.
    """

    select_fraction: float = 0.02
    corrupted: bool = field(default=False, metadata={"affects_score": False})


class ImageNetLinear(Task):
    """One logit per class."""

    Options = ImageNetLinearOptions
    dense = False

    def __init__(self, options: ImageNetLinearOptions, image_size: Size) -> None:
        self.options, self.image_size, self.state = options, image_size, {}

    def out_channels(self, data: TaskData) -> int:
        """Number of class folders of the training split."""
        return len(data.class_names)

    @property
    def selection_metric(self) -> str:
        """The headline."""
        return "top1"

    def open(self, root: Path, *, seed: int) -> TaskData:
        """See `Task.open`; the validation images are the test split and select nothing."""
        whole, test = open_split(root, "train"), open_split(root, "val")
        training = TrainingSplits(*split_by_group(whole, self.options.select_fraction, seed=seed))
        further = {}
        if self.options.corrupted:
            further["corrupted"] = open_corrupted(root.parent / "imagenet_c", whole.classes)
        return TaskData(test, training, further, class_names=tuple(titles(root, whole.classes)))

    def augment(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """As MAE's linear probe: a random box, drawn without rejection as in TensorFlow, resized (bicubic); a flip."""
        image = Image.fromarray(sample["image"])
        box = _random_box(image.size, rng)
        resized = image.resize(self.image_size[::-1], Image.Resampling.BICUBIC, box=box)
        pixels = np.array(resized)
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        return {"image": to_unit(pixels), "label": sample["label"]}

    def _prepare(self, sample: Sample) -> Sample:
        """Shorter side to 8/7 of the network's (bicubic), then a centre crop."""
        image, (height, width) = Image.fromarray(sample["image"]), self.image_size
        scale = max(round(_RESIZE * height) / image.height, round(_RESIZE * width) / image.width)
        # The longer side is rounded down, as torchvision does.
        size = max(int(image.width * scale + 1e-6), width), max(int(image.height * scale + 1e-6), height)
        resized = image.resize(size, Image.Resampling.BICUBIC)
        left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
        return {
            "image": to_unit(np.array(resized.crop((left, top, left + width, top + height)))),
            "label": sample["label"],
        }

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(output, batch["label"])

    def selection(self, reader: Reader) -> Evaluation:
        """The evaluation of the validation images."""
        return self._center(reader, ClassificationMeter())

    def evaluations(self, data: TaskData) -> list[Evaluation]:
        """Centre crops of all validation images; ImageNet-C on request."""
        whole = [self._center(data.test, ClassificationMeter(len(data.class_names)))]
        return [*whole, *(self._corrupted(reader) for reader in data.further.values())]

    def _corrupted(self, reader: Reader) -> Evaluation:
        there = len(reader.corruptions) if isinstance(reader, ImageNetCReader) else len(CORRUPTIONS)
        lacking = (
            () if there == len(CORRUPTIONS) else (f"means are over {there} of the {len(CORRUPTIONS)} corruptions",)
        )
        return Evaluation(
            prefix="corrupted",
            reader=reader,
            meter=CorruptionMeter(CORRUPTIONS),
            prepare=self._prepare_corrupted,
            predict=TensorPredict(self._predict),
            batch_size=_EVAL_BATCH,
            citation="ImageNet-C (Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261): errors relative to AlexNet's, means "
            "over five severities, then over corruptions",
            deviations=lacking,
        )

    def _prepare_corrupted(self, sample: Sample) -> Sample:
        """The files hold centre crops already; they are resized (bicubic) only where the network has another size."""
        image = Image.fromarray(sample["image"])
        if image.size != self.image_size[::-1]:
            image = image.resize(self.image_size[::-1], Image.Resampling.BICUBIC)
        kept = {name: sample[name] for name in ("label", "corruption", "severity")}
        return {"image": to_unit(np.array(image)), **kept}

    def _center(self, reader: Reader, meter: ClassificationMeter) -> Evaluation:
        return Evaluation(
            prefix="",
            reader=reader,
            meter=meter,
            prepare=self._prepare,
            predict=TensorPredict(self._predict),
            batch_size=_EVAL_BATCH,
            citation="one centre crop after resizing the shorter side to 8/7 of it (256 for 224), as MAE",
        )

    def _predict(self, network: nn.Module, batch: Batch) -> Tensor:
        output: Tensor = network(batch["image"])
        return output.float()

    def panels(self, data: TaskData, sample: Sample, prediction: Array) -> Mapping[str, Array]:
        """Image, and the five largest logits as bars; the true class is green, and in brackets in the title."""
        image = to_uint8(sample["image"])
        best, label = np.argsort(-prediction)[:5], int(sample["label"])
        shares = np.exp(prediction - prediction.max())
        shares /= shares.sum()
        bars = np.full_like(image, 255)
        height, width = bars.shape[:2]
        for rank, index in enumerate(best):
            top, bottom = (round((rank + edge) * height / 5) for edge in (0.15, 0.85))
            bars[top:bottom, : max(round(width * float(shares[index])), 1)] = _TRUE if index == label else _OTHER
        named = ", ".join(data.class_names[index] for index in best[:2])
        return {"image": image, f"{named} (is {data.class_names[label]})": bars}


def _random_box(size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) with 8 to 100 % of the area and an aspect ratio of 3/4 to 4/3, clipped to the image."""
    width, height = size
    area = width * height * rng.uniform(*_AREA)
    aspect = np.exp(rng.uniform(*np.log(_ASPECT)))
    wide = int(np.clip(round(np.sqrt(area * aspect)), 1, width))
    tall = int(np.clip(round(np.sqrt(area / aspect)), 1, height))
    left, top = (int(rng.integers(0, free, endpoint=True)) for free in (width - wide, height - tall))
    return left, top, left + wide, top + tall
