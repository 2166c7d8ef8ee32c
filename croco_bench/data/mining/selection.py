"""Selection of pairs from one sequence: three tests, from cheap to exact, then an even spread over co-visibility."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from croco_bench.data.mining.covisibility import Matching, Surface, share_seen, sights, surface_covisibility
from croco_bench.types import Array

_LANDMARKS = 16
# The standard deviation of the smaller share estimated from 200 points is 0.01 on rooms (0.06 in the worst case). With a
# margin of 0.05 none of 2167 pairs within the default range was lost, nor by the frustum test with 16 points.
_SAMPLES = 200
_MARGIN = 0.05
_MAX_ESTIMATES = 20_000
_BINS = 6
# Limit of exact comparisons, as a multiple of the pairs wanted; reached where few pairs are within the range.
_MAX_COMPARISONS = 10
# Frames i < j, and the share of the pixels of each that is visible in the other.
ComparedPair = tuple[int, int, float, float]


@dataclass(frozen=True)
class PairCriteria:
    """Pairs to select. Field names are keys of `settings.json`.

    Attributes:
        low: minimum of the smaller share of co-visible pixels.
        high: maximum of the smaller share.
        per_frame: maximum number of pairs with one frame.
        per_sequence: maximum number of pairs.
    """

    low: float = 0.35
    high: float = 0.65
    per_frame: int = 4
    per_sequence: int = 200


@dataclass(frozen=True)
class SelectedPairs:
    """Selected pairs, the numbers of pairs estimated and compared, and the (min, max) of all estimated shares."""

    pairs: list[ComparedPair]
    estimated: int
    compared: int
    estimates: tuple[float, float] | None


def select_pairs(
    surfaces: list[Surface], criteria: PairCriteria, matching: Matching, rng: np.random.Generator
) -> SelectedPairs:
    """Selects pairs of frames that meet `criteria`, each compared exactly. The order depends only on `rng`."""
    candidates = np.argwhere(np.triu(_frusta_overlap(surfaces), 1))
    candidates = candidates[rng.permutation(len(candidates))[:_MAX_ESTIMATES]]
    estimates = _estimates(surfaces, candidates, matching)
    near = (estimates >= criteria.low - _MARGIN) & (estimates <= criteria.high + _MARGIN)
    order = _interleaved(estimates[near], criteria)
    compared, kept = _compare(surfaces, candidates[near][order], criteria, matching)
    known = estimates[np.isfinite(estimates)]
    seen_range = (float(known.min()), float(known.max())) if len(known) else None
    return SelectedPairs(kept, len(estimates), compared, seen_range)


def _frusta_overlap(surfaces: list[Surface]) -> Array:
    """Whether a few points of each frame project into the other's image, occluded or not: (n, n) bool."""
    n = len(surfaces)
    points = np.stack([surface.sample_points(_LANDMARKS) for surface in surfaces]).reshape(-1, 3) if n else np.zeros(0)
    inside = np.zeros((n, n), dtype=np.bool_)
    for column, surface in enumerate(surfaces):
        local = (points - surface.cam2world[:3, 3]) @ surface.cam2world[:3, :3]
        height, width = surface.size
        scaled = local @ surface.K.T
        fits = (
            (local[:, 2] > 0)
            & (scaled[:, :2] >= -0.5 * local[:, 2:]).all(axis=1)
            & (scaled[:, :2] < (width - 0.5, height - 0.5) * local[:, 2:]).all(axis=1)
        )
        inside[:, column] = fits.reshape(n, -1).any(axis=1)
    both: Array = inside & inside.T
    return both


def _estimates(surfaces: list[Surface], pairs: Array, matching: Matching) -> Array:
    """Estimate (m,) of the smaller share of each pair (m, 2), from a few points of both frames; NaN where unknown."""
    coarse = replace(matching, known=matching.known / 2)  # so that chance loses no pair
    result = np.ones(len(pairs))
    if not len(pairs):
        return result
    points = np.stack([surface.sample_points(_SAMPLES) for surface in surfaces])
    for source, target in ((0, 1), (1, 0)):
        order = np.argsort(pairs[:, target], kind="stable")
        for chunk in np.split(order, np.flatnonzero(np.diff(pairs[order, target])) + 1):
            sources = pairs[chunk, source]
            sight = sights(points[sources].reshape(-1, 3), surfaces[pairs[chunk[0], target]], matching)
            shares = share_seen(sight.reshape(len(chunk), -1), _SAMPLES, coarse)
            result[chunk] = np.minimum(result[chunk], shares)  # NaN stays
    return result


def _bin(share: Array | float, criteria: PairCriteria) -> Array:
    """Index of the bin of the wanted range; shares outside the range are in the first or last bin."""
    width = max(criteria.high - criteria.low, 1e-9) / _BINS
    return np.clip((np.asarray(share) - criteria.low) // width, 0, _BINS - 1).astype(np.intp)


def _interleaved(estimates: Array, criteria: PairCriteria) -> Array:
    """An order that takes the first pair of each bin, then the second of each, and so on."""
    bins = _bin(estimates, criteria)
    turn = np.zeros(len(bins), dtype=np.intp)
    for number in range(_BINS):
        turn[bins == number] = np.arange((bins == number).sum())
    return np.lexsort((bins, turn))


class _KeptPairs:
    """Pairs kept so far, within the limits per frame and per sequence."""

    def __init__(self, criteria: PairCriteria) -> None:
        self.pairs: list[ComparedPair] = []
        self._wanted, self._uses = criteria, Counter[int]()

    def accepts(self, first: int, second: int) -> bool:
        """Whether a pair of these frames would stay within the limits."""
        if len(self.pairs) >= self._wanted.per_sequence:
            return False
        return max(self._uses[first], self._uses[second]) < self._wanted.per_frame

    def add(self, pair: ComparedPair) -> None:
        """Keeps a pair."""
        self.pairs.append(pair)
        self._uses.update(pair[:2])


def _compare(
    surfaces: list[Surface], pairs: Array, criteria: PairCriteria, matching: Matching
) -> tuple[int, list[ComparedPair]]:
    """Number of pairs compared exactly, and the kept ones: an equal quota of each bin first, then the others."""
    kept, others, filled = _KeptPairs(criteria), list[ComparedPair](), Counter[int]()
    quota = -(-criteria.per_sequence // _BINS)
    compared = 0
    for first, second in pairs.tolist():
        if compared >= _MAX_COMPARISONS * criteria.per_sequence:
            break
        if not kept.accepts(first, second):
            continue
        compared += 1
        shares = surface_covisibility(surfaces[first], surfaces[second], matching)
        smaller = float(np.minimum(*shares))  # NaN, which no range holds, if either is
        if not criteria.low <= smaller <= criteria.high:
            continue
        number = int(_bin(smaller, criteria))
        if filled[number] < quota:
            filled[number] += 1
            kept.add((first, second, *shares))
        else:
            others.append((first, second, *shares))
    for pair in others:
        if kept.accepts(pair[0], pair[1]):
            kept.add(pair)
    return compared, kept.pairs
