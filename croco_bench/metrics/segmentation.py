"""Meter of semantic segmentation: areas per image and class, ratios over the whole set, in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from croco_bench.metrics.definitions import SEGMENTATION
from croco_bench.metrics.meter import Meter
from croco_bench.types import Array

IGNORED = 255


class SegmentationMeter(Meter):
    """Scores a label map (H, W) against `sample["label"]`, both with classes from 0; label 255 is ignored.

    A row holds the areas in pixels of `intersection`, `union` and `truth`, vectors over classes, and the metrics of one
    image. Metrics of a set are made from the summed areas, not from the metrics of images. A class that is neither predicted
    nor labelled has no IoU and isn't in the mean; `classes` counts the others.
    """

    metrics: ClassVar = SEGMENTATION

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.classes = names, len(names)

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """Row of one image."""
        scored = sample["label"] != IGNORED
        guess, truth = prediction[scored], sample["label"][scored]
        intersection, predicted, labeled = (
            np.bincount(values, minlength=self.classes)[: self.classes].astype(np.float64)
            for values in (truth[guess == truth], guess, truth)
        )
        return row_of_areas(intersection, predicted + labeled - intersection, labeled)

    def reduce(self, rows: Mapping[str, Array]) -> dict[str, float]:
        """Metrics of the summed areas of all images; NaN without labelled pixels."""
        return reduce_areas(rows)

    def breakdown(self, rows: Mapping[str, Array]) -> list[dict[str, str | float]]:
        """IoU, accuracy and share of the labelled pixels, all in percent, of every class over all images."""
        intersection, union, truth = _sums(rows)
        columns = 100 * _ratio(intersection, union), 100 * _ratio(intersection, truth), 100 * _share(truth)
        return [
            {"class": name, "iou": float(iou), "accuracy": float(accuracy), "labelled": float(share)}
            for name, iou, accuracy, share in zip(self.names, *columns, strict=True)
        ]


def row_of_areas(intersection: Array, union: Array, truth: Array) -> dict[str, float | Array]:
    """The row of an image, from its areas (classes,) in pixels."""
    return {"intersection": intersection, "union": union, "truth": truth, **_metrics(intersection, union, truth)}


def reduce_areas(rows: Mapping[str, Array]) -> dict[str, float]:
    """Metrics from the summed areas of all images."""
    return _metrics(*_sums(rows))


def _sums(rows: Mapping[str, Array]) -> tuple[Array, Array, Array]:
    intersection, union, truth = (rows[key].sum(axis=0) for key in ("intersection", "union", "truth"))
    return intersection, union, truth


def _share(areas: Array) -> Array:
    share: Array = areas / max(areas.sum(), 1)
    return share


def _metrics(intersection: Array, union: Array, truth: Array) -> dict[str, float]:
    return {
        "miou": 100 * _mean(_ratio(intersection, union)),
        "macc": 100 * _mean(_ratio(intersection, truth)),
        "aacc": 100 * float(_ratio(intersection.sum(), truth.sum())),
        "classes": float(np.count_nonzero(union)),
    }


def _ratio(part: Array, whole: Array) -> Array:
    """NaN where `whole` is 0."""
    ratio: Array = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return ratio


def _mean(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
