"""The same rows as those of the meters, from sums that a GPU computes in float64, so that no map is copied to the host.

Nothing here waits for the device: pixels are masked, not packed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from croco_bench.metrics.definitions import DISPARITY_KNOWN, DISPARITY_NOC, DISPARITY_THRESHOLDS_PX, FLOW
from croco_bench.metrics.dense import DenseMeter
from croco_bench.metrics.depth import DepthMeter
from croco_bench.metrics.disparity import DisparityMeter
from croco_bench.metrics.flow import FlowMeter, pixels_of, row_of_sums
from croco_bench.metrics.meter import Meter
from croco_bench.metrics.segmentation import IGNORED, SegmentationMeter, row_of_areas
from croco_bench.types import Array

M = TypeVar("M", bound=Meter)
Row = dict[str, float | Array]


class DeviceMeter(ABC, Generic[M]):
    """Computes the rows of a meter in two parts: numbers on the device, and the row from them on the host."""

    def __init__(self, meter: M) -> None:
        self.meter = meter

    @abstractmethod
    def numbers(self, prediction: Tensor, sample: Mapping[str, Tensor]) -> Tensor:
        """Float64 numbers (n,) of one image, as many for all images."""

    @abstractmethod
    def row(self, numbers: Array) -> Row:
        """The row of `Meter.measure`."""


def device_meter(meter: Meter) -> DeviceMeter[Meter] | None:
    """What computes the rows of a meter on a device; None where only the meter itself can."""
    kind = _KINDS.get(type(meter))  # not a subclass, which may measure otherwise
    return None if kind is None else kind(meter)


def _masked_mean(values: Tensor, where: Tensor) -> Tensor:
    """Over the pixels of a mask; NaN without any."""
    return torch.where(where, values, 0.0).sum() / where.sum()


class _Depth(DeviceMeter[DepthMeter]):
    def numbers(self, prediction: Tensor, sample: Mapping[str, Tensor]) -> Tensor:
        low, high, target = self.meter.min_m, self.meter.max_m, sample["depth_m"]
        scored = sample["valid"] & (target > low) & (target < high)
        truth = torch.where(scored, target, 1.0).double()
        predicted = torch.where(scored, prediction, 1.0).double().clamp(low, high)
        ratio = torch.maximum(predicted / truth, truth / predicted)
        error, log_error = predicted - truth, predicted.log() - truth.log()
        spread = (log_error - _masked_mean(log_error, scored)).square()
        means = [
            *((ratio < 1.25**power).double() for power in (1, 2, 3)),
            error.abs() / truth,
            error.square() / truth,
            error.square(),
            log_error.square(),
            log_error.abs(),
            spread,
        ]
        return torch.stack([*(_masked_mean(one, scored) for one in means), scored.sum().double()])

    def row(self, numbers: Array) -> Row:
        near = {f"delta{power}": 100.0 * float(numbers[power - 1]) for power in (1, 2, 3)}
        return {
            **near,
            "abs_rel": float(numbers[3]),
            "sq_rel": float(numbers[4]),
            "rmse": float(np.sqrt(numbers[5])),
            "rmse_log": float(np.sqrt(numbers[6])),
            "log10": float(numbers[7] / np.log(10.0)),
            "silog": 100.0 * float(np.sqrt(numbers[8])),
            "valid_pixels": float(numbers[9]),
        }


class _Dense(DeviceMeter[DenseMeter]):
    def numbers(self, prediction: Tensor, sample: Mapping[str, Tensor]) -> Tensor:
        errors = (prediction.double() - sample["target"].double()).abs().mean(dim=-1)
        return torch.stack([_masked_mean(errors, sample["valid"]), sample["valid"].sum().double()])

    def row(self, numbers: Array) -> Row:
        return {"l1": float(numbers[0]), "valid_pixels": float(numbers[1])}


class _Segmentation(DeviceMeter[SegmentationMeter]):
    def numbers(self, prediction: Tensor, sample: Mapping[str, Tensor]) -> Tensor:
        guess, truth = prediction.long(), sample["label"].long()
        scored = truth != IGNORED
        intersection = self._areas(truth, scored & (guess == truth))
        predicted, labeled = self._areas(guess, scored), self._areas(truth, scored)
        return torch.stack([intersection, predicted + labeled - intersection, labeled]).double().flatten()

    def _areas(self, classes: Tensor, where: Tensor) -> Tensor:
        """Pixels of each class (classes,) inside a mask; exact integers, in whatever order they are added."""
        count = self.meter.classes
        known = where & (classes >= 0) & (classes < count)
        places = torch.where(known, classes, count).flatten()
        return torch.zeros(count + 1, dtype=torch.int64, device=classes.device).scatter_add_(
            0, places, torch.ones_like(places)
        )[:count]

    def row(self, numbers: Array) -> Row:
        return row_of_areas(*numbers.reshape(3, self.meter.classes))


class _Disparity(DeviceMeter[DisparityMeter]):
    def numbers(self, prediction: Tensor, sample: Mapping[str, Tensor]) -> Tensor:
        error, truth = self._errors(prediction.double(), sample), sample["disparity_px"].double()
        known = error.isfinite()
        visible = known & ~sample["occluded"] if "occluded" in sample else torch.zeros_like(known)
        sums = []
        for where in (known, visible):
            wrong = [error > limit for limit in DISPARITY_THRESHOLDS_PX] + [(error > 3) & (error > 0.05 * truth)]
            values = [error, error.square(), *wrong]
            sums += [torch.where(where, one.double(), 0.0).sum() for one in values] + [where.sum().double()]
        return torch.stack(sums)

    @staticmethod
    def _errors(prediction: Tensor, sample: Mapping[str, Tensor]) -> Tensor:
        if "disparity4_px" not in sample:
            return torch.where(sample["valid"], (prediction - sample["disparity_px"].double()).abs(), torch.nan)
        four = (prediction[:, :, None] - sample["disparity4_px"].double()).abs()
        nearest = torch.where(sample["valid4"], four, torch.inf).amin(dim=2)
        return torch.where(nearest.isinf(), torch.nan, nearest)

    def row(self, numbers: Array) -> Row:
        row: Row = {}
        thresholds = len(DISPARITY_THRESHOLDS_PX)
        known, visible = numbers.reshape(2, thresholds + 4)
        for metrics, (total, squares, *wrong, count) in ((DISPARITY_KNOWN, known), (DISPARITY_NOC, visible)):
            none = count == 0
            means = (
                [np.nan] * len(metrics)
                if none
                else [
                    total / count,
                    np.sqrt(squares / count),
                    *(100.0 * bad / count for bad in wrong),
                ]
            )
            row |= {metric.name: float(value) for metric, value in zip(metrics, means, strict=True)}
        sums = [known[0], *(100.0 * known[2 : 2 + thresholds])]
        return {**row, "sums": np.array(sums), "count": float(known[-1])}


class _Flow(DeviceMeter[FlowMeter]):
    def numbers(self, prediction: Tensor, sample: Mapping[str, Tensor]) -> Tensor:
        error, speed = self._errors(prediction.double(), sample)
        known = error.isfinite()
        pixels, wrong = pixels_of(error, speed, known, sample)
        sums = {name: torch.where(where & known, error, 0.0).sum() for name, where in pixels.items()}
        counts = {name: (where & known).sum() for name, where in pixels.items()}
        sums |= {name: 100.0 * (bad & known).sum() for name, bad in wrong.items()}
        counts |= dict.fromkeys(wrong, known.sum())
        return torch.stack([part[metric.name].double() for part in (sums, counts) for metric in FLOW])

    @staticmethod
    def _errors(prediction: Tensor, sample: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        four = "flow4_px" in sample
        truth, valid = (sample[key] for key in (("flow4_px", "valid4") if four else ("flow_px", "valid")))
        truth = torch.where(valid[..., None], truth.double(), torch.nan)
        if not four:
            return _length(prediction - truth), _length(truth)
        nearest = torch.where(valid, _length(prediction[:, :, None] - truth), torch.inf).amin(dim=-1)
        return torch.where(nearest.isinf(), torch.nan, nearest), _length(truth).mean(dim=-1)

    def row(self, numbers: Array) -> Row:
        return row_of_sums(*numbers.reshape(2, len(FLOW)))


def _length(vectors: Tensor) -> Tensor:
    return vectors.square().sum(dim=-1).sqrt()


_KINDS: dict[type[Meter], type[DeviceMeter[Meter]]] = {
    DepthMeter: _Depth,  # type: ignore[dict-item]  # each takes meters of its own kind
    DenseMeter: _Dense,  # type: ignore[dict-item]
    SegmentationMeter: _Segmentation,  # type: ignore[dict-item]
    DisparityMeter: _Disparity,  # type: ignore[dict-item]
    FlowMeter: _Flow,  # type: ignore[dict-item]
}
