"""Meter of optical flow: sums and counts per image, means over all pixels of the set, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

from croco_bench.metrics.definitions import FLOW
from croco_bench.metrics.meter import Meter
from croco_bench.types import Array

# Array or Tensor.
T = TypeVar("T", bound=Any)


class FlowMeter(Meter):
    """Scores a flow (H, W, 2) in pixels against `sample["flow_px"]` where `sample["valid"]` (H, W) holds.

    Optional keys of a sample: `occluded` and `invalid` (H, W), which define the matched and masked metrics; `flow4_px`
    (H, W, 4, 2) and `valid4` (H, W, 4), four true vectors per pixel as in Spring. Then the nearest known vector counts, and
    the speed is the mean of all four; a pixel with an unknown vector is in no bin of speeds.

    A row holds `sums` and `counts`, one entry per metric, and the metrics of one image. Metrics of a set are made from the
    total sums and counts, so every pixel has the same weight. A metric without pixels is NaN.
    """

    metrics: ClassVar = FLOW

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """Row of one image."""
        error, speed = _errors(prediction.astype(np.float64), sample)
        known = np.isfinite(error)
        pixels, wrong = pixels_of(error, speed, known, sample)
        sums = {name: error[where & known].sum() for name, where in pixels.items()}
        counts = {name: float((where & known).sum()) for name, where in pixels.items()}
        sums |= {name: 100.0 * (bad & known).sum() for name, bad in wrong.items()}
        counts |= dict.fromkeys(wrong, float(known.sum()))
        total, count = (np.array([values[metric.name] for metric in FLOW]) for values in (sums, counts))
        return row_of_sums(total, count)

    def reduce(self, rows: Mapping[str, Array]) -> dict[str, float]:
        """Means over the pixels of all images."""
        return reduce_flow(rows)


def pixels_of(error: T, speed: T, known: T, sample: Mapping[str, T]) -> tuple[dict[str, T], dict[str, T]]:
    """The pixels (H, W) over which each error is averaged, and those that each share counts as wrong.

    All are arrays of NumPy, or tensors of one device.

    Args:
        error: endpoint error in pixels, NaN where unknown.
        speed: length of the true flow in pixels, NaN where unknown.
        known: where `error` is finite.
        sample: may hold `occluded` and `invalid`.
    """
    none = known & ~known
    occluded, invalid = sample.get("occluded"), sample.get("invalid")
    matched, unmatched = (none, none) if occluded is None else (~occluded, occluded)
    reliable = none if invalid is None else ~invalid
    pixels = {
        "epe": known,
        "epe_matched": matched,
        "epe_unmatched": unmatched,
        "epe_masked": reliable,
        "epe_matched_masked": matched & reliable,
        "epe_unmatched_masked": unmatched & reliable,
        "s0-10": speed < 10,
        "s10-40": (speed >= 10) & (speed < 40),
        "s40+": speed >= 40,
    }
    wrong = {
        "bad1": error > 1,
        "bad3": error > 3,
        "bad5": error > 5,
        "fl_all": (error > 3) & ~(error <= 0.05 * speed),  # of an unknown speed the first condition alone
    }
    return pixels, wrong


def row_of_sums(sums: Array, counts: Array) -> dict[str, float | Array]:
    """The row of an image, from the sum and the number of pixels of each metric."""
    return {"sums": sums, "counts": counts, **_means(sums, counts)}


def reduce_flow(rows: Mapping[str, Array]) -> dict[str, float]:
    """Means over the pixels of all images, from `sums` and `counts`."""
    return _means(rows["sums"].sum(axis=0), rows["counts"].sum(axis=0))


def _means(sums: Array, counts: Array) -> dict[str, float]:
    means = np.divide(sums, counts, out=np.full(len(FLOW), np.nan), where=counts > 0)
    return {metric.name: float(mean) for metric, mean in zip(FLOW, means, strict=True)}


def _errors(prediction: Array, sample: Mapping[str, Array]) -> tuple[Array, Array]:
    """Endpoint error and length of the true flow (H, W) of every pixel, NaN where unknown."""
    four = "flow4_px" in sample
    truth, valid = (sample[key] for key in (("flow4_px", "valid4") if four else ("flow_px", "valid")))
    truth = np.where(valid[..., None], truth.astype(np.float64), np.nan)
    if not four:
        return np.linalg.norm(prediction - truth, axis=-1), np.linalg.norm(truth, axis=-1)
    errors = np.linalg.norm(prediction[:, :, None] - truth, axis=-1)
    nearest = np.where(valid, errors, np.inf).min(axis=-1)
    return np.where(np.isinf(nearest), np.nan, nearest), np.linalg.norm(truth, axis=-1).mean(axis=-1)
