"""Ranks over tasks, against scipy, scikit-posthocs, Demšar's worked example and a count by hand."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
from scipy import stats

from croco_bench.errors import BenchError
from croco_bench.tables.comparison.multiple import holm
from croco_bench.tables.comparison.ranks import _spread_seeds, critical_difference, mean_rank_intervals, rank_test
from croco_bench.tables.comparison.resampling import draw_mean
from croco_bench.tables.comparison.scores import SeedScores

# Demšar 2006, table 6: AUC of C4.5, with cross-validated m, cf, and both, on 14 data sets.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)
NAMES = ("c45", "m", "cf", "both")


def rows_of(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[Mapping[str, float]]:
    return [dict(zip(NAMES, map(float, row), strict=True)) for row in values]


def test_demsars_example_has_his_mean_ranks_and_his_critical_difference() -> None:
    """Section 3.2.2: 3.143, 2.000, 2.893, 1.964; CD = 2.569 sqrt(4 5 / (6 14)) = 1.25."""
    found = rank_test(rows_of(DEMSAR), [True] * 14)
    assert [found.mean_ranks[name] for name in NAMES] == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert list(found.mean_ranks) == ["both", "m", "cf", "c45"]
    assert found.critical_difference == pytest.approx(1.25, abs=5e-3)
    assert critical_difference(5, 10) == pytest.approx(2.728 * np.sqrt(5 * 6 / 60), abs=1e-3)


def test_friedman_is_that_of_scipy_with_ties_too() -> None:
    found = rank_test(rows_of(DEMSAR), [True] * 14)
    expected = stats.friedmanchisquare(*DEMSAR.T)
    assert found.statistic == pytest.approx(float(expected.statistic))
    assert found.p_value == pytest.approx(float(expected.pvalue))


def test_nemenyi_agrees_with_scikit_posthocs() -> None:
    """Mean ranks differ by the critical difference or more exactly where its p-value is below 5 %."""
    rng = np.random.default_rng(3)
    apart = 0
    for _ in range(10):
        values = rng.normal(size=(12, 4)) + np.array([0, 0, 0.5, 1.5])
        found = rank_test(rows_of(values), [True] * 12)
        p_values = scikit_posthocs.posthoc_nemenyi_friedman(values).to_numpy()
        for i, one in enumerate(NAMES):
            for j, two in enumerate(NAMES):
                differ = abs(found.mean_ranks[one] - found.mean_ranks[two]) >= found.critical_difference
                assert differ == (p_values[i, j] < 0.05)
                apart += differ
                together = any(one in clique and two in clique for clique in found.cliques)
                assert together != differ or one == two
    assert apart > 5


@pytest.mark.slow
def test_wilcoxon_with_holm_agrees_with_scikit_posthocs() -> None:
    values = np.random.default_rng(4).normal(size=(12, 4)) + np.array([0, 0.2, 0.8, 1.5])
    found = rank_test(rows_of(values), [True] * 12)
    long = pd.DataFrame(values, columns=list(NAMES)).melt(var_name="backbone", value_name="score")
    expected = scikit_posthocs.posthoc_wilcoxon(long, val_col="score", group_col="backbone", p_adjust="holm")
    for (one, two), p in found.pairs.items():
        assert p == pytest.approx(float(expected.loc[one, two]))


def test_holm_is_the_closure_of_bonferronis_tests() -> None:
    """A p-value after correction is the largest of count * smallest over all sets of tests that it belongs to."""
    for seed in range(5):
        p_values = (np.random.default_rng(seed).uniform(size=6) ** 3).tolist()
        sets = [chosen for count in range(1, 7) for chosen in combinations(range(6), count)]
        expected = [
            max(min(1.0, len(chosen) * min(p_values[i] for i in chosen)) for chosen in sets if test in chosen)
            for test in range(6)
        ]
        assert holm(p_values) == pytest.approx(expected)


def test_the_direction_of_a_metric_turns_its_ranks() -> None:
    tasks = [{"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 9.0, "b": 8.0, "c": 7.0}]
    assert rank_test(tasks, [False, True]).mean_ranks == {"a": 1.0, "b": 2.0, "c": 3.0}


def test_too_few_tasks_or_backbones_are_refused() -> None:
    with pytest.raises(BenchError, match="not 2 over 2"):
        rank_test([{"a": 1.0, "b": 2.0}] * 2, [True, True])
    with pytest.raises(BenchError, match="same backbones"):
        rank_test([{"a": 1.0, "b": 2.0, "c": 1.0}, {"a": 1.0, "b": 2.0}], [True, True])


def test_two_seeds_count_with_their_whole_variance() -> None:
    """Means of drawn seeds scatter by s² / 2, as the mean of two seeds does; without a correction it would be half of that."""
    seeds = np.array([[0.0], [2.0]]) + np.zeros(3)
    drawn = draw_mean(_spread_seeds(seeds), np.full((4000, 3), 1 / 3), np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(1, abs=0.05)
    assert drawn.var() == pytest.approx(seeds[:, 0].var(ddof=1) / 2, rel=0.05)


def scored(name: str, mean: float, seed: int) -> SeedScores:
    rng = np.random.default_rng(seed)
    return SeedScores.of_values(name, mean + rng.normal(0, 0.1, (2, 1)) + rng.normal(0, 1, (2, 50)))


def test_intervals_of_mean_ranks_are_narrow_where_all_is_clear_and_wide_where_it_is_not() -> None:
    clear = [
        {"a": scored("a", 0, task), "b": scored("b", 9, task + 50), "c": scored("c", 18, task + 90)}
        for task in range(4)
    ]
    found = mean_rank_intervals(clear, [False] * 4, resamples=300)
    assert {name: rank.value for name, rank in found.items()} == {"a": 1, "b": 2, "c": 3}
    assert found["b"].ci95 == (2, 2)
    alike = [{name: scored(name, 0, 10 * task + i) for i, name in enumerate("abc")} for task in range(4)]
    for rank in mean_rank_intervals(alike, [False] * 4, resamples=300).values():
        assert rank.ci95[0] <= rank.value <= rank.ci95[1]
        assert rank.ci95[1] - rank.ci95[0] >= 0.5
