"""The interval of a mean over seeds and images, and the paired difference of two backbones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from croco_bench.tables.comparison.resampling import draw_means
from croco_bench.tables.comparison.scores import SeedScores, require_paired
from croco_bench.tables.comparison.variance import Components, combined, p_values, stacked
from croco_bench.types import Array

Verdict = Literal["holds", "does not hold", "undecided"]
Interval = tuple[float, float]


@dataclass(frozen=True)
class MeanInterval:
    """The mean of one backbone over its seeds, in the metric's unit.

    `covers_seeds`: whether the interval says where the mean would lie with other seeds, too. With one seed of a trained
    network it can't: it is the interval of this training, over other images.
    """

    value: float
    ci95: Interval
    standard_error: float
    df: float
    seeds: int
    blocks: int
    covers_seeds: bool


@dataclass(frozen=True)
class Difference:
    """The first backbone's mean minus the second one's, in the metric's unit.

    Attributes:
        value: the difference.
        ci95: 95 % interval by Student's t.
        p_value: two-sided, of no difference.
        standard_error: of `value`.
        df: degrees of freedom of the t-distribution.
        bootstrap95: percentiles of the hierarchical bootstrap, for comparison; None if no resamples were asked for.
        seeds: of the first and of the second backbone; of a method, its pre-trainings.
        images: how many images both were scored on.
        blocks: scenes, or single images, or several of them taken together, that count as independent.
        scenes: how many scenes, films or buildings the images belong to; None where the results don't say.
        covers_seeds: whether interval and p-value allow for other seeds; not if no trained backbone has two.
        seed_share: the part of the variance, 0 to 1, that comes from seeds; the rest comes from images. None if no trained
            backbone has two.
    """

    value: float
    ci95: Interval
    p_value: float
    standard_error: float
    df: float
    bootstrap95: Interval | None
    seeds: tuple[int, int]
    images: int
    blocks: int
    scenes: int | None
    covers_seeds: bool
    seed_share: float | None

    def verdict(self, *, higher_is_better: bool, p_value: float | None = None, level: float = 0.05) -> Verdict:
        """Whether "the first is better than the second" holds.

        Args:
            higher_is_better: the metric's direction.
            p_value: after a correction for several tests; default: the difference's own.
            level: a p-value below decides.
        """
        if (self.p_value if p_value is None else p_value) >= level or not self.value:
            return "undecided"
        return "holds" if (self.value > 0) == higher_is_better else "does not hold"


def interval_of_mean(scores: SeedScores) -> MeanInterval:
    """The mean over seeds with a 95 % interval over images and seeds."""
    found = combined([scores.spread])
    error, df, low, high, _ = map(float, _by_t(np.asarray(scores.value), found))
    return MeanInterval(
        value=scores.value,
        ci95=(low, high),
        standard_error=error,
        df=df,
        seeds=len(scores.parts),
        blocks=scores.parts.shape[1],
        covers_seeds=found.df_seeds > 0 or not scores.learned,
    )


def paired_difference(
    first: SeedScores, second: SeedScores, *, resamples: int = 2000, rng: np.random.Generator | None = None
) -> Difference:
    """Compares two backbones on the same images.

    Seeds aren't paired: seed 0 of one backbone has no more in common with seed 0 of the other than with its seed 1.

    Args:
        first: scores of one backbone.
        second: scores of another on the same images.
        resamples: draws of the bootstrap; 0 leaves it out.
        rng: its source of randomness; by default the same for every call.

    Raises:
        RecordError: they were not scored on the same images.
    """
    (found,) = _differences(first, [second])
    return replace(found, bootstrap95=_bootstrap([first, second], resamples, rng)) if resamples else found


def all_differences(scores: Sequence[SeedScores]) -> list[Difference]:
    """Differences of all pairs, in the order of `itertools.combinations`, without the bootstrap.

    Raises:
        RecordError: they were not scored on the same images.
    """
    return [found for index, first in enumerate(scores) for found in _differences(first, scores[index + 1 :])]


def _differences(first: SeedScores, others: Sequence[SeedScores]) -> list[Difference]:
    """The first one's differences from each of the others, computed together for those with as many seeds."""
    kinds: dict[tuple[int, bool], list[int]] = defaultdict(list)
    for index, other in enumerate(others):
        require_paired(first, other)
        kinds[len(other.parts), other.learned].append(index)
    found: dict[int, Difference] = {}
    for indices in kinds.values():
        alike = [others[index] for index in indices]
        found |= zip(indices, _differences_of_a_kind(first, alike), strict=True)
    return [found[index] for index in range(len(others))]


def _differences_of_a_kind(first: SeedScores, others: Sequence[SeedScores]) -> Iterator[Difference]:
    values = np.array([first.value - other.value for other in others])
    found = combined([first.spread, stacked([other.spread for other in others])])
    columns = (numbers.tolist() for numbers in (values, *_by_t(values, found), found.seed_share))
    for other, (value, error, df, low, high, p_value, share) in zip(others, zip(*columns, strict=True), strict=True):
        yield Difference(
            value=value,
            ci95=(low, high),
            p_value=p_value,
            standard_error=error,
            df=df,
            bootstrap95=None,
            seeds=(len(first.parts), len(other.parts)),
            images=len(first.blocks),
            blocks=first.parts.shape[1],
            scenes=first.scenes,
            covers_seeds=found.df_seeds > 0 or not (first.learned or other.learned),
            seed_share=share if found.df_seeds else None,
        )


def _by_t(values: Array, found: Components) -> tuple[Array, Array, Array, Array, Array]:
    """Standard errors, degrees of freedom, ends of the 95 % intervals, and p-values of no difference from zero."""
    errors, df = np.sqrt(found.total), found.df
    margins = stdtrit(df, 0.975) * errors
    return errors, df, values - margins, values + margins, p_values(values, found)


def _bootstrap(pair: Sequence[SeedScores], resamples: int, rng: np.random.Generator | None) -> Interval:
    rng = np.random.default_rng(0) if rng is None else rng
    means = draw_means([scores.centered for scores in pair], resamples=resamples, rng=rng)
    low, high = np.quantile(means[:, 0] - means[:, 1], (0.025, 0.975))
    return float(low), float(high)
