"""Surface normals on NYUv2, scored over all valid pixels of the test images as GeoNet and later works do."""

from __future__ import annotations

import math
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
from croco_bench.data.datasets.geometry.nyuv2_normals import Truth, open_split
from croco_bench.data.splitting import split_by_group
from croco_bench.data.transforms import geometry
from croco_bench.data.transforms.color import to_uint8, to_unit
from croco_bench.data.transforms.colormaps import colored
from croco_bench.data.transforms.single_view import augmented, centered
from croco_bench.metrics.dense import NormalsMeter, angles_deg
from croco_bench.tiling import slide_each
from croco_bench.types import Array, Batch, Sample, Size
from croco_bench.valid_pixels import ValidPixels

# Cosines are kept so far from -1 and 1, where the slope of the angle is infinite.
_MARGIN = 1e-4
# The concentration of a distribution of angles is at least this.
_LEAST_KAPPA = 0.01
# Images predicted at once, and at native resolution on a GPU; results don't depend on them.
_EVAL_BATCH, _TOGETHER = 16, 8
_TRUTHS: dict[Truth, str] = {
    "geonet": "GeoNet's normals (Qi et al., CVPR 2018)",
    "ladicky": "Ladicky's normals (Ladicky et al., ECCV 2014), as Eigen and Fergus (ICCV 2015) offer them",
}


@dataclass(frozen=True)
class NYUv2NormalsOptions:
    """Settings of the task.

    Attributes:
        truth: ground truth to train on and to score by: `geonet` or `ladicky`. Scores by one aren't comparable with those by
            the other.
        loss: mean over valid pixels of the angle in radians (`angular`), of 1 minus its cosine (`cosine`), or of the negative
            logarithmic likelihood of the angle, with a predicted concentration (`uncertainty`; Bae et al. 2021).
        select_fraction: share of the training images, in whole scenes, that selects the weights.
        color: colour jitter and random grayscale in training.
        overlap: share of a tile that neighbouring tiles have in common.
    """

    truth: Truth = "geonet"
    loss: Literal["angular", "cosine", "uncertainty"] = "uncertainty"
    select_fraction: float = 0.1
    color: bool = True
    overlap: Annotated[float, Field(ge=0, le=0.98)] = 0.5


class NYUv2Normals(Task):
    """Three output channels, a unit vector per pixel; with the loss `uncertainty` a fourth, its concentration."""

    Options = NYUv2NormalsOptions
    views = 1

    def __init__(self, options: NYUv2NormalsOptions, image_size: Size) -> None:
        self.options, self.image_size, self.state = options, image_size, {}

    def out_channels(self, data: TaskData) -> int:
        """Three, and a fourth where uncertainty is predicted."""
        return 4 if self.options.loss == "uncertainty" else 3

    def decode(self, output: Tensor) -> Tensor:
        """Vectors of any length (B, C, h, w) -> unit vectors, and the concentration, which is positive."""
        output = output.float()
        kappa = F.elu(output[:, 3:]) + 1 + _LEAST_KAPPA
        return torch.cat([F.normalize(output[:, :3], dim=1), kappa], dim=1)

    @property
    def selection_metric(self) -> str:
        """The mean angle."""
        return "mean_deg"

    def open(self, root: Path, *, seed: int) -> TaskData:
        """See `Task.open`; whole scenes of the training split are held out for selection."""
        whole, test = (open_split(root, split, truth=self.options.truth) for split in ("train", "test"))
        return TaskData(test, TrainingSplits(*split_by_group(whole, self.options.select_fraction, seed=seed)))

    def open_test(self, root: Path) -> TaskData:
        """The test images alone."""
        return TaskData(open_split(root, "test", truth=self.options.truth))

    def augment(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """As MultiMAE for depth: shorter side to the network's, flip, color jitter, grayscale, random crop."""
        return augmented(_maps(sample), self.image_size, rng, color=self.options.color)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Over all valid pixels of the batch."""
        pixels = ValidPixels(batch["valid"])
        predicted = pixels.of(output.float().permute(0, 2, 3, 1))
        cosine = F.cosine_similarity(predicted[..., :3], pixels.of(batch["normals"]), dim=-1)
        if self.options.loss == "cosine":
            return pixels.mean(1 - cosine)
        angle = cosine.clamp(-1 + _MARGIN, 1 - _MARGIN).acos()
        if self.options.loss == "angular":
            return pixels.mean(angle)
        kappa = predicted[..., 3]
        return pixels.mean(kappa * angle + torch.log1p((-math.pi * kappa).exp()) - torch.log1p(kappa**2))

    def selection(self, reader: Reader) -> Evaluation:
        """Centre crops."""
        return self._center("", reader)

    def evaluations(self, data: TaskData) -> list[Evaluation]:
        """All test images at full resolution, and their centre crops at the network's size."""
        return [self._full(data.test), self._center("center", data.test)]

    def _center(self, prefix: str, reader: Reader) -> Evaluation:
        return Evaluation(
            prefix=prefix,
            reader=reader,
            meter=NormalsMeter(),
            prepare=self._prepare_center,
            predict=TensorPredict(self._predict_center),
            batch_size=_EVAL_BATCH,
            citation=f"centre crop of the network's size after resizing the shorter side; {_TRUTHS[self.options.truth]}",
        )

    def _full(self, reader: Reader) -> Evaluation:
        return Evaluation(
            prefix="",
            reader=reader,
            meter=NormalsMeter(),
            prepare=self._prepare_full,
            predict=TensorPredict(self._predict_full, together=_TOGETHER),
            batch_size=1,
            citation=f"native resolution, all valid pixels of all test images pooled, as Bae et al. (ICCV 2021) and DSINE; "
            f"{_TRUTHS[self.options.truth]}",
            deviations=(
                "the image is resized so that the network's input covers its shorter side, predicted in sliding "
                f"windows that overlap by {self.options.overlap:g} or more, averaged, and resized back",
            ),
        )

    def _prepare_center(self, sample: Sample) -> Sample:
        return centered(_maps(sample), self.image_size)

    def _predict_center(self, network: nn.Module, batch: Batch) -> Tensor:
        return _vectors(network(batch["image"]))

    def _prepare_full(self, sample: Sample) -> Sample:
        small = geometry.smallest_side({"image": sample["image"]}, self.image_size)
        return {**_maps(sample), "image": to_unit(small["image"])}

    def _predict_full(self, network: nn.Module, batch: Batch) -> list[Tensor]:
        outputs = slide_each(network, batch["image"], self.image_size, self.options.overlap)
        return [
            _vectors(F.interpolate(output, size=tuple(truth.shape[:2]), mode="bilinear", align_corners=False))[0]
            for output, truth in zip(outputs, batch["normals"], strict=True)
        ]

    def panels(self, data: TaskData, sample: Sample, prediction: Array) -> Mapping[str, Array]:
        """Image, prediction and ground truth as colors, angle between them; unknown pixels are gray."""
        valid, truth = sample["valid"], np.asarray(sample["normals"])
        angles = angles_deg(prediction.reshape(-1, 3), truth.reshape(-1, 3)).reshape(valid.shape)
        native = (valid.shape[1], valid.shape[0])
        return {
            "image": cv2.resize(to_uint8(sample["image"]), native, interpolation=cv2.INTER_LINEAR),
            "prediction": _picture(prediction, np.ones_like(valid)),
            "ground truth": _picture(truth, valid),
            "error, 0 to 60 deg": colored(angles, (0.0, 60.0), cv2.COLORMAP_INFERNO, valid),
        }


def _maps(sample: Sample) -> Sample:
    return {name: sample[name] for name in ("image", "normals", "valid")}


def _vectors(output: Tensor) -> Tensor:
    """Outputs (B, C, H, W) -> unit vectors (B, H, W, 3)."""
    return F.normalize(output[:, :3].float(), dim=1).permute(0, 2, 3, 1)


def _picture(normals: Array, valid: Array) -> Array:
    shown = np.where(valid[:, :, None], (normals + 1) / 2, 0.4)
    picture: Array = (255 * np.clip(shown, 0, 1)).astype(np.uint8)
    return picture
