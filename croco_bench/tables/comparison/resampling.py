"""The hierarchical bootstrap: seeds of each backbone with replacement, then blocks of images, the same ones for all.

It needs no formula, but with few seeds or scenes its percentile intervals are too narrow (benchmarks/false_positives.py
has the figures): two seeds drawn from two are half the time one seed twice. So it checks the variances of
`croco_bench.tables.comparison.variance` and gives the intervals of ranks, for which there is no formula; verdicts don't use it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from croco_bench.types import Array


def draw_means(backbones: Sequence[Array], *, resamples: int, rng: np.random.Generator) -> Array:
    """Resampled means (resamples, backbones).

    Args:
        backbones: arrays (seeds, blocks) of pseudo-values over the same blocks.
        resamples: number of draws.
        rng: source of randomness.
    """
    blocks = draw_blocks(backbones[0].shape[1], resamples, rng)
    return np.stack([draw_mean(values, blocks, rng) for values in backbones], axis=1)


def draw_blocks(count: int, resamples: int, rng: np.random.Generator) -> Array:
    """The share of each block in each draw (resamples, count)."""
    return np.asarray(rng.multinomial(count, np.full(count, 1 / count), size=resamples) / count)


def draw_mean(values: Array, blocks: Array, rng: np.random.Generator) -> Array:
    """Means (resamples,) of `values` (seeds, blocks) with given shares of blocks, and seeds drawn anew."""
    seeds = len(values)
    chosen = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=len(blocks)) / seeds
    return np.asarray(((blocks @ values.T) * chosen).sum(axis=1))
