"""What tasks of monocular depth in metres share: targets, losses, augmentation after MultiMAE, evaluations."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from croco_bench.contracts import Evaluation, Reader, Task, TaskData, TensorPredict
from croco_bench.data.splitting import spread_indices
from croco_bench.data.transforms import geometry
from croco_bench.data.transforms.color import to_uint8, to_unit
from croco_bench.data.transforms.colormaps import colored, unit_range
from croco_bench.data.transforms.single_view import augmented, centered
from croco_bench.errors import DataError
from croco_bench.metrics.depth import MIN_DEPTH_M, DepthMeter
from croco_bench.tasks.depth_losses import binned, log_gradients, scale_invariant
from croco_bench.tiling import slide_each
from croco_bench.types import Array, Batch, Sample, Size
from croco_bench.valid_pixels import ValidPixels

log = logging.getLogger(__name__)

# MultiMAE's constants: 16-bit PNGs with 6553.6 per metre, standardised by mean and deviation of another encoding.
_PNG_PER_M, _MULTIMAE_MEAN, _MULTIMAE_STD = 6553.6, 2070.7764, 777.5723
# Number of bins of the target `bins`; weight of the gradient loss beside the scale-invariant one, as in DINOv2.
_BINS, _GRADIENT_WEIGHT = 256, 0.5
# Training images that are read for mean and deviation at most, and first batches that are checked against these.
_MEASURED, _CHECKED_BATCHES = 2000, 3
# Images predicted at once, and at native resolution on a GPU; results don't depend on them.
_EVAL_BATCH, _TOGETHER = 16, 8


@dataclass(frozen=True)
class DepthOptions:
    """Settings of the task.

    Attributes:
        loss: over valid pixels: reverse Huber (berHu), mean absolute error, or the scale-invariant logarithmic loss of AdaBins
            (`silog`), with half of the gradient loss of MegaDepth (`silog_gradient`), as DINOv3 and DINOv2 probe depth.
        target: unit of the network's output: depth standardised by mean and deviation of the training split, metres, or
            depth standardised by MultiMAE's constants (only to compare with its code); `bins`: metres, as a weighted mean of
            256 depths spaced evenly up to `max_depth_m` (AdaBins; DINOv2, DINOv3).
        select_fraction: share of the training images, in whole scenes, that selects the weights.
        max_depth_m: deeper targets are not scored; predictions are clamped to it.
        color: colour jitter and random grayscale in training.
        overlap: share of a tile that neighbouring tiles have in common, in the full-resolution protocol.
    """

    loss: Literal["berhu", "l1", "silog", "silog_gradient"] = "berhu"
    target: Literal["standardised", "metres", "multimae", "bins"] = "standardised"
    select_fraction: float = 0.1
    max_depth_m: Annotated[float, Field(gt=MIN_DEPTH_M)] = 10.0
    color: bool = True
    overlap: Annotated[float, Field(ge=0, le=0.98)] = 0.5


class MetricDepth(Task):
    """One output channel after `decode`: depth, in metres after `to_meters`. Subclasses open a dataset.

    Attributes:
        dataset: name of the dataset, for advice.
        center_citation: source of the evaluation of centre crops.
        full_citation: that of whole images: the crop of scored pixels, and who has it.
    """

    Options = DepthOptions
    views = 1
    dataset: ClassVar[str]
    center_citation: ClassVar[str]
    full_citation: ClassVar[str]

    def __init__(self, options: Any, image_size: Size) -> None:
        self.options, self.image_size = options, image_size
        self.state = {"mean_m": 0.0, "std_m": 1.0}
        if options.target == "multimae":
            self.state = {"mean_m": _MULTIMAE_MEAN / _PNG_PER_M, "std_m": _MULTIMAE_STD / _PNG_PER_M}
        self._batches_to_check = _CHECKED_BATCHES

    def out_channels(self, data: TaskData) -> int:
        """Depth, or a weight of each bin."""
        return _BINS if self.options.target == "bins" else 1

    def decode(self, output: Tensor) -> Tensor:
        """Weights of the bins (B, 256, h, w) -> depth in metres (B, 1, h, w); other targets stay as they are."""
        if self.options.target != "bins":
            return output
        return binned(output.float(), MIN_DEPTH_M, self.options.max_depth_m)

    @property
    def selection_metric(self) -> str:
        """δ1, the headline; RMSE on a small selection split depends on a few far pixels."""
        return "delta1"

    def measure_state(self, train: Reader) -> None:
        """Mean and deviation (m) of valid training depths, with equal weights of all images.

        All of the official 795 images are read; of longer lists (BTS has 24 thousand), 2000 evenly spaced ones.

        Raises:
            DataError: there is no valid depth, or all depths are equal.
        """
        if self.options.target != "standardised":
            return
        first, second = [], []
        for index in spread_indices(len(train), _MEASURED):
            sample = train[index]
            depth = sample["depth_m"][sample["valid"]].astype(np.float64)
            if depth.size:
                first.append(depth.mean())
                second.append((depth**2).mean())
        if not first:
            raise DataError(
                "no training image has a valid depth pixel", f"croco-bench data check {self.dataset} says more"
            )
        mean, variance = float(np.mean(first)), float(np.mean(second) - np.mean(first) ** 2)
        if variance < 1e-8:
            raise DataError(
                f"all valid training depths are {mean:.3f} m",
                f"croco-bench data check {self.dataset} says more",
            )
        self.state = {"mean_m": mean, "std_m": float(np.sqrt(variance))}

    def augment(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """As MultiMAE: shorter side to the network's, flip, color jitter, grayscale, random crop."""
        return augmented(self.maps(sample), self.image_size, rng, color=self.options.color)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Over all valid pixels of the batch; berHu is quadratic above a fifth of the batch's largest error."""
        valid = batch["valid"]
        if self.options.loss.startswith("silog"):
            return self._silog(self.to_meters(output)[:, 0], batch["depth_m"], valid)
        pixels = ValidPixels(valid)
        self._guard(batch["depth_m"], valid)
        target = (pixels.of(batch["depth_m"]) - self.state["mean_m"]) / self.state["std_m"]
        error: Tensor = (pixels.of(output[:, 0]) - target).abs()
        if self.options.loss == "l1":
            return pixels.mean(error)
        corner = (0.2 * pixels.largest(error.detach())).clamp(min=1e-5)
        return pixels.mean(torch.where(error < corner, error, (error**2 + corner**2) / (2 * corner)))

    def _silog(self, depth: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
        """Losses of logarithms of depth (B, H, W) in metres."""
        depth, pixels = depth.clamp(min=MIN_DEPTH_M), ValidPixels(valid)
        loss = scale_invariant(depth, truth, pixels)
        if self.options.loss == "silog_gradient":
            loss = loss + _GRADIENT_WEIGHT * log_gradients(depth, truth, valid)
        # A deviation needs two pixels; without them a zero gradient, or distributed training would stall.
        return torch.where(pixels.count < 2, 0.0 * loss, loss)

    def _guard(self, depth: Tensor, valid: Tensor) -> None:
        """Warns if standardised targets of the first batches are far from mean 0 and deviation 1."""
        if not self._batches_to_check or self.options.target in ("metres", "bins"):
            return
        target = (depth[valid] - self.state["mean_m"]) / self.state["std_m"]
        if target.numel() < 2:
            return
        self._batches_to_check -= 1
        mean, deviation = float(target.mean()), float(target.std())
        if abs(mean) > 2 or not 0.1 < deviation < 5:
            log.warning("standardised depth has mean %.1f and deviation %.1f; expected about 0 and 1", mean, deviation)
            self._batches_to_check = 0

    def to_meters(self, output: Tensor) -> Tensor:
        """Network output (B, 1, H, W) -> depth in metres."""
        meters: Tensor = output.float() * self.state["std_m"] + self.state["mean_m"]
        return meters

    def selection(self, reader: Reader) -> Evaluation:
        """Centre crops."""
        return self.center("", reader)

    def maps(self, sample: Sample) -> Sample:
        """Image, depth and valid pixels of a raw sample."""
        return {name: sample[name] for name in ("image", "depth_m", "valid")}

    @abstractmethod
    def scored_window(self, size: Size) -> tuple[int, int, int, int]:
        """First and last row, first and last column (exclusive) of the crop of an image of `size` that is scored."""

    def center(self, prefix: str, reader: Reader) -> Evaluation:
        """Centre crops of the network's size."""
        return Evaluation(
            prefix=prefix,
            reader=reader,
            meter=DepthMeter(max_m=self.options.max_depth_m),
            prepare=self._prepare_center,
            predict=TensorPredict(self._predict_center),
            batch_size=_EVAL_BATCH,
            citation=self.center_citation,
        )

    def full(self, prefix: str, reader: Reader) -> Evaluation:
        """Whole images at their native size, scored in a window."""
        return Evaluation(
            prefix=prefix,
            reader=reader,
            meter=DepthMeter(max_m=self.options.max_depth_m),
            prepare=self._prepare_full,
            predict=TensorPredict(self._predict_full, together=_TOGETHER),
            batch_size=1,
            citation=self.full_citation.format(cap=f"{self.options.max_depth_m:g} m"),
            deviations=(
                "the image is resized so that the network's input covers its shorter side, predicted in sliding "
                f"windows that overlap by {self.options.overlap:g} or more, averaged, and resized back",
            ),
        )

    def _prepare_center(self, sample: Sample) -> Sample:
        return centered(self.maps(sample), self.image_size)

    def _predict_center(self, network: nn.Module, batch: Batch) -> Tensor:
        return self.to_meters(network(batch["image"]))[:, 0]

    def _prepare_full(self, sample: Sample) -> Sample:
        maps = self.maps(sample)
        small = geometry.smallest_side({"image": maps["image"]}, self.image_size)
        inside = np.zeros_like(maps["valid"])
        top, bottom, left, right = self.scored_window((inside.shape[0], inside.shape[1]))
        inside[top:bottom, left:right] = True
        return {"image": to_unit(small["image"]), "depth_m": maps["depth_m"], "valid": maps["valid"] & inside}

    def _predict_full(self, network: nn.Module, batch: Batch) -> list[Tensor]:
        outputs = slide_each(network, batch["image"], self.image_size, self.options.overlap)
        return [
            F.interpolate(self.to_meters(output), size=tuple(truth.shape), mode="bilinear", align_corners=False)[0, 0]
            for output, truth in zip(outputs, batch["depth_m"], strict=True)
        ]

    def panels(self, data: TaskData, sample: Sample, prediction: Array) -> Mapping[str, Array]:
        """Image, prediction and ground truth on one scale, absolute error, at the size of the truth; invalid pixels are gray."""
        valid = sample["valid"]
        span = unit_range(sample["depth_m"][valid])
        error, top = np.abs(prediction - sample["depth_m"]), self.options.max_depth_m / 10
        native = (valid.shape[1], valid.shape[0])
        return {
            "image": cv2.resize(to_uint8(sample["image"]), native, interpolation=cv2.INTER_LINEAR),
            f"prediction, {span[0]:.1f} to {span[1]:.1f} m": colored(prediction, span, cv2.COLORMAP_TURBO),
            "ground truth": colored(sample["depth_m"], span, cv2.COLORMAP_TURBO, valid),
            f"error, 0 to {top:g} m": colored(error, (0.0, top), cv2.COLORMAP_INFERNO, valid),
        }
