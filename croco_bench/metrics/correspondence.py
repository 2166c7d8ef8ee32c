"""Meters of point matches: rows per pair of views, means over pairs, in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from croco_bench.metrics import Metric
from croco_bench.metrics.definitions import (
    ANGLE_EDGES_DEG,
    BASELINE_EDGES_CM,
    DISPLACEMENT_EDGES_PX,
    MATCH_ERROR_M,
    MATCH_ERROR_PX,
    MATCH_SHARES,
    MATCH_THRESHOLDS_PX,
    MATCHED_POSES,
    MATCHES,
    PCK,
    RECALL10,
    RECALL10_MOVED,
    RECALL_ANGLE,
    RECALL_BASELINE,
    RECALL_DISPLACEMENT,
    RECALL_PX,
    SWEPT,
)
from croco_bench.metrics.meter import Meter
from croco_bench.metrics.pose import auc
from croco_bench.metrics.pose_errors import direction_error_deg, rotation_error_deg
from croco_bench.types import Array

# (points of view 1 (n, 2), matches (n, 2), K1, K2) -> [R | t] (3, 4), camera 2 in camera 1; None: failed.
Estimator = Callable[[Array, Array, Array, Array], Array | None]
_POSE = "pose_error_deg"


class CorrespondenceMeter(Meter):
    """Scores matches (R, P, 2) of P points, by R ways to read them from a network, against `sample["truth"]` (P, 2).

    All positions are (x, y) in pixels of an image with a shorter side of 256; the truth is NaN for points that view 2 doesn't
    show. A match that is NaN is no answer: wrong in every recall, left out of mean errors. A sample has `points` (P, 2),
    `long_side_px`, `angle_deg` and `baseline_m` (NaN where unknown). Where depth is known, it also has `relative` (4, 4),
    which maps points of camera 2 into camera 1, intrinsics `K1_px` and `K2_px`, `depth2_m`, a map of view 2 with one value
    per pixel, and `surface2_m` (P, 3), the points in camera 2.

    A row holds the metrics of each read-out in `chosen` under `<name>/<metric>` (the headline's name is empty), and of all
    read-outs `swept/<metric>` (R,).

    Args:
        chosen: name of a read-out -> its index among the R; the headline's is "".
        read_outs: names of all R, for `breakdown`.
        estimate: makes poses of matches; None: no poses are scored.
    """

    scores_failures = True

    def __init__(
        self, chosen: Mapping[str, int], read_outs: Sequence[str], *, estimate: Estimator | None = None
    ) -> None:
        self.chosen, self.read_outs, self.estimate = dict(chosen), tuple(read_outs), estimate

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those of each chosen read-out."""
        posed = MATCHED_POSES if self.estimate else ()
        return tuple(
            replace(metric, name=_key(name, metric.name)) for name in self.chosen for metric in (*MATCHES, *posed)
        )

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """Row of one pair."""
        errors = np.linalg.norm(prediction.astype(np.float64) - sample["truth"], axis=-1)  # (R, P)
        seen = np.asarray(np.isfinite(sample["truth"]).all(axis=-1))
        errors[:, seen] = np.where(np.isfinite(errors[:, seen]), errors[:, seen], np.inf)
        values = {**_scores(errors, seen, sample), MATCH_ERROR_M.name: _error_m(prediction, seen, sample)}
        row: dict[str, float | Array] = {f"swept/{metric.name}": values[metric.name] for metric in SWEPT}
        for name, index in self.chosen.items():
            row |= {_key(name, metric): float(found[index]) for metric, found in values.items()}
        if self.estimate:
            poses = {
                index: _pose_error(self.estimate, prediction[index], sample) for index in set(self.chosen.values())
            }
            row |= {_key(name, _POSE): poses[index] for name, index in self.chosen.items()}
        return row

    def reduce(self, rows: Mapping[str, Array]) -> dict[str, float]:
        """Means over pairs; areas under the recall of poses."""
        return {key: value for name in self.chosen for key, value in _reduced(rows, name).items()}

    def breakdown(self, rows: Mapping[str, Array]) -> list[dict[str, str | float]]:
        """A line per read-out: which block matches?"""
        means = {metric.name: _mean(rows[f"swept/{metric.name}"]) for metric in SWEPT}
        return [
            {"read_out": read_out, **{name: float(values[index]) for name, values in means.items()}}
            for index, read_out in enumerate(self.read_outs)
        ]


class SweepMeter(Meter):
    """Compares all R read-outs: `reduce` gives the metrics of the one with the highest recall of moved points."""

    scores_failures = True
    metrics: ClassVar = SWEPT

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """The metrics (R,) of one pair."""
        row = CorrespondenceMeter({}, ()).measure(prediction, sample)
        return {key.removeprefix("swept/"): values for key, values in row.items()}

    def reduce(self, rows: Mapping[str, Array]) -> dict[str, float]:
        """See the class."""
        means = {metric.name: _mean(rows[metric.name]) for metric in SWEPT}
        ranked = np.nan_to_num(means[RECALL10_MOVED.name], nan=-1.0)
        return {name: float(values[int(ranked.argmax())]) for name, values in means.items()}


def reduce_matches(rows: Mapping[str, Array]) -> dict[str, float]:
    """Metrics over all pairs of every read-out in the rows."""
    names = [key.rpartition("/")[0] for key in rows if key.rpartition("/")[2] == RECALL10.name]
    return {key: value for name in names if name != "swept" for key, value in _reduced(rows, name).items()}


def _key(read_out: str, metric: str) -> str:
    return f"{read_out}/{metric}" if read_out else metric


def _reduced(rows: Mapping[str, Array], read_out: str) -> dict[str, float]:
    found = {_key(read_out, metric.name): float(_mean(rows[_key(read_out, metric.name)])) for metric in MATCHES}
    errors = rows.get(_key(read_out, _POSE))
    if errors is not None:
        known = errors[~np.isnan(errors)]
        values = [100 * auc(known, limit) if known.size else np.nan for limit in (5, 10, 20)]
        failed = 100 * float(np.isinf(known).mean()) if known.size else np.nan
        found |= {
            _key(read_out, metric.name): value for metric, value in zip(MATCHED_POSES, [*values, failed], strict=True)
        }
    return found


def _mean(values: Array) -> Array:
    """Mean over axis 0 of values that aren't NaN; NaN without any."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0))


def _scores(errors: Array, seen: Array, sample: Mapping[str, Array]) -> dict[str, Array]:
    """Metrics (R,) of errors (R, P) in pixels, NaN where no point tells."""
    moved = np.linalg.norm(sample["truth"] - sample["points"], axis=-1)
    near = errors < 10
    scores = {
        metric.name: _share(errors < limit, seen) for metric, limit in zip(RECALL_PX, MATCH_THRESHOLDS_PX, strict=True)
    }
    for metric, share in zip(PCK, MATCH_SHARES, strict=True):
        scores[metric.name] = _share(errors < share * float(sample["long_side_px"]), seen)
    scores[RECALL10_MOVED.name] = _share(near, seen & (moved >= 10))
    for metric, inside in zip(RECALL_DISPLACEMENT, _bins(moved, DISPLACEMENT_EDGES_PX), strict=True):
        scores[metric.name] = _share(near, seen & inside)
    pairwise = (
        (RECALL_ANGLE, _bins(np.asarray(sample["angle_deg"]), ANGLE_EDGES_DEG)),
        (RECALL_BASELINE, _bins(100 * np.asarray(sample["baseline_m"]), BASELINE_EDGES_CM)),
    )
    for metrics, bins in pairwise:
        for metric, inside in zip(metrics, bins, strict=True):
            scores[metric.name] = np.where(inside, scores[RECALL10.name], np.nan)
    finite = np.where(np.isfinite(errors) & seen, errors, np.nan)
    scores[MATCH_ERROR_PX.name] = _mean(finite.T)
    return {metric.name: scores[metric.name] for metric in MATCHES if metric.name in scores}


def _bins(values: Array, edges: Sequence[float]) -> list[Array]:
    """Masks of the half-open bins between edges; the last one is open."""
    return [(values >= low) & (values < high) for low, high in zip(edges, [*edges[1:], np.inf], strict=True)]


def _share(hits: Array, points: Array) -> Array:
    """Percentages (R,) of hits (R, P) among the points (P,); NaN without any."""
    count = int(points.sum())
    return 100 * hits[:, points].mean(axis=1) if count else np.full(len(hits), np.nan)


def _error_m(prediction: Array, seen: Array, sample: Mapping[str, Array]) -> Array:
    """Mean distances (R,) in metres between the surface points of view 2 that matches and truth show."""
    if "depth2_m" not in sample:
        return np.full(len(prediction), np.nan)
    depth_m, matches = sample["depth2_m"], prediction[:, seen]
    inside = np.isfinite(matches).all(axis=-1)
    column, row = (
        np.clip(np.where(inside, matches[..., axis], 0).astype(np.int64), 0, depth_m.shape[1 - axis] - 1)
        for axis in (0, 1)
    )
    homogeneous = np.concatenate([matches, np.ones((*matches.shape[:-1], 1))], axis=-1)
    surface = homogeneous @ np.linalg.inv(sample["K2_px"]).T * depth_m[row, column][..., None].astype(np.float64)
    return _mean(np.linalg.norm(surface - sample["surface2_m"][seen], axis=-1).T)


def _pose_error(estimate: Estimator, matches: Array, sample: Mapping[str, Array]) -> float:
    """The larger of the angles of rotation and translation in degrees, infinite without a pose; NaN where none is known."""
    if "relative" not in sample:
        return float("nan")
    answered = np.isfinite(matches).all(axis=-1)
    pose = estimate(sample["points"][answered], matches[answered], sample["K1_px"], sample["K2_px"])
    if pose is None or not np.isfinite(pose).all():
        return float("inf")
    truth = sample["relative"]
    angles = rotation_error_deg(pose[:3, :3], truth[:3, :3]), direction_error_deg(pose[:3, 3], truth[:3, 3])
    return float(np.fmax(*angles))
