"""Semantic segmentation of the 150 classes of ADE20K, fine-tuned and scored as mmsegmentation or MultiMAE do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from croco_bench.contracts import Evaluation, Reader, Task, TaskData, TensorPredict, TrainingSplits
from croco_bench.data.datasets.ade20k import NAMES, PALETTE, UNLABELED, ADE20KReader
from croco_bench.data.splitting import split_by_group
from croco_bench.data.transforms import geometry
from croco_bench.data.transforms import segmentation as maps
from croco_bench.data.transforms.color import ColorJitter, to_uint8, to_unit
from croco_bench.errors import DivergedError
from croco_bench.metrics.segmentation import SegmentationMeter
from croco_bench.tiling import slide_each
from croco_bench.types import Array, Batch, Sample, Size

_JITTER = ColorJitter(brightness=(0.6, 1.4), contrast=(0.6, 1.4), saturation=(0.8, 1.2), hue=(-0.1, 0.1))
# Pixels and images per forward pass, images predicted together at native size on a GPU, and classes resized at once: they bound
# memory; results don't depend on them.
_EVAL_PIXELS, _EVAL_BATCH, _TOGETHER, _CLASSES_AT_ONCE = 512 * 512, 16, 8, 25


@dataclass(frozen=True)
class ADE20KSegOptions:
    """Settings of the task.

    Attributes:
        augment: augmentation of mmsegmentation's configurations for ADE20K, or of MultiMAE's.
        overlap: share of a tile that neighbouring tiles have in common, at native size.
        select_fraction: share of the training images that selects the weights.
    """

    augment: Literal["mmseg", "multimae"] = "mmseg"
    overlap: Annotated[float, Field(ge=0, le=0.98)] = 1 / 3
    select_fraction: float = 0.05


class ADE20KSeg(Task):
    """150 output channels: logits of the classes."""

    Options = ADE20KSegOptions
    views = 1
    unlabeled = UNLABELED

    def __init__(self, options: ADE20KSegOptions, image_size: Size) -> None:
        self.options, self.image_size, self.state = options, image_size, {}

    def out_channels(self, data: TaskData) -> int:
        """Classes."""
        return len(NAMES)

    @property
    def selection_metric(self) -> str:
        """The headline."""
        return "miou"

    def open(self, root: Path, *, seed: int) -> TaskData:
        """See `Task.open`; a fixed part of the training images is held out for selection."""
        training = split_by_group(ADE20KReader(root, "train"), self.options.select_fraction, seed=seed)
        return TaskData(ADE20KReader(root, "test"), TrainingSplits(*training))

    def augment(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """`image` and `label` of the network's size; pixels outside the photograph have no class."""
        change = self._as_mmseg if self.options.augment == "mmseg" else self._as_multimae
        moved = change({name: sample[name] for name in ("image", "label")}, rng)
        return {"image": to_unit(moved["image"]), "label": torch.from_numpy(np.ascontiguousarray(moved["label"]))}

    def _as_mmseg(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Random scale, crop, flip, color distortion, padding."""
        factor = maps.covering(sample["label"].shape, self.image_size) * rng.uniform(0.5, 2.0)
        moved = maps.varied_crop(maps.rescale(sample, factor), self.image_size, rng, max_share=0.75)
        if rng.random() < 0.5:
            moved = geometry.flip(moved)
        moved["image"] = maps.distort(moved["image"], rng)
        return maps.pad(moved, self.image_size, maps.MEAN_COLOR)

    def _as_multimae(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Flip, longer side to the network's, color jitter, random scale, padding, crop."""
        moved = geometry.flip(sample) if rng.random() < 0.5 else sample
        moved = maps.rescale(moved, maps.fitting(sample["label"].shape, self.image_size))
        if rng.random() < 0.5:
            moved["image"] = _JITTER(moved["image"], rng)
        moved = maps.pad(maps.rescale(moved, rng.uniform(0.1, 2.0)), self.image_size, maps.GRAY)
        return geometry.random_crop(moved, self.image_size, rng)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy, its mean over the labelled pixels of the batch."""
        label = batch["label"].long()
        if output.device.type == "cpu" and output.is_contiguous(memory_format=torch.channels_last):
            # Rows of classes that lie together: half the time of a softmax over the second dimension.
            output, label = output.movedim(1, -1).flatten(0, 2), label.flatten()
        total = F.cross_entropy(output, label, ignore_index=UNLABELED, reduction="sum")
        # A batch without labels has a zero gradient, or distributed training would stall.
        mean: Tensor = total / (label != UNLABELED).sum().clamp(min=1)
        return mean

    def selection(self, reader: Reader) -> Evaluation:
        """Native size."""
        return self._native(reader)

    def single_pass(self, reader: Reader) -> Evaluation:
        """Padded squares: windows at native size would take several passes."""
        return self._letterbox(reader)

    def evaluations(self, data: TaskData) -> list[Evaluation]:
        """Native size, and MultiMAE's padded squares."""
        return [self._native(data.test), self._letterbox(data.test)]

    def _native(self, reader: Reader) -> Evaluation:
        return Evaluation(
            prefix="",
            reader=reader,
            meter=SegmentationMeter(NAMES),
            prepare=self._prepare_native,
            predict=_LabelPredict(self._predict_native, together=_TOGETHER),
            batch_size=1,
            citation="native size, single scale, sliding windows of the network's size on the image whose shorter side is "
            "the window's (longer side at most four), averaged logits resized to the annotation, as mmsegmentation; areas "
            "of a class summed over all images; means are over the classes that occur, as many as the metric classes says, "
            f"of {len(NAMES)}",
            deviations=(
                "windows are spread evenly and overlap by at least task.overlap, where mmsegmentation has a fixed stride "
                "and moves the last window back",
            ),
        )

    def _letterbox(self, reader: Reader) -> Evaluation:
        height, width = self.image_size
        return Evaluation(
            prefix="letterbox",
            reader=reader,
            meter=SegmentationMeter(NAMES),
            prepare=self._prepare_letterbox,
            predict=_LabelPredict(self._predict_letterbox),
            batch_size=min(max(_EVAL_PIXELS // (height * width), 1), _EVAL_BATCH),
            citation="image and annotation resized to fit the network's input, padded at the bottom and on the right, scored "
            "at that size without the padding, as MultiMAE",
        )

    def _prepare_native(self, sample: Sample) -> Sample:
        """`content` is the size of the image before it was padded to at least a window."""
        image = {"image": sample["image"]}
        inside = maps.rescale(image, maps.covering(sample["label"].shape, self.image_size))
        padded = maps.pad(inside, self.image_size, maps.MEAN_COLOR)
        return {"image": to_unit(padded["image"]), "label": sample["label"], "content": inside["image"].shape[:2]}

    def _predict_native(self, network: nn.Module, batch: Batch) -> list[Tensor]:
        logits = slide_each(network, batch["image"], self.image_size, self.options.overlap)
        return [
            _labels(one[..., :height, :width], label.shape)[0]
            for one, (height, width), label in zip(logits, batch["content"], batch["label"], strict=True)
        ]

    def _prepare_letterbox(self, sample: Sample) -> Sample:
        both = {name: sample[name] for name in ("image", "label")}
        inside = maps.rescale(both, maps.fitting(sample["label"].shape, self.image_size))
        padded = maps.pad(inside, self.image_size, maps.GRAY)
        return {"image": to_unit(padded["image"]), "label": padded["label"], "content": self.image_size}

    def _predict_letterbox(self, network: nn.Module, batch: Batch) -> Tensor:
        return _labels(network(batch["image"]).float(), self.image_size)

    def panels(self, data: TaskData, sample: Sample, prediction: Array) -> Mapping[str, Array]:
        """Image, prediction and annotation blended with it, wrong pixels in red; unlabelled pixels are gray."""
        label, (height, width) = sample["label"], sample["content"]
        content = to_uint8(sample["image"][:, :height, :width])
        image = cv2.resize(content, label.shape[::-1], interpolation=cv2.INTER_AREA)
        known = (label != UNLABELED)[:, :, None]
        right, wrong = np.array([40, 160, 60]), np.array([230, 30, 30])
        truth = np.where(known, PALETTE[np.where(known[:, :, 0], label, 0)], 96)
        error = np.where(known, np.where((prediction == label)[:, :, None], right, wrong), 96)
        return {
            "image": image,
            f"prediction: {_largest(prediction)}": _blend(image, PALETTE[prediction]),
            f"truth: {_largest(label)}": _blend(image, truth),
            "errors (red)": _blend(image, error),
        }


class _LabelPredict(TensorPredict):
    """Labels as uint8."""

    def __call__(self, network: nn.Module, batch: Batch) -> list[Array]:
        """See `Evaluation.predict`.

        Raises:
            DivergedError: a logit isn't finite.
        """
        labels = super().__call__(network, batch)
        if any((one < 0).any() for one in labels):
            raise DivergedError(
                "the predicted logits aren't finite: the network diverged",
                "lower --set optim.lr or use --set train.precision=fp32",
            )
        return [one.astype(np.uint8) for one in labels]


def _labels(logits: Tensor, size: Size) -> Tensor:
    """Arg max (B, H, W) int16 of the logits after bilinear resizing, a few classes at a time to save memory.

    -1 where the largest logit isn't finite.
    """
    best, labels = [], []
    for first in range(0, logits.shape[1], _CLASSES_AT_ONCE):
        part = logits[:, first : first + _CLASSES_AT_ONCE]
        value, label = F.interpolate(part, size=tuple(size), mode="bilinear", align_corners=False).max(dim=1)
        best.append(value)
        labels.append(label)
    value, winner = torch.stack(best).max(dim=0)
    chosen = winner * _CLASSES_AT_ONCE + torch.stack(labels).gather(0, winner[None])[0]
    return torch.where(value.isfinite(), chosen, -1).to(torch.int16)


def _largest(label: Array) -> str:
    """Names of the three classes with the largest areas."""
    areas = np.bincount(label.ravel(), minlength=len(NAMES))[: len(NAMES)]
    return ", ".join(NAMES[one] for one in areas.argsort()[::-1][:3] if areas[one])


def _blend(image: Array, colors: Array) -> Array:
    blended: Array = (0.4 * image + 0.6 * colors).round().astype(np.uint8)
    return blended
