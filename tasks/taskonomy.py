"""Eight regression tasks of Taskonomy, trained and scored as MultiMAE does on its small split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import cv2
import numpy as np
from PIL import Image
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from croco_bench.contracts import Evaluation, Reader, Task, TaskData, TensorPredict, TrainingSplits
from croco_bench.data.datasets.taskonomy import (
    DOMAINS,
    Layout,
    Masks,
    TaskonomyReader,
    block_dilated,
    open_split,
    softened,
)
from croco_bench.data.datasets.taskonomy_lists import Split
from croco_bench.data.transforms.color import to_uint8, to_unit
from croco_bench.data.transforms.colormaps import colored, unit_range
from croco_bench.metrics.dense import DenseMeter
from croco_bench.types import Array, Batch, Sample, Size
from croco_bench.valid_pixels import ValidPixels

# Images predicted at once; results don't depend on it.
_EVAL_BATCH = 16


@dataclass(frozen=True)
class TaskonomyOptions:
    """Settings of the eight tasks.

    Attributes:
        train_rows: number of rows of the training list that are used, from its start.
        val_rows: number of rows of the official validation list that select the weights, from its start.
        layout: layout of the files; `auto` detects it.
        masks: what says which pixels are valid: `mask_valid`, `depth` (where depth_zbuffer isn't 65535), or `auto`: masks if
            there are any. Taskonomy was released without; the result says which were used.
        allow_missing: largest share of a split's views that may lack a file; they are left out, and the result says so.
    """

    train_rows: PositiveInt = 800
    val_rows: PositiveInt = 200
    layout: Layout = field(default="auto", metadata={"affects_score": False})
    masks: Masks = field(default="auto", metadata={"affects_score": False})
    allow_missing: Annotated[float, Field(ge=0, lt=1)] = field(default=0.01, metadata={"affects_score": False})


class Taskonomy(Task):
    """Regression of one domain; channels are in 0 to 1, as they are decoded."""

    Options = TaskonomyOptions
    domain: ClassVar[str]

    def __init__(self, options: TaskonomyOptions, image_size: Size) -> None:
        self.options, self.image_size, self.state = options, image_size, {}

    def out_channels(self, data: TaskData) -> int:
        """Channels of the domain."""
        return DOMAINS[self.domain].channels

    @property
    def selection_metric(self) -> str:
        """The loss."""
        return "l1"

    def open(self, root: Path, *, seed: int) -> TaskData:
        """See `Task.open`; the official validation list, of other buildings, is the selection split."""
        training = TrainingSplits(
            train=self._open_split(root, "train", self.options.train_rows),
            select=self._open_split(root, "val", self.options.val_rows),
        )
        return TaskData(self._open_split(root, "test"), training)

    def open_test(self, root: Path) -> TaskData:
        """The test list alone."""
        return TaskData(self._open_split(root, "test"))

    def _open_split(self, root: Path, split: Split, rows: int | None = None) -> TaskonomyReader:
        options = self.options
        return open_split(
            root,
            split,
            domain=self.domain,
            rows=rows,
            layout=options.layout,
            masks=options.masks,
            allow_missing=options.allow_missing,
        )

    def augment(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Nothing is augmented, as in MultiMAE."""
        return self._prepare(sample)

    def _prepare(self, sample: Sample) -> Sample:
        """Resizes the image bilinearly, target and masks by nearest neighbour; then dilates masks and softens edges."""
        height, width = self.image_size
        image = Image.fromarray(sample["image"]).resize((width, height), Image.Resampling.BILINEAR)
        target = _nearest(sample["target"], self.image_size).reshape(height, width, -1)
        if self.domain == "occlusion":
            target = softened(target)
        valid = _nearest(sample["valid"], self.image_size)
        return {"image": to_unit(np.array(image)), "target": target, "valid": block_dilated(valid)}

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Mean absolute error over the valid pixels of the whole batch, all channels."""
        pixels = ValidPixels(batch["valid"])
        error = pixels.of(output.permute(0, 2, 3, 1)) - pixels.of(batch["target"])
        return pixels.mean(error.abs())

    def selection(self, reader: Reader) -> Evaluation:
        """The evaluation of the test split."""
        return self._whole(reader)

    def evaluations(self, data: TaskData) -> list[Evaluation]:
        """All test images at the network's size."""
        return [self._whole(data.test)]

    def _whole(self, reader: Reader) -> Evaluation:
        return Evaluation(
            prefix="",
            reader=reader,
            meter=DenseMeter(),
            prepare=self._prepare,
            predict=TensorPredict(self._predict),
            batch_size=_EVAL_BATCH,
            citation="targets resized by nearest neighbour to the network's size, masked L1, as MultiMAE; mean over images",
        )

    def _predict(self, network: nn.Module, batch: Batch) -> Tensor:
        output: Tensor = network(batch["image"])
        return output.float().permute(0, 2, 3, 1)

    def panels(self, data: TaskData, sample: Sample, prediction: Array) -> Mapping[str, Array]:
        """Image, prediction and truth on one scale, error averaged over channels; invalid pixels are gray."""
        valid, truth = sample["valid"], np.asarray(sample["target"])
        span = unit_range(truth[valid])
        error, top = np.abs(prediction - truth).mean(axis=-1), max(span[1] - span[0], 1e-3) / 2
        return {
            "image": to_uint8(sample["image"]),
            "prediction": _picture(prediction, span, np.ones_like(valid)),
            "ground truth": _picture(truth, span, valid),
            f"error, 0 to {top:.2g}": colored(error, (0.0, top), cv2.COLORMAP_INFERNO, valid),
        }


def _nearest(values: Array, size: Size) -> Array:
    """Nearest neighbour with pixel centres aligned, rounded as Pillow does; INTER_NEAREST_EXACT differs before OpenCV 5."""
    rows, columns = (_centers(old, new) for old, new in zip(values.shape, size, strict=False))
    resized: Array = values[rows[:, None], columns]
    return resized


def _centers(old: int, new: int) -> Array:
    steps = np.full(new, old / new)
    steps[0] /= 2
    return np.minimum(np.cumsum(steps).astype(np.intp), old - 1)


def _picture(values: Array, span: tuple[float, float], valid: Array) -> Array:
    """One channel in false colors; two or three as red, green and blue."""
    if values.shape[2] == 1:
        return colored(values[:, :, 0], span, cv2.COLORMAP_VIRIDIS, valid)
    shown = np.zeros((*values.shape[:2], 3))
    shown[:, :, : values.shape[2]] = np.clip(values, 0, 1)
    shown[~valid] = 0.5
    return (shown * 255).round().astype(np.uint8)


class Curvature(Taskonomy):
    """Two principal curvatures."""

    domain = "curvature"


class Depth(Taskonomy):
    """Depth along the optical axis, 0 to 15.6 m."""

    domain = "depth"


class Edges(Taskonomy):
    """Texture edges."""

    domain = "edges"


class Keypoints2D(Taskonomy):
    """Keypoints of the image."""

    domain = "keypoints2d"


class Keypoints3D(Taskonomy):
    """Keypoints of the surface."""

    domain = "keypoints3d"


class Normals(Taskonomy):
    """Surface normals."""

    domain = "normals"


class Occlusion(Taskonomy):
    """Occlusion edges."""

    domain = "occlusion"


class Reshading(Taskonomy):
    """Shading by a light at the camera."""

    domain = "reshading"
