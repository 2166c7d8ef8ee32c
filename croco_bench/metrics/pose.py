"""Meters of relative pose, and of visual localization from several relative poses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from croco_bench.metrics import Metric
from croco_bench.metrics.definitions import LOCALIZATION, METRIC_PAIRS, NEAR, NEAR_DEG, NEAR_M, PAIRS
from croco_bench.metrics.meter import Meter
from croco_bench.metrics.pose_averaging import locate
from croco_bench.metrics.pose_errors import (
    check_rotations,
    direction_error_deg,
    failed,
    folded,
    rotation_error_deg,
    translation_error_m,
)
from croco_bench.types import Array

_CLOSE_M, _CLOSE_DEG = 0.05, 5.0


class RelativePoseMeter(Meter):
    """Scores a pose (4, 4), which maps points of camera 2 into camera 1, against `sample["relative"]` (4, 4).

    A row holds `pair_rotation_deg`, `pair_direction_deg` (NaN where the true baseline is zero) and, with `meters`, where
    translations are in metres, `pair_translation_m`. A pose with NaN is a failure: its errors are infinite.
    """

    scores_failures = True

    def __init__(self, *, meters: bool) -> None:
        self.meters = meters

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics of pairs."""
        return _pair_metrics(self.meters)

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """Row of one pair."""
        return {**_pair_errors(prediction, sample["relative"], self.meters)}

    def reduce(self, rows: Mapping[str, Array]) -> dict[str, float]:
        """Metrics over all pairs."""
        return pair_scores(rows)


class LocalizationMeter(Meter):
    """Scores poses (K, 4, 4) of a query relative to K views: each pair by itself, and the query's pose from `locate`.

    A sample has `relative` and `cam2world1` (K, 4, 4), `cam2world2` (4, 4) and `scene`, one of `scenes`. A row holds the
    query's `translation_m` and `rotation_deg` (infinite where no pair has a pose), the index of its scene, and the errors
    (K,) of its pairs. Metrics of queries are medians or shares per scene, then means over scenes; `breakdown` has a line per
    scene.
    """

    scores_failures = True

    def __init__(self, scenes: Sequence[str], *, meters: bool) -> None:
        self.scenes, self.meters = tuple(scenes), meters

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics of queries, and of pairs."""
        return (*LOCALIZATION, *_pair_metrics(self.meters))

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        """Row of one query."""
        pairs = _pair_errors(prediction, sample["relative"], self.meters)
        pose, truth = locate(sample["cam2world1"], prediction, meters=self.meters), sample["cam2world2"]
        return {
            "translation_m": float(translation_error_m(pose[:3, 3], truth[:3, 3])),
            "rotation_deg": float(rotation_error_deg(pose[:3, :3], truth[:3, :3])),
            "scene": float(self.scenes.index(str(sample["scene"]))),
            **pairs,
        }

    def reduce(self, rows: Mapping[str, Array]) -> dict[str, float]:
        """Metrics over all queries; scenes without queries aren't in the mean."""
        return reduce_poses(rows)

    def breakdown(self, rows: Mapping[str, Array]) -> list[dict[str, str | float]]:
        """A line per scene."""
        return [{"scene": scene, **metrics} for scene, metrics in self._by_scene(rows).items()]

    def _by_scene(self, rows: Mapping[str, Array]) -> dict[str, dict[str, float]]:
        """Scene -> its metrics, for scenes with queries."""
        by_scene = {}
        for index, scene in enumerate(self.scenes):
            inside = rows["scene"] == index
            if inside.any():
                by_scene[scene] = _localized(rows["translation_m"][inside], rows["rotation_deg"][inside])
        return by_scene


def reduce_poses(rows: Mapping[str, Array]) -> dict[str, float]:
    """Metrics of pairs, and with a `scene` in the rows means over scenes of the metrics of queries."""
    if "scene" not in rows:
        return pair_scores(rows)
    inside = [rows["scene"] == index for index in np.unique(rows["scene"])]
    scenes = [_localized(rows["translation_m"][mask], rows["rotation_deg"][mask]) for mask in inside]
    means = {metric.name: float(np.mean([scene[metric.name] for scene in scenes])) for metric in LOCALIZATION}
    return {**means, **pair_scores(rows)}


def pair_scores(rows: Mapping[str, Array]) -> dict[str, float]:
    """Metrics of pairs from their errors, arrays of equal shape."""
    rotation, direction = rows["pair_rotation_deg"].ravel(), rows["pair_direction_deg"].ravel()
    scores = {
        "pair_rotation_deg": float(np.median(rotation)),
        "rra15": 100 * float((rotation < 15).mean()),
        **_directed(rotation, direction, ""),
        **_directed(rotation, folded(direction), "_folded"),
        "failed_pairs": 100 * float(np.isinf(rotation).mean()),
        "zero_baselines": float(np.isnan(direction).sum()),
    }
    if "pair_translation_m" in rows:
        distance_m = rows["pair_translation_m"].ravel()
        scores["pair_translation_m"] = float(np.median(distance_m))
        for metric, limit_m in zip(NEAR, NEAR_M.values(), strict=True):
            scores[metric.name] = 100 * float(((rotation < NEAR_DEG) & (distance_m < limit_m)).mean())
    return scores


def _directed(rotation: Array, direction: Array, ending: str) -> dict[str, float]:
    """Metrics that depend on directions. Pairs without a true direction count by rotation alone, or not at all."""
    both, defined = np.fmax(rotation, direction), direction[~np.isnan(direction)]
    scores = {
        "pair_direction_deg": float(np.median(defined)) if defined.size else float("nan"),
        "rta15": 100 * float((defined < 15).mean()) if defined.size else float("nan"),
        **{f"auc{limit}": 100 * auc(both, limit) for limit in (5, 10, 20)},
        "maa30": 100 * mean_accuracy(both, 30),
    }
    return {f"{name}{ending}": value for name, value in scores.items()}


def auc(errors: Array, limit: float) -> float:
    """Area under the recall curve of errors (n,) from 0 to `limit`, linear between errors, divided by `limit`.

    Closed form of SuperGlue's trapezoids: each error e below the limit contributes `limit` - e, and the largest of them half
    of itself in addition, as recall rises linearly towards each error.
    """
    below = errors[errors < limit]
    if not below.size:
        return 0.0
    return float((limit - below).sum() + below.max() / 2) / (limit * len(errors))


def mean_accuracy(errors: Array, limit: int) -> float:
    """Mean over thresholds 1, 2, ..., `limit` of the share of errors (n,) below them; an error equal to `limit` counts."""
    inside = errors[errors <= limit]
    return float(np.maximum(limit - np.floor(inside), 1).sum()) / (limit * len(errors))


def _localized(translation_m: Array, rotation_deg: Array) -> dict[str, float]:
    """Metrics of the queries of one scene."""
    close = (translation_m <= _CLOSE_M) & (rotation_deg <= _CLOSE_DEG)
    return {
        "queries": float(len(translation_m)),
        "translation_m": float(np.median(translation_m)),
        "rotation_deg": float(np.median(rotation_deg)),
        "success_5cm_5deg": 100 * float(close.mean()),
    }


def _pair_metrics(meters: bool) -> tuple[Metric, ...]:
    return (*PAIRS, *METRIC_PAIRS) if meters else PAIRS


def _pair_errors(predicted: Array, truth: Array, meters: bool) -> dict[str, Array]:
    """Errors (...) of poses (..., 4, 4)."""
    check_rotations(predicted)
    predicted = np.where(failed(predicted)[..., None, None], np.nan, predicted)
    errors = {
        "pair_rotation_deg": rotation_error_deg(predicted[..., :3, :3], truth[..., :3, :3]),
        "pair_direction_deg": direction_error_deg(predicted[..., :3, 3], truth[..., :3, 3]),
    }
    if meters:
        errors["pair_translation_m"] = translation_error_m(predicted[..., :3, 3], truth[..., :3, 3])
    return errors
