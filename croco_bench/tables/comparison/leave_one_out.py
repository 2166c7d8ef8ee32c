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

Reduce = Callable[[Mapping[str, Array]], Mapping[str, float]]
# A metric of all images, and the pseudo-value of each block (G,).
LeftOut = tuple[float, Array]

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


def pseudo_values(rows: Mapping[str, Array], blocks: Array, reduce: Reduce) -> dict[str, LeftOut]:
    """Each metric of all images, and its pseudo-value of each block.

    Args:
        rows: arrays (n, ...) over images.
        blocks: block of each image (n,), as `assign_blocks` makes them.
        reduce: rows of any number of images -> metrics.
    """
    kept = (blocks != block for block in range(int(blocks.max()) + 1))
    parts = ({key: values[inside] for key, values in rows.items()} for inside in kept)
    return _left_out(reduce(rows), [reduce(part) for part in parts])


def pseudo_values_of_sums(rows: Mapping[str, Array], blocks: Array, reduce: Reduce) -> dict[str, LeftOut]:
    """The same for metrics made from the sums of rows over images alone (mIoU, EPE): one pass over the images."""
    sums = {key: _sums_of_blocks(values, blocks) for key, values in rows.items()}
    totals = {key: values.sum(axis=0, keepdims=True) for key, values in sums.items()}
    count = int(blocks.max()) + 1
    parts = ({key: totals[key] - sums[key][block : block + 1] for key in rows} for block in range(count))
    return _left_out(reduce(totals), [reduce(part) for part in parts])


def _left_out(whole: Mapping[str, float], parts: Sequence[Mapping[str, float]]) -> dict[str, LeftOut]:
    """Metrics of all images and of all but each block -> pseudo-values; NaN where a part has no value."""
    count = len(parts)
    without = {key: np.array([part.get(key, np.nan) for part in parts]) for key in whole}
    with np.errstate(invalid="ignore"):  # of infinite metrics
        return {key: (value, count * value - (count - 1) * without[key]) for key, value in whole.items()}


def _sums_of_blocks(values: Array, blocks: Array) -> Array:
    """(n, ...) -> (G, ...)."""
    order, sizes = np.argsort(blocks, kind="stable"), np.bincount(blocks)
    return np.asarray(np.add.reduceat(values[order], np.cumsum(sizes) - sizes, axis=0))


def pseudo_values_of_mean(values: Array, blocks: Array) -> LeftOut:
    """The same for the mean of one value per image (n,), NaN left out, without a loop."""
    scored = ~np.isnan(values)
    count = int(blocks.max()) + 1
    sums = np.bincount(blocks[scored], values[scored], minlength=count)
    sizes = np.bincount(blocks[scored], minlength=count).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = sums.sum() / sizes.sum()
        without = (sums.sum() - sums) / (sizes.sum() - sizes)
    return float(whole), count * whole - (count - 1) * without
