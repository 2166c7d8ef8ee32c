"""The level is kept where there is no difference; independent ways to the same variance and p-value."""

import importlib.util
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from croco_bench.metrics.segmentation import reduce_areas
from croco_bench.tables.comparison.difference import paired_difference
from croco_bench.tables.comparison.leave_one_out import pseudo_values
from croco_bench.tables.comparison.scores import SeedScores


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks" / "false_positives.py"
    spec = importlib.util.spec_from_file_location("false_positives", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["false_positives"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(("scenes", "seeds", "share"), [(12, 3, 0.5), (12, 2, 0.8), (0, 3, 0.0)])
def test_one_comparison_in_twenty_finds_what_is_not_there(
    simulation: ModuleType, scenes: int, seeds: int, share: float
) -> None:
    """2000 pairs: four standard errors are 2 %. The script's own run has 10,000 pairs and all cases."""
    case = simulation.Case(120, scenes, (seeds, seeds), share)
    found = simulation.rates(case, 2000, 250, np.random.default_rng(0))
    assert 3.0 < found["compare"] < 7.0
    if scenes:
        assert found["bootstrap"] > 7.5 and found["images"] > 15


@pytest.mark.slow
def test_methods_are_told_apart_by_their_pretrainings_and_not_by_one_file_of_each(simulation: ModuleType) -> None:
    found = simulation.method_rates(simulation.MethodCase(3, 3, 3.0), 2000, np.random.default_rng(0))
    assert 3.0 < found["methods"] < 7.0
    assert found["files"] > 25 and found["pooled"] > 10


def test_the_p_value_of_scenes_is_that_of_all_sign_flips() -> None:
    """Without a difference, each scene's difference might as well have the other sign: all 4096 ways are counted."""
    rng = np.random.default_rng(5)
    differences = rng.normal(0.35, 1, 12)
    first = SeedScores.of_values("a", differences[None], learned=False)
    second = SeedScores.of_values("b", np.zeros((1, 12)), learned=False)
    flips = np.array(list(product((-1, 1), repeat=12)))
    exact = (np.abs((flips * differences).mean(axis=1)) >= abs(differences.mean()) - 1e-12).mean()
    assert 0.02 < exact < 0.5
    assert paired_difference(first, second).p_value == pytest.approx(exact, abs=0.02)


def test_a_brute_force_bootstrap_of_miou_has_the_same_spread() -> None:
    """Images are drawn anew and areas summed anew, 1500 times; the jackknife needs one pass."""
    rng = np.random.default_rng(6)
    truth = rng.integers(20, 80, (200, 5)).astype(float)
    intersection = truth * rng.beta(6, 3, (200, 1)) * rng.uniform(0.8, 1, (200, 5))
    rows = {"intersection": intersection, "union": 1.2 * truth, "truth": truth}
    _, parts = pseudo_values(rows, np.arange(200), reduce_areas)["miou"]
    drawn = []
    for _ in range(1500):
        chosen = rng.integers(0, 200, 200)
        drawn.append(reduce_areas({key: values[chosen] for key, values in rows.items()})["miou"])
    assert parts.std(ddof=1) / np.sqrt(200) == pytest.approx(np.std(drawn), rel=0.06)
