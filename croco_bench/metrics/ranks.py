"""Average ranks over tasks, as in comparisons on Taskonomy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Ties = Literal["mean", "best"]


def average_ranks(
    scores: Mapping[str, Mapping[str, float]], *, higher_is_better: bool = False, ties: Ties = "mean"
) -> dict[str, float]:
    """Mean rank over tasks; 1 is best.

    Args:
        scores: method -> task -> score. Only methods with scores of all tasks are ranked.
        higher_is_better: whether rank 1 is the highest score.
        ties: ties share the mean of their ranks (1, 2.5, 2.5, 4), or the best one (1, 2, 2, 4) as in the tables of CroCo's
            paper.

    Returns:
        Method -> mean rank among the complete methods.
    """
    tasks = {task for by_task in scores.values() for task in by_task}
    complete = [method for method, by_task in scores.items() if tasks and by_task.keys() == tasks]
    sign = -1.0 if higher_is_better else 1.0
    totals = dict.fromkeys(complete, 0.0)
    for task in tasks:
        values = [sign * scores[method][task] for method in complete]
        for method, value in zip(complete, values, strict=True):
            shared = (values.count(value) - 1) / 2 if ties == "mean" else 0.0
            totals[method] += 1 + sum(other < value for other in values) + shared
    return {method: total / len(tasks) for method, total in totals.items()}
