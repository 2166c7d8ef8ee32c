"""Meters turn predictions into metrics: first a row per image, then metrics from all rows. numpy only, no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from croco_bench.metrics import Metric
from croco_bench.types import Array

Rows = dict[str, Array]
# Percentile intervals of the mean of n values are 1.96 sqrt((n - 1) / n) / t(n - 1) times as long as they should be: below
# ten, too short by a fifth and more, and of one image without any length.
FEWEST_IMAGES = 10


class Meter(ABC):
    """Turns predictions into metrics in two steps, which depend neither on batches nor on the number of processes.

    `measure` gets one image (or pair) and returns its row. `reduce` gets the rows of *all* images, each once, and returns
    the metrics. Bootstrap intervals resample rows and call `reduce` again.

    Attributes:
        metrics: the metrics that `reduce` returns; a class attribute where all meters of the class have the same.
        scores_failures: whether predictions may hold NaN, where a classical method has no answer, and count as wrong.
    """

    scores_failures: ClassVar[bool] = False

    @property
    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that `reduce` returns."""

    @abstractmethod
    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """The float64 row of one image, with equal keys and shapes for all images; NaN where nothing can be scored."""

    def reduce(self, rows: Mapping[str, Array]) -> dict[str, float]:
        """Metrics from rows stacked along axis 0 (n, ...). Default: the mean over rows that aren't NaN.

        NaN without such rows; infinity where failed predictions leave no finite value.
        """
        return {metric.name: _mean_of_scored(rows[metric.name]) for metric in self.metrics}

    def breakdown(self, rows: Mapping[str, Array]) -> list[dict[str, str | float]]:
        """Finer results of the whole set, such as a line per class, all with equal columns; NaN where undefined."""
        return []


def _mean_of_scored(values: Array) -> float:
    scored = values[~np.isnan(values)]
    return float(scored.mean(dtype=np.float64)) if scored.size else float("nan")


def stack(rows: Sequence[Mapping[str, float | Array]]) -> Rows:
    """Rows of single images -> one array (n, ...) per key, in float64."""
    return {key: np.stack([np.asarray(row[key], dtype=np.float64) for row in rows]) for key in rows[0]}


def bootstrap(
    meter: Meter, rows: Mapping[str, Array], *, draws: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float] | None]:
    """95 % percentile intervals of every metric, from images resampled with replacement. Deterministic for a `seed`.

    Returns:
        Metric name -> (lower, upper) in the metric's unit; None where a resample has no finite value, and of fewer than
        `FEWEST_IMAGES` images.
    """
    count = len(next(iter(rows.values())))
    if count < FEWEST_IMAGES:
        return dict.fromkeys(meter.reduce(rows))
    rng = np.random.default_rng(seed)
    results: list[dict[str, float]] = []
    for _ in range(draws):
        chosen = rng.integers(0, count, count)
        results.append(meter.reduce({key: values[chosen] for key, values in rows.items()}))
    intervals: dict[str, tuple[float, float] | None] = {}
    for name in results[0]:
        values = np.array([result[name] for result in results])
        lower, upper = np.quantile(values, (0.025, 0.975)) if np.isfinite(values).all() else (np.nan, np.nan)
        intervals[name] = None if np.isnan(lower) else (float(lower), float(upper))
    return intervals
