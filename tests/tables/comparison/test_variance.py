"""Variances of means over seeds and blocks, against classical formulas and simulated truth."""

import numpy as np
import pytest
from scipy import stats

from croco_bench.tables.comparison.variance import components
from croco_bench.types import Array


def simulate(
    rng: np.random.Generator, *, runs: int, seeds: int, blocks: int, seed_sd: float, block_sd: float = 1.0
) -> Array:
    """Values (runs, seeds, blocks) of one backbone without a mean."""
    return np.asarray(
        seed_sd * rng.normal(size=(runs, seeds, 1))
        + block_sd * rng.normal(size=(runs, 1, blocks))
        + rng.normal(size=(runs, seeds, blocks))
    )


def test_without_seeds_it_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(1, 30)), rng.normal(0.3, 1, size=(1, 30))
    found = components([first, second])
    expected = stats.ttest_rel(first[0], second[0])
    statistic = (first.mean() - second.mean()) / np.sqrt(found.total)
    assert statistic == pytest.approx(float(expected.statistic))
    assert float(found.df) == pytest.approx(29)
    assert not found.df_seeds


def test_where_only_seeds_vary_it_is_the_t_test_of_their_means() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(3, 1)), rng.normal(size=(4, 1))
    found = components([first + np.zeros(20), second + np.zeros(20)])
    expected = stats.ttest_ind(first[:, 0], second[:, 0])
    assert (first.mean() - second.mean()) / np.sqrt(found.total) == pytest.approx(float(expected.statistic))
    assert float(found.df) == pytest.approx(5)


@pytest.mark.parametrize("seed_sd", [0.0, 0.3, 2.0])
def test_the_variance_is_right_on_average(seed_sd: float) -> None:
    """Var = 2 (block² / blocks + seed² / seeds + rest² / (seeds blocks)), for each of the two backbones once."""
    rng = np.random.default_rng(2)
    first, second = (simulate(rng, runs=4000, seeds=3, blocks=40, seed_sd=seed_sd) for _ in "12")
    found = components([first, second])
    expected = 2 * (1 / 40 + seed_sd**2 / 3 + 1 / 120)
    assert float((found.blocks + found.seeds - found.rest).mean()) == pytest.approx(expected, rel=0.05)
    differences = first.mean(axis=(1, 2)) - second.mean(axis=(1, 2))
    assert float(differences.var()) == pytest.approx(expected, rel=0.08)


def test_an_effect_that_both_backbones_share_cancels() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, 25)), rng.normal(size=(2, 25))
    shared = 100 * rng.normal(size=25)
    assert components([first + shared, second + shared]).total == pytest.approx(components([first, second]).total)


def test_a_method_without_training_has_no_seeds_to_vary() -> None:
    rng = np.random.default_rng(4)
    fixed, trained = rng.normal(size=(1, 25)), rng.normal(size=(3, 25))
    found = components([fixed, trained], learned=[False, True])
    assert found.df_seeds == 2
    assert float(found.seeds) == pytest.approx(trained.mean(axis=1).var(ddof=1) / 3)


def test_a_single_seed_borrows_the_spread_of_the_other_backbone() -> None:
    rng = np.random.default_rng(5)
    single, several = rng.normal(size=(1, 25)), rng.normal(size=(3, 25))
    found = components([single, several])
    assert float(found.seeds) == pytest.approx(several.mean(axis=1).var(ddof=1) * (1 + 1 / 3))
