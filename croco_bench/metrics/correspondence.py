"""Meters of point matches: rows per pair of views, means over pairs, in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from croco_bench.metrics import Metric
from croco_bench.metrics.match_definitions import (
    ANGLE_EDGES_DEG,
    BASELINE_EDGES_CM,
    BOX_SHARES,
    BY_NAME,
    DIFFICULTIES,
    DISPLACEMENT_EDGES_PX,
    DISTANCES_CM,
    ERROR_VIEWPOINT_PX,
    KINDS,
    MATCH_ERROR_M,
    MATCH_ERROR_PX,
    MATCH_SHARES,
    MATCH_THRESHOLDS_PX,
    MATCHED_POSES,
    PCK,
    PCK_BOX,
    PCK_BOX_POINTS,
    PCK_BOX_VIEWPOINT,
    RECALL10,
    RECALL10_MOVED,
    RECALL_ANGLE,
    RECALL_BASELINE,
    RECALL_CM,
    RECALL_CM_ANGLE,
    RECALL_DISPLACEMENT,
    RECALL_KIND,
    RECALL_PX,
    SCENES,
    MatchScores,
)
from croco_bench.metrics.meter import Meter
from croco_bench.metrics.pose import auc
from croco_bench.metrics.pose_errors import direction_error_deg, rotation_error_deg
from croco_bench.types import Array

# (points of view 1 (n, 2), matches (n, 2), K1, K2) -> [R | t] (3, 4), camera 2 in camera 1; None: failed.
Estimator = Callable[[Array, Array, Array, Array], Array | None]
_POSE, _VISIBLE = "pose_error_deg", "visible_points"


class CorrespondenceMeter(Meter):
    """Scores matches (R, P, 2) of P points, by R ways to read them from a network, against `sample["truth"]` (P, 2).

    All positions are (x, y) in pixels of an image with a shorter side of 256; the truth is NaN for points that view 2 doesn't
    show. A match that is NaN is no answer: wrong in every recall, left out of mean errors. A sample has `points` (P, 2), and
    what the metrics of `scores` need: `long_side_px`; `angle_deg` and `baseline_m` (NaN where unknown); `kind`; `box_px`, the
    larger side of the object's box, and `difficulty`, an index of `DIFFICULTIES`. Where depth is known, it also has `relative`
    (4, 4), which maps points of camera 2 into camera 1, intrinsics `K1_px` and `K2_px`, `depth2_m`, a map of view 2 with one
    value per pixel, and `surface2_m` (P, 3), the points in camera 2.

    A row holds the metrics of each read-out in `chosen` under `<name>/<metric>` (the headline's name is empty), where
    a mean is over points their number `visible_points`, and of all read-outs `swept/<metric>` (R,).

    Args:
        chosen: name of a read-out -> its index among the R; the headline's is "".
        read_outs: names of all R, for `breakdown`.
        scores: the metrics.
        estimate: makes poses of matches; None: no poses are scored.
    """

    scores_failures = True

    def __init__(
        self,
        chosen: Mapping[str, int],
        read_outs: Sequence[str],
        *,
        scores: MatchScores = SCENES,
        estimate: Estimator | None = None,
    ) -> None:
        self.chosen, self.read_outs, self.scores, self.estimate = dict(chosen), tuple(read_outs), scores, estimate

    @property
    def _pools(self) -> bool:
        return any(metric.average == "point" for metric in self.scores.shown)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those of each chosen read-out."""
        posed = MATCHED_POSES if self.estimate else ()
        return tuple(
            replace(metric, name=_key(name, metric.name))
            for name in self.chosen
            for metric in (*self.scores.shown, *posed)
        )

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """Row of one pair."""
        values = _scores(prediction, sample)
        row: dict[str, float | Array] = {f"swept/{metric.name}": values[metric.name] for metric in self.scores.swept}
        for name, index in self.chosen.items():
            row |= {_key(name, metric.name): float(values[metric.name][index]) for metric in self.scores.shown}
            if self._pools:
                row[_key(name, _VISIBLE)] = float(np.isfinite(sample["truth"]).all(axis=-1).sum())
        if self.estimate:
            poses = {
                index: _pose_error(self.estimate, prediction[index], sample) for index in set(self.chosen.values())
            }
            row |= {_key(name, _POSE): poses[index] for name, index in self.chosen.items()}
        return row

    def reduce(self, rows: Mapping[str, Array]) -> dict[str, float]:
        """Means over pairs, or over all points; areas under the recall of poses."""
        return reduce_matches(rows)

    def breakdown(self, rows: Mapping[str, Array]) -> list[dict[str, str | float]]:
        """A line per read-out: which block matches?"""
        means = {metric.name: _mean(rows[f"swept/{metric.name}"]) for metric in self.scores.swept}
        return [
            {"read_out": read_out, **{name: float(values[index]) for name, values in means.items()}}
            for index, read_out in enumerate(self.read_outs)
        ]


class SweepMeter(Meter):
    """Compares all R read-outs: `reduce` gives the metrics of the one that is best by `scores.choice`."""

    scores_failures = True

    def __init__(self, scores: MatchScores = SCENES) -> None:
        self.scores = scores

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those that every read-out has."""
        return self.scores.swept

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """The metrics (R,) of one pair."""
        row = CorrespondenceMeter({}, (), scores=self.scores).measure(prediction, sample)
        return {key.removeprefix("swept/"): values for key, values in row.items()}

    def reduce(self, rows: Mapping[str, Array]) -> dict[str, float]:
        """See the class."""
        means = {metric.name: _mean(rows[metric.name]) for metric in self.scores.swept}
        ranked = np.nan_to_num(means[self.scores.choice.name], nan=-1.0)
        return {name: float(values[int(ranked.argmax())]) for name, values in means.items()}


def reduce_matches(rows: Mapping[str, Array]) -> dict[str, float]:
    """Metrics over all pairs of every read-out in the rows."""
    reduced: dict[str, float] = {}
    for key, values in rows.items():
        read_out, _, name = key.rpartition("/")
        if read_out.rpartition("/")[2] == "swept":
            continue
        if name == _POSE:
            reduced |= {_key(read_out, metric): value for metric, value in _reduced_poses(values).items()}
        elif name in BY_NAME:
            pooled = BY_NAME[name].average == "point"
            reduced[key] = _weighted(values, rows[_key(read_out, _VISIBLE)]) if pooled else float(_mean(values))
    return reduced


def _key(read_out: str, metric: str) -> str:
    return f"{read_out}/{metric}" if read_out else metric


def _reduced_poses(errors: Array) -> dict[str, float]:
    known = errors[~np.isnan(errors)]
    values = [100 * auc(known, limit) if known.size else np.nan for limit in (5, 10, 20)]
    failed = 100 * float(np.isinf(known).mean()) if known.size else np.nan
    return {metric.name: value for metric, value in zip(MATCHED_POSES, [*values, failed], strict=True)}


def _mean(values: Array) -> Array:
    """Mean over axis 0 of values that aren't NaN; NaN without any."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0))


def _weighted(values: Array, weights: Array) -> float:
    """Mean of values (n,) that aren't NaN, each as often as its weight says; NaN without any."""
    known = ~np.isnan(values) & (weights > 0)
    return float(np.average(values[known], weights=weights[known])) if known.any() else float("nan")


def _scores(prediction: Array, sample: Mapping[str, Array]) -> dict[str, Array]:
    """All metrics (R,) that a sample has what they need for, NaN where no point tells."""
    errors = np.linalg.norm(prediction.astype(np.float64) - sample["truth"], axis=-1)  # (R, P)
    seen = np.asarray(np.isfinite(sample["truth"]).all(axis=-1))
    errors[:, seen] = np.where(np.isfinite(errors[:, seen]), errors[:, seen], np.inf)
    scores = _by_pixels(errors, seen, sample)
    if "angle_deg" in sample:
        scores |= _binned(scores[RECALL10.name], RECALL_ANGLE, sample["angle_deg"], ANGLE_EDGES_DEG)
        scores |= _binned(scores[RECALL10.name], RECALL_BASELINE, 100 * sample["baseline_m"], BASELINE_EDGES_CM)
        scores |= _by_surface(prediction, seen, sample)
    if "kind" in sample:
        viewpoint, illumination = (str(sample["kind"]) == kind for kind in KINDS)
        scores |= _where(scores[RECALL10.name], RECALL_KIND, (viewpoint, illumination))
        scores |= _where(scores[MATCH_ERROR_PX.name], (ERROR_VIEWPOINT_PX,), (viewpoint,))
    if "box_px" in sample:
        shares = [_share(errors < share * float(sample["box_px"]), seen) for share in BOX_SHARES]
        scores |= {metric.name: share for metric, share in zip(PCK_BOX, shares, strict=True)}
        scores |= {metric.name: share for metric, share in zip(PCK_BOX_POINTS, shares, strict=True)}
        degrees = [int(sample["difficulty"]) == degree for degree in range(len(DIFFICULTIES))]
        scores |= _where(shares[0], PCK_BOX_VIEWPOINT, degrees)
    return scores


def _by_pixels(errors: Array, seen: Array, sample: Mapping[str, Array]) -> dict[str, Array]:
    """Recall and PCK of errors (R, P) in pixels, also of points that moved, and by their motion; mean error."""
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
    scores[MATCH_ERROR_PX.name] = _mean(np.where(np.isfinite(errors) & seen, errors, np.nan).T)
    return scores


def _by_surface(prediction: Array, seen: Array, sample: Mapping[str, Array]) -> dict[str, Array]:
    """Mean distance in metres, and recall by it, of the surface points that matches and truth show; NaN without depth."""
    names = [MATCH_ERROR_M.name, *(metric.name for metric in (*RECALL_CM, *RECALL_CM_ANGLE))]
    if "depth2_m" not in sample:
        return {name: np.full(len(prediction), np.nan) for name in names}
    distances = _distances_m(prediction, seen, sample)
    everyone = np.ones(distances.shape[1], dtype=np.bool_)
    recalls = [_share(distances < cm / 100, everyone) for cm in DISTANCES_CM]
    return {
        MATCH_ERROR_M.name: _mean(distances.T),
        **{metric.name: recall for metric, recall in zip(RECALL_CM, recalls, strict=True)},
        **_binned(recalls[0], RECALL_CM_ANGLE, sample["angle_deg"], ANGLE_EDGES_DEG),
    }


def _where(values: Array, metrics: Sequence[Metric], conditions: Sequence[bool | Array]) -> dict[str, Array]:
    """The values (R,) for each metric whose condition holds for the pair; NaN for others."""
    return {
        metric.name: np.where(condition, values, np.nan) for metric, condition in zip(metrics, conditions, strict=True)
    }


def _binned(values: Array, metrics: Sequence[Metric], of: Array, edges: Sequence[float]) -> dict[str, Array]:
    """The values (R,) for the metric of the bin that a pair is in; NaN for the others."""
    return _where(values, metrics, _bins(np.asarray(of), edges))


def _bins(values: Array, edges: Sequence[float]) -> list[Array]:
    """Masks of the half-open bins between edges; the last one is open."""
    return [(values >= low) & (values < high) for low, high in zip(edges, [*edges[1:], np.inf], strict=True)]


def _share(hits: Array, points: Array) -> Array:
    """Percentages (R,) of hits (R, P) among the points (P,); NaN without any."""
    count = int(points.sum())
    return 100 * hits[:, points].mean(axis=1) if count else np.full(len(hits), np.nan)


def _distances_m(prediction: Array, seen: Array, sample: Mapping[str, Array]) -> Array:
    """Distances (R, visible points) in metres between the surface points that matches and truth show; NaN without depth."""
    depth_m, matches = sample["depth2_m"], prediction[:, seen]
    inside = np.isfinite(matches).all(axis=-1)
    column, row = (
        np.clip(np.where(inside, matches[..., axis], 0).astype(np.int64), 0, depth_m.shape[1 - axis] - 1)
        for axis in (0, 1)
    )
    homogeneous = np.concatenate([matches, np.ones((*matches.shape[:-1], 1))], axis=-1)
    surface = homogeneous @ np.linalg.inv(sample["K2_px"]).T * depth_m[row, column][..., None].astype(np.float64)
    return np.asarray(np.linalg.norm(surface - sample["surface2_m"][seen], axis=-1))


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
