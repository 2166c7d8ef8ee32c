"""Which pairs of frames of one sequence to keep: three tests, from cheap to exact, then an even spread over co-visibility."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from croco_bench.data.mining.covisibility import Matching, Surface, seen, surface_covisibility
from croco_bench.types import Array

_LANDMARKS = 16
# 200 points estimate the smaller share to 0.01 (standard deviation, measured on rooms; 0.06 at worst): a margin of 0.05
# lost none of 2167 pairs within the default range, nor did the frusta of 16 points.
_SAMPLES = 200
_MARGIN = 0.05
_MOST_ESTIMATES = 20_000
_BINS = 6
# Where few pairs fit, comparing goes on until this many for each one wanted.
_MOST_COMPARISONS = 10


@dataclass(frozen=True)
class PairCriteria:
    """Pairs with a smaller share of co-visibility from `low` to `high`; at most `per_frame` and `per_sequence`."""

    low: float = 0.35
    high: float = 0.65
    per_frame: int = 4
    per_sequence: int = 200


@dataclass(frozen=True)
class SelectedPairs:
    """Pairs (i, j) with i < j and both shares; how many pairs were estimated and compared, and the range of estimates."""

    pairs: list[tuple[int, int, float, float]]
    estimated: int
    compared: int
    estimates: tuple[float, float] | None


def select_pairs(
    surfaces: list[Surface], wanted: PairCriteria, matching: Matching, rng: np.random.Generator
) -> SelectedPairs:
    """Pairs within `wanted`, each compared in full; in an order that depends on `rng` alone."""
    candidates = np.argwhere(np.triu(_share_frusta(surfaces), 1))
    candidates = candidates[rng.permutation(len(candidates))[:_MOST_ESTIMATES]]
    estimates = _estimates(surfaces, candidates, matching)
    near = (estimates >= wanted.low - _MARGIN) & (estimates <= wanted.high + _MARGIN)
    order = _in_turns(estimates[near], wanted)
    compared, kept = _compare(surfaces, candidates[near][order], wanted, matching)
    seen_range = (float(estimates.min()), float(estimates.max())) if len(estimates) else None
    return SelectedPairs(kept, len(estimates), compared, seen_range)


def _share_frusta(surfaces: list[Surface]) -> Array:
    """(n, n) bool: some of a few points of each frame lie inside the image of the other, hidden or not."""
    n = len(surfaces)
    points = np.stack([surface.spread(_LANDMARKS) for surface in surfaces]).reshape(-1, 3) if n else np.zeros(0)
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
    """The smaller share of each pair (m, 2), from a few points of both frames."""
    result = np.ones(len(pairs))
    if not len(pairs):
        return result
    points = np.stack([surface.spread(_SAMPLES) for surface in surfaces])
    for source, target in ((0, 1), (1, 0)):
        order = np.argsort(pairs[:, target], kind="stable")
        for chunk in np.split(order, np.flatnonzero(np.diff(pairs[order, target])) + 1):
            sources = pairs[chunk, source]
            found = seen(points[sources].reshape(-1, 3), surfaces[pairs[chunk[0], target]], matching)
            result[chunk] = np.minimum(result[chunk], found.reshape(len(chunk), -1).mean(axis=1))
    return result


def _bin(share: Array | float, wanted: PairCriteria) -> Array:
    """Numbers of equal parts of the wanted range; what lies outside counts with the first or last."""
    width = max(wanted.high - wanted.low, 1e-9) / _BINS
    return np.clip((np.asarray(share) - wanted.low) // width, 0, _BINS - 1).astype(np.intp)


def _in_turns(estimates: Array, wanted: PairCriteria) -> Array:
    """An order that takes one pair of each part of the range, then the next of each."""
    bins = _bin(estimates, wanted)
    turn = np.zeros(len(bins), dtype=np.intp)
    for number in range(_BINS):
        turn[bins == number] = np.arange((bins == number).sum())
    return np.lexsort((bins, turn))


def _compare(
    surfaces: list[Surface], pairs: Array, wanted: PairCriteria, matching: Matching
) -> tuple[int, list[tuple[int, int, float, float]]]:
    """How many pairs were compared in full, and those kept: an equal number of each part of the range, then the rest."""
    kept: list[tuple[int, int, float, float]] = []
    spare: list[tuple[int, int, float, float]] = []
    uses, filled = Counter[int](), Counter[int]()
    quota = -(-wanted.per_sequence // _BINS)
    compared = 0

    def keep(pair: tuple[int, int, float, float]) -> None:
        kept.append(pair)
        uses.update(pair[:2])

    def free(first: int, second: int) -> bool:
        return len(kept) < wanted.per_sequence and max(uses[first], uses[second]) < wanted.per_frame

    for first, second in _ints(pairs):
        if compared >= _MOST_COMPARISONS * wanted.per_sequence:
            break
        if not free(first, second):
            continue
        compared += 1
        both = surface_covisibility(surfaces[first], surfaces[second], matching)
        if not wanted.low <= min(both) <= wanted.high:
            continue
        part = int(_bin(min(both), wanted))
        if filled[part] < quota:
            filled[part] += 1
            keep((first, second, *both))
        else:
            spare.append((first, second, *both))
    for pair in spare:
        if free(pair[0], pair[1]):
            keep(pair)
    return compared, kept


def _ints(pairs: Array) -> Iterator[tuple[int, int]]:
    for first, second in pairs:
        yield int(first), int(second)
