"""Ranks over several tasks: intervals of mean ranks, and which backbones differ (Demšar 2006, JMLR 7).

Two questions are kept apart. `mean_rank_intervals` asks how far the ranks on *these* tasks would move with other images and
other seeds. Friedman's test, Nemenyi's critical difference and Wilcoxon's test take each task as one observation and ask
whether a difference would appear on other tasks like these; they know nothing of images and seeds, and want about ten
independent tasks or more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from croco_bench.errors import BenchError
from croco_bench.tables.comparison.multiple import Pair, holm
from croco_bench.tables.comparison.resampling import draw_blocks, draw_mean
from croco_bench.tables.comparison.scores import SeedScores
from croco_bench.types import Array


@dataclass(frozen=True)
class RankInterval:
    """A mean rank over tasks, 1 is best, ties share the mean of their places; 95 % interval of the bootstrap."""

    value: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class RankTest:
    """Whether backbones differ over tasks.

    Attributes:
        mean_ranks: backbone -> mean rank, 1 is best.
        statistic: Friedman's chi-square.
        p_value: that all backbones are alike.
        critical_difference: of two mean ranks, by Nemenyi; 5 % for all pairs together.
        cliques: groups of backbones, best first, in which no two differ by the critical difference.
        pairs: p-values of Wilcoxon's signed-rank test for each pair, after Holm's correction.
    """

    mean_ranks: Mapping[str, float]
    statistic: float
    p_value: float
    critical_difference: float
    cliques: tuple[tuple[str, ...], ...]
    pairs: Mapping[Pair, float]


def mean_rank_intervals(
    tasks: Sequence[Mapping[str, SeedScores]],
    higher_is_better: Sequence[bool],
    *,
    resamples: int = 2000,
    rng: np.random.Generator | None = None,
) -> dict[str, RankInterval]:
    """Mean ranks of backbones over tasks, with intervals over images and seeds.

    Tasks on the same images (Taskonomy's eight) draw the same ones.

    Args:
        tasks: for each task, backbone -> scores; the same backbones in each.
        higher_is_better: the direction of each task's metric.
        resamples: draws of the bootstrap.
        rng: its source of randomness; by default the same for every call.
    """
    names = _common_names(tasks)
    rng = np.random.default_rng(0) if rng is None else rng
    signs = [-1.0 if higher else 1.0 for higher in higher_is_better]
    drawn: dict[bytes, Array] = {}
    ranks, observed = np.zeros((resamples, len(names))), np.zeros(len(names))
    for scores, sign in zip(tasks, signs, strict=True):
        first = scores[names[0]]
        key = first.blocks.tobytes()
        if key not in drawn:
            drawn[key] = draw_blocks(first.parts.shape[1], resamples, rng)
        means = [draw_mean(_spread_seeds(scores[name].centered), drawn[key], rng) for name in names]
        ranks += _ranks(sign * np.stack(means, axis=1)) / len(tasks)
        observed += _ranks(np.array([[sign * scores[name].value for name in names]]))[0] / len(tasks)
    low, high = np.quantile(ranks, (0.025, 0.975), axis=0)
    return {name: RankInterval(float(observed[i]), (float(low[i]), float(high[i]))) for i, name in enumerate(names)}


def rank_test(tasks: Sequence[Mapping[str, float]], higher_is_better: Sequence[bool]) -> RankTest:
    """Friedman's test over tasks, with Nemenyi's critical difference and Wilcoxon's test of pairs.

    Args:
        tasks: for each task, backbone -> value; the same backbones in each.
        higher_is_better: the direction of each task's metric.

    Raises:
        BenchError: there are fewer than two tasks or three backbones.
    """
    from scipy.stats import chi2

    names = _common_names(tasks)
    if len(tasks) < 2 or len(names) < 3:
        raise BenchError(
            f"Friedman's test compares three backbones or more over two tasks or more, not {len(names)} over {len(tasks)}",
            "compare two backbones by their difference",
        )
    signs = [-1.0 if higher else 1.0 for higher in higher_is_better]
    values = np.array([[sign * task[name] for name in names] for task, sign in zip(tasks, signs, strict=True)])
    mean = _ranks(values).mean(axis=0)
    statistic = _friedman(values)
    order = np.argsort(mean, kind="stable")
    limit = critical_difference(len(names), len(tasks))
    return RankTest(
        mean_ranks={names[i]: float(mean[i]) for i in order},
        statistic=statistic,
        p_value=float(chi2.sf(statistic, len(names) - 1)),
        critical_difference=limit,
        cliques=_cliques([names[i] for i in order], mean[order], limit),
        pairs=_wilcoxon_holm(names, values),
    )


def critical_difference(backbones: int, tasks: int, level: float = 0.05) -> float:
    """Nemenyi's: mean ranks further apart than this differ, at `level` for all pairs together."""
    from scipy.stats import studentized_range

    quantile = float(studentized_range.ppf(1 - level, backbones, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(backbones * (backbones + 1) / (6 * tasks))


def _common_names(tasks: Sequence[Mapping[str, object]]) -> list[str]:
    names = sorted(tasks[0])
    if any(sorted(task) != names for task in tasks):
        raise BenchError("ranks need the same backbones in every task", "leave out backbones that lack one")
    return names


def _spread_seeds(parts: Array) -> Array:
    """`parts` (seeds, blocks) with seeds so far apart that drawing them anew gives the variance of their mean without bias.

    Drawn from S seeds, it is (S - 1) / S of that: half, with two seeds (Rao and Wu 1988).
    """
    seeds = len(parts)
    mean = parts.mean(axis=0, keepdims=True)
    return np.asarray(mean + (parts - mean) * math.sqrt(seeds / max(seeds - 1, 1)))


def _ranks(values: Array) -> Array:
    """Ranks within each row (n, k), 1 for the smallest, ties share the mean of their places."""
    below = (values[:, :, None] > values[:, None, :]).sum(axis=2)
    equal = (values[:, :, None] == values[:, None, :]).sum(axis=2)
    return np.asarray(below + (equal + 1) / 2)


def _friedman(values: Array) -> float:
    """Friedman's chi-square of values (tasks, backbones), corrected for ties; 0 if all are tied."""
    ranks = _ranks(values)
    tasks, count = values.shape
    spread = float(np.square(ranks.mean(axis=0) - (count + 1) / 2).sum())
    within = float(np.square(ranks - (count + 1) / 2).sum()) / (tasks * (count - 1))
    return tasks * spread / within if within else 0.0


def _cliques(names: Sequence[str], mean: Array, limit: float) -> tuple[tuple[str, ...], ...]:
    """Longest runs of sorted mean ranks that span less than `limit`."""
    found: list[tuple[str, ...]] = []
    reached = 0
    for start in range(len(mean)):
        end = start + int((mean[start:] - mean[start] < limit).sum())
        if end > max(reached, start + 1):  # longer than one, and not inside the run before
            found.append(tuple(names[start:end]))
            reached = end
    return tuple(found)


def _wilcoxon_holm(names: Sequence[str], values: Array) -> dict[Pair, float]:
    from scipy.stats import wilcoxon

    pairs = list(combinations(range(len(names)), 2))
    raw = [
        float(wilcoxon(difference).pvalue) if (difference := values[:, i] - values[:, j]).any() else 1.0
        for i, j in pairs
    ]
    return {(names[i], names[j]): p for (i, j), p in zip(pairs, holm(raw), strict=True)}
