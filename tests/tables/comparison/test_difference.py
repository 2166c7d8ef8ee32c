"""Intervals, p-values and verdicts of means and paired differences."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from croco_bench.errors import RecordError
from croco_bench.tables.comparison.difference import all_differences, interval_of_mean, paired_difference
from croco_bench.tables.comparison.multiple import holm, separable_from_best
from croco_bench.tables.comparison.scores import SeedScores


def scores(name: str, mean: float, *, seeds: int = 3, images: int = 80, seed: int = 0) -> SeedScores:
    """Images share their difficulty among all backbones."""
    difficulty = np.random.default_rng(99).normal(0, 5, images)
    rng = np.random.default_rng(seed)
    own = rng.normal(0, 0.2, (seeds, 1)) + rng.normal(0, 1, (seeds, images))
    return SeedScores.of_values(name, mean + difficulty + own)


def test_the_bootstrap_of_scipy_gives_the_same_interval_of_many_images() -> None:
    first, second = scores("a", 50, seeds=1, images=400, seed=1), scores("b", 49.8, seeds=1, images=400, seed=2)
    found = paired_difference(first, second)
    other = stats.bootstrap(
        (first.parts[0] - second.parts[0],), np.mean, n_resamples=4000, rng=np.random.default_rng(0), method="BCa"
    )
    low, high = other.confidence_interval
    assert found.ci95 == pytest.approx((low, high), abs=0.02)
    assert found.bootstrap95 == pytest.approx((low, high), abs=0.02)
    assert not found.covers_seeds


def test_a_clear_difference_holds_in_the_metrics_direction() -> None:
    found = paired_difference(scores("a", 52, seed=1), scores("b", 50, seed=2))
    assert found.ci95[0] > 0 and found.p_value < 0.01
    assert found.verdict(higher_is_better=True) == "holds"
    assert found.verdict(higher_is_better=False) == "does not hold"
    assert found.verdict(higher_is_better=True, p_value=0.2) == "undecided"


def test_swapping_the_backbones_mirrors_the_difference() -> None:
    one, two = scores("a", 50.4, seed=1), scores("b", 50, seed=2)
    there, back = paired_difference(one, two), paired_difference(two, one)
    assert back.value == pytest.approx(-there.value)
    assert back.p_value == pytest.approx(there.p_value)
    assert back.ci95 == pytest.approx((-there.ci95[1], -there.ci95[0]))


def test_the_interval_excludes_zero_exactly_where_p_is_below_a_twentieth() -> None:
    for seed in range(40):
        found = paired_difference(scores("a", 50.25, seed=seed), scores("b", 50, seed=seed + 100), resamples=0)
        assert (found.ci95[0] > 0 or found.ci95[1] < 0) == (found.p_value < 0.05)


def test_equal_scores_are_undecided_with_an_interval_of_width_zero() -> None:
    same = scores("a", 50)
    found = paired_difference(same, same)
    assert found.value == 0 and found.p_value > 0.9
    alone = SeedScores.of_values("b", np.full((1, 5), 2.0))
    assert paired_difference(alone, alone).p_value == 1


def test_scenes_widen_the_interval_of_images_that_resemble_each_other() -> None:
    rng = np.random.default_rng(0)
    groups = [f"film{index // 20}" for index in range(240)]
    values = rng.normal(0, 1, 12).repeat(20) + rng.normal(0, 1, 240)
    by_image = interval_of_mean(SeedScores.of_values("a", values[None]))
    by_film = interval_of_mean(SeedScores.of_values("a", values[None], groups=groups))
    assert by_film.standard_error > 2 * by_image.standard_error
    assert by_film.df == pytest.approx(11)


def test_the_share_of_seeds_says_whether_more_of_them_or_of_images_are_wanting() -> None:
    rng = np.random.default_rng(0)
    images, seeds = rng.normal(0, 1, (2, 1, 80)), rng.normal(0, 1, (2, 3, 1))

    def share(weight: float, count: int = 3) -> float | None:
        a, b = (
            SeedScores.of_values(name, (one + weight * two)[:count])
            for name, one, two in zip("ab", images, seeds, strict=True)
        )
        return paired_difference(a, b, resamples=0).seed_share

    assert share(0.0) == 0 and share(1.0) == pytest.approx(1, abs=0.05)
    assert 0.05 < (share(0.1) or 0) < 0.5
    assert share(1.0, count=1) is None


def test_other_images_cannot_be_compared() -> None:
    with pytest.raises(RecordError, match="not scored on the same images"):
        paired_difference(scores("a", 1, images=80), scores("b", 1, images=81))


def test_holm_is_that_of_the_text_book() -> None:
    """Holm (1979): 0.01, 0.04, 0.03 of three tests become 0.03, 0.06, 0.06."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_the_best_is_alone_or_shares_its_mark() -> None:
    column = {"a": scores("a", 55, seed=1), "b": scores("b", 50.1, seed=2), "c": scores("c", 50, seed=3)}
    assert separable_from_best(column, higher_is_better=True).tied == {"a"}
    marks = separable_from_best(column, higher_is_better=False)
    assert marks.best in ("b", "c") and marks.tied == {"b", "c"}


def test_all_differences_are_those_of_each_pair() -> None:
    """Of backbones with one, two and three seeds, and one without learning."""
    column = [scores(str(number), 50 + number, seed=number) for number in range(4)]
    column += [replace(one, name=f"{one.name}-part", parts=one.parts[:1]) for one in column[:2]]
    column.append(replace(column[0], name="fixed", learned=False))
    expected = [paired_difference(one, two, resamples=0) for one, two in combinations(column, 2)]
    for found, alone in zip(all_differences(column), expected, strict=True):
        assert found.p_value == pytest.approx(alone.p_value, rel=1e-12)
        assert found.df == pytest.approx(alone.df, rel=1e-12)
        assert replace(found, p_value=0, df=0, ci95=(0, 0)) == replace(alone, p_value=0, df=0, ci95=(0, 0))
        assert found.ci95 == pytest.approx(alone.ci95, rel=1e-12)
