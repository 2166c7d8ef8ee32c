"""How far a mean over seeds and images would move with other images and other seeds.

The value of seed s of a backbone on block g (a scene, or a single image) is modelled as

    mean + effect of the block + effect of the seed + rest of this seed on this block

with blocks and seeds both drawn at random. In the difference of two backbones, what makes a block hard for both cancels;
what makes it harder for one of them stays. Three variances are estimated:

    blocks   of the seeds' mean, between blocks; contains the rest
    seeds    of the blocks' mean, between seeds of one backbone, pooled over backbones; contains the rest too
    rest     what block and seed together leave

The variance of the mean is max(blocks - rest, 0) + seeds, so that the rest is counted once. This is the analysis that
radiology uses for readers and cases (Dorfman, Berbaum and Metz 1992; Obuchowski and Rockette 1995; Hillis 2007), with
seeds as readers that are nested in backbones. All functions accept leading dimensions, so that many pairs of runs can be
simulated at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from croco_bench.types import Array

# Exponents of the shares of the variance. With 2 and 2 (Satterthwaite) two seeds give up to 7.9 % false positives at 5 %, with
# 1 and 1 (near Cochran) down to 2.7 %. These were chosen by simulation: 3.9 to 6.3 % with 8 to 400 scenes and 2 to 5 seeds,
# whatever their shares; benchmarks/false_positives.py measures the rates.
_BLOCK_EXPONENT, _SEED_EXPONENT = 3.0, 1.2


@dataclass(frozen=True)
class Components:
    """Variances of a mean or of a difference of means (...), in the metric's unit squared, and their degrees of freedom.

    `df_seeds` is 0 if no backbone has two seeds: then `seeds` and `rest` are 0, and nothing is known of other seeds.
    """

    blocks: Array
    seeds: Array
    rest: Array
    df_blocks: int
    df_seeds: int

    @property
    def total(self) -> Array:
        """The variance (...)."""
        return np.asarray(np.maximum(self.blocks - self.rest, 0.0) + self.seeds)

    @property
    def seed_share(self) -> Array:
        """The part (...) of `total`, 0 to 1, that comes from seeds."""
        total = self.total
        return np.divide(self.seeds, total, out=np.zeros_like(total), where=total > 0)

    @property
    def df(self) -> Array:
        """Degrees of freedom (...) of `total` for Student's t: of blocks and seeds, weighted with powers of their shares."""
        share = self.seed_share
        inverse = (1 - share) ** _BLOCK_EXPONENT / self.df_blocks
        if self.df_seeds:
            inverse = inverse + share**_SEED_EXPONENT / self.df_seeds
        return np.asarray(1 / inverse)


@dataclass(frozen=True)
class Spread:
    """What one backbone adds to the variances.

    Attributes:
        means: of its seeds, by block (..., G).
        between: sum of squares between seeds (...).
        left: sum of squares of what neither the seed's mean nor the block's mean explains (...).
        seeds: their number.
        learned: whether other seeds would give other values; False for methods without training.
    """

    means: Array
    between: Array
    left: Array
    seeds: int
    learned: bool


def spread_of(values: Array, *, learned: bool = True) -> Spread:
    """The spread of values (..., seeds, blocks)."""
    between, left = _squares_between_seeds(values), _squares_left(values)
    return Spread(values.mean(axis=-2), between, left, values.shape[-2], learned)


def stacked(spreads: Sequence[Spread]) -> Spread:
    """Spreads of backbones with as many seeds, all of them learned or none, along a new first dimension."""
    return Spread(
        means=np.stack([spread.means for spread in spreads]),
        between=np.stack([spread.between for spread in spreads]),
        left=np.stack([spread.left for spread in spreads]),
        seeds=spreads[0].seeds,
        learned=spreads[0].learned,
    )


def components(backbones: Sequence[Array], *, learned: Sequence[bool] | None = None) -> Components:
    """Variances of the mean of one backbone, or of the first one's mean minus the second one's.

    Args:
        backbones: one or two arrays (..., seeds, blocks). Blocks are the same ones for both; seeds are not paired.
        learned: whether other seeds would give other values; False for methods without training. Default: all True.
    """
    learned = [True] * len(backbones) if learned is None else learned
    return combined([spread_of(values, learned=random) for values, random in zip(backbones, learned, strict=True)])


def combined(spreads: Sequence[Spread]) -> Components:
    """The same from the spreads of one or two backbones."""
    contrast = spreads[0].means - spreads[1].means if len(spreads) == 2 else spreads[0].means
    count = contrast.shape[-1]
    blocks = contrast.var(axis=-1, ddof=1) / count
    trained = [spread for spread in spreads if spread.learned]
    df_seeds = sum(spread.seeds - 1 for spread in trained)
    if not df_seeds:
        return Components(blocks, np.zeros_like(blocks), np.zeros_like(blocks), count - 1, 0)
    weight = sum(1 / spread.seeds for spread in trained)
    seeds = np.asarray(sum(spread.between for spread in trained)) / df_seeds * weight
    rest = np.asarray(sum(spread.left for spread in trained)) / (df_seeds * (count - 1)) * weight / count
    return Components(blocks, seeds, rest, count - 1, df_seeds)


def p_values(values: Array, found: Components) -> Array:
    """Two-sided p-values (...) of means or differences (...) being zero."""
    error = np.sqrt(found.total)
    statistic = np.divide(np.abs(values), error, out=np.where(values == 0, 0.0, np.inf), where=error > 0)
    return np.asarray(2 * stdtr(found.df, -statistic))


def _squares_between_seeds(values: Array) -> Array:
    means = values.mean(axis=-1)
    return np.asarray(np.square(means - means.mean(axis=-1, keepdims=True)).sum(axis=-1))


def _squares_left(values: Array) -> Array:
    """Sum of squares of what neither the seed's mean nor the block's mean explains."""
    left = values - values.mean(axis=-1, keepdims=True) - values.mean(axis=-2, keepdims=True)
    return np.asarray(np.square(left + values.mean(axis=(-2, -1), keepdims=True)).sum(axis=(-2, -1)))
