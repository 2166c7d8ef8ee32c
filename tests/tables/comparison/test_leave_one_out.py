"""Pseudo-values of metrics that are means, and of metrics that aren't."""

from collections.abc import Mapping

import numpy as np
import pytest

from croco_bench.tables.comparison.leave_one_out import (
    MAX_BLOCKS,
    assign_blocks,
    pseudo_values,
    pseudo_values_of_mean,
    pseudo_values_of_sums,
)
from croco_bench.types import Array


def test_images_of_one_scene_share_a_block() -> None:
    blocks = assign_blocks(["b", "a", "b", "c", "a"])
    assert blocks.tolist() == [1, 0, 1, 2, 0]


def test_a_single_scene_leaves_its_images() -> None:
    assert assign_blocks(["hall"] * 4).tolist() == [0, 1, 2, 3]


def test_many_scenes_are_put_together_whole_and_evenly() -> None:
    groups = [f"scene{index // 3}" for index in range(3 * 1000)]
    blocks = assign_blocks(groups)
    assert all(len(set(blocks[start : start + 3])) == 1 for start in range(0, len(blocks), 3))
    sizes = np.bincount(blocks)
    assert len(sizes) == MAX_BLOCKS
    assert sizes.min() >= 3 * 2 and sizes.max() <= 3 * 3


def test_pseudo_values_of_a_mean_are_the_means_of_equal_blocks() -> None:
    values = np.random.default_rng(0).normal(size=12)
    blocks = np.repeat(np.arange(4), 3)
    whole, parts = pseudo_values_of_mean(values, blocks)
    assert whole == pytest.approx(values.mean())
    assert parts == pytest.approx(values.reshape(4, 3).mean(axis=1))


def test_the_short_way_for_means_agrees_with_the_loop_also_where_images_have_no_value() -> None:
    rng = np.random.default_rng(1)
    values, blocks = rng.exponential(size=40), assign_blocks([f"s{number}" for number in rng.integers(0, 7, 40)])
    values[[3, 17]] = np.nan
    whole, parts = pseudo_values_of_mean(values, blocks)
    found = pseudo_values({"x": values}, blocks, lambda rows: {"mean": float(np.nanmean(rows["x"]))})
    slow_whole, slow_parts = found["mean"]
    assert whole == pytest.approx(slow_whole)
    assert parts == pytest.approx(slow_parts)


def test_metrics_of_sums_and_of_medians_agree_with_leaving_images_out_by_hand() -> None:
    rng = np.random.default_rng(3)
    rows = {"sums": rng.lognormal(0, 1, (30, 4)), "counts": rng.uniform(1, 9, (30, 4)), "other": np.full(30, np.nan)}
    blocks = assign_blocks([f"film{number}" for number in rng.integers(0, 6, 30)])

    def pooled(kept: Mapping[str, Array]) -> float:
        return float((kept["sums"].sum(axis=0) / kept["counts"].sum(axis=0)).mean())

    def median(kept: Mapping[str, Array]) -> float:
        return float(np.median(kept["sums"][:, 0]))

    def both(kept: Mapping[str, Array]) -> dict[str, float]:
        return {"pooled": pooled(kept), "median": median(kept)}

    found = pseudo_values(rows, blocks, both)
    of_sums = pseudo_values_of_sums(rows, blocks, lambda kept: {"pooled": pooled(kept)})
    for (whole, parts), reduce in ((found["pooled"], pooled), (of_sums["pooled"], pooled), (found["median"], median)):
        assert whole == pytest.approx(reduce(rows))
        for block in range(6):
            without = reduce({key: values[blocks != block] for key, values in rows.items()})
            assert parts[block] == pytest.approx(6 * whole - 5 * without)


def test_a_metric_that_a_part_lacks_has_no_pseudo_value_there() -> None:
    def reduce(kept: Mapping[str, Array]) -> dict[str, float]:
        return {"mean": float(kept["x"].mean())} | ({"most": 1.0} if kept["x"].max() > 2 else {})

    found = pseudo_values({"x": np.array([1.0, 2.0, 3.0])}, np.arange(3), reduce)
    assert np.isnan(found["most"][1]).tolist() == [False, False, True]
    assert np.isfinite(found["mean"][1]).all()


def test_the_variance_of_a_ratio_is_that_of_its_linearization() -> None:
    """Pooled errors over pooled pixels: the delta method gives the variance of the same ratio."""
    rng = np.random.default_rng(2)
    counts = rng.uniform(50, 150, 300)
    sums = counts * rng.lognormal(0, 0.5, 300)
    rows, blocks = {"sums": sums, "counts": counts}, np.arange(300)
    ratio = pseudo_values(rows, blocks, lambda rows: {"ratio": float(rows["sums"].sum() / rows["counts"].sum())})
    whole, parts = ratio["ratio"]
    linear = (sums - whole * counts) / counts.mean()
    assert parts.var(ddof=1) / 300 == pytest.approx(linear.var(ddof=1) / 300, rel=0.02)
