"""Mean ranks: ties, gaps, CroCo's paper, and SciPy's ranks of the same numbers."""

from typing import Literal

import numpy as np
import pytest
from scipy.stats import rankdata

from croco_bench.metrics.ranks import Ties, average_ranks
from croco_bench.tables.groups import MEAN_RANK, Group, groups, mean_ranks


def test_average_ranks_share_ties_and_need_complete_rows() -> None:
    assert average_ranks({"x": {"t": 1.0, "u": 2.0}, "y": {"t": 1.0, "u": 1.0}, "z": {"t": 0.5}}) == {
        "x": 1.75,
        "y": 1.25,
    }
    assert average_ranks({"x": {"t": 9.0}, "y": {"t": 1.0}}, higher_is_better=True) == {"x": 1.0, "y": 2.0}
    assert average_ranks({}) == {}


def test_average_ranks_of_three_methods() -> None:
    """Ranks over eight tasks that sum to 10, 21 and 17 give 1.25, 2.625 and 2.125."""
    places = {"croco": (1, 1, 1, 1, 1, 1, 2, 2), "mae": (3, 3, 3, 3, 3, 2, 3, 1), "multimae": (2, 2, 2, 2, 2, 3, 1, 3)}
    scores = {name: {f"task{i}": float(place) for i, place in enumerate(ranks)} for name, ranks in places.items()}
    assert average_ranks(scores) == {"croco": 1.25, "mae": 2.625, "multimae": 2.125}


@pytest.mark.parametrize("higher", [False, True])
@pytest.mark.parametrize(("ties", "method"), [("mean", "average"), ("best", "min")])
def test_average_ranks_agree_with_scipy(higher: bool, ties: Ties, method: Literal["average", "min"]) -> None:
    scores = np.random.default_rng(0).integers(0, 4, (6, 8)).astype(float)  # few values: many ties
    expected = rankdata(-scores if higher else scores, method=method, axis=0).mean(axis=1)
    found = average_ranks(
        {str(name): {str(task): float(value) for task, value in enumerate(row)} for name, row in enumerate(scores)},
        higher_is_better=higher,
        ties=ties,
    )
    assert list(found.values()) == pytest.approx(expected)


def test_ranks_are_shown_with_halves_to_even() -> None:
    assert [f"{total / 8:.{MEAN_RANK.digits}f}" for total in (10, 21, 17)] == ["1.25", "2.62", "2.12"]


def test_a_group_may_hold_metrics_of_both_directions() -> None:
    from croco_bench.metrics.definitions import DELTA1, L1

    group = Group("both", ("t", "u"), (L1, DELTA1))
    values = {"x": {"t": 0.1, "u": 90.0}, "y": {"t": 0.2, "u": 80.0}, "z": {"u": 99.0}}
    ranks, notes = mean_ranks(group, values)
    assert ranks == {"x": 1.0, "y": 2.0}
    assert notes == [
        "both: ranks over 2 tasks, among x, y; equal values share the mean of their ranks",
        "both: not ranked, for want of tasks: z (1 of 2)",
    ]


def test_taskonomy_is_a_group_of_eight() -> None:
    assert [(group.name, len(group.tasks)) for group in groups()] == [("taskonomy", 8)]
