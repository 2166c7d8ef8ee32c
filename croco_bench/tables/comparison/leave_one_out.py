"""Turns the metric of a set into one value per scene (block of images), by leaving one block out at a time.

A metric of a set isn't always a mean of per-image values: mIoU comes from summed areas, EPE from summed errors, the
median pose error from medians within scenes. The jackknife treats all of them alike. With G blocks, the metric m of all
images and m_g of all images but those of block g, the pseudo-value of block g is

    y_g = G m - (G - 1) m_g

For a mean over blocks of equal size, y_g is the mean of block g. The variance of m over new blocks is
sum((y_g - mean(y))²) / (G (G - 1)) for all of these metrics (Tukey 1958; for clusters of unequal size MacKinnon, Nielsen
and Webb 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from croco_bench.types import Array

Reduce = Callable[[Mapping[str, Array]], float]

# More blocks cost time and change nothing: a t-distribution with 399 degrees of freedom is almost normal.
MAX_BLOCKS = 400
_SHUFFLE_SEED = 0


def assign_blocks(groups: Sequence[str]) -> Array:
    """The number of each image's block (n,), from 0 without gaps.

    Images of one group (scene, film, building) share a block. Beyond `MAX_BLOCKS` groups, whole groups are put together
    at random, always in the same way. If there is only one group, each image counts as a group.
    """
    names = groups if len(set(groups)) > 1 else [str(index) for index in range(len(groups))]
    _, group = np.unique(np.asarray(names), return_inverse=True)
    count = int(group.max()) + 1
    if count <= MAX_BLOCKS:
        return np.asarray(group)
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(count)
    return np.asarray(order[group] % MAX_BLOCKS)


def pseudo_values(rows: Mapping[str, Array], blocks: Array, reduce: Reduce) -> tuple[float, Array]:
    """The metric of all images, and the pseudo-value of each block (G,).

    Args:
        rows: arrays (n, ...) over images.
        blocks: block of each image (n,), as `assign_blocks` makes them.
        reduce: rows of any number of images -> the metric.
    """
    whole, count = reduce(rows), int(blocks.max()) + 1
    without = np.array([_leave_out(rows, blocks != block, reduce) for block in range(count)])
    return whole, count * whole - (count - 1) * without


def pseudo_values_of_sums(rows: Mapping[str, Array], blocks: Array, reduce: Reduce) -> tuple[float, Array]:
    """The same for a metric made from the sums of rows over images alone (mIoU, EPE): one pass over the images."""
    sums = {key: _sums_of_blocks(values, blocks) for key, values in rows.items()}
    totals = {key: values.sum(axis=0, keepdims=True) for key, values in sums.items()}
    whole, count = reduce(totals), int(blocks.max()) + 1
    parts = ({key: totals[key] - sums[key][block : block + 1] for key in rows} for block in range(count))
    return whole, count * whole - (count - 1) * np.array([reduce(part) for part in parts])


def _sums_of_blocks(values: Array, blocks: Array) -> Array:
    """(n, ...) -> (G, ...)."""
    order, sizes = np.argsort(blocks, kind="stable"), np.bincount(blocks)
    return np.asarray(np.add.reduceat(values[order], np.cumsum(sizes) - sizes, axis=0))


def pseudo_values_of_mean(values: Array, blocks: Array) -> tuple[float, Array]:
    """The same for the mean of one value per image (n,), NaN left out, without a loop."""
    scored = ~np.isnan(values)
    count = int(blocks.max()) + 1
    sums = np.bincount(blocks[scored], values[scored], minlength=count)
    sizes = np.bincount(blocks[scored], minlength=count).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = sums.sum() / sizes.sum()
        without = (sums.sum() - sums) / (sizes.sum() - sizes)
    return float(whole), count * whole - (count - 1) * without


def _leave_out(rows: Mapping[str, Array], kept: Array, reduce: Reduce) -> float:
    return reduce({key: values[kept] for key, values in rows.items()})
