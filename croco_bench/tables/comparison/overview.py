"""Several backbones over several tasks: mean ranks, and which of them differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from croco_bench.tables.comparison.ranks import RankInterval, RankTest, mean_rank_intervals, rank_test
from croco_bench.tables.comparison.scores import SeedScores


@dataclass(frozen=True)
class Overview:
    """Mean ranks of backbones over tasks, best first, with the intervals of images and seeds, and the tests over tasks."""

    tasks: tuple[str, ...]
    intervals: Mapping[str, RankInterval]
    test: RankTest


def overview(tasks: Mapping[str, Mapping[str, SeedScores]], higher_is_better: Mapping[str, bool]) -> Overview:
    """The overview of three backbones or more over two tasks or more.

    Args:
        tasks: task -> backbone -> scores; the same backbones in each.
        higher_is_better: task -> direction of its metric.
    """
    directions = [higher_is_better[task] for task in tasks]
    intervals = mean_rank_intervals(list(tasks.values()), directions)
    test = rank_test([{name: scores.value for name, scores in row.items()} for row in tasks.values()], directions)
    return Overview(tuple(tasks), {name: intervals[name] for name in test.mean_ranks}, test)


def sentences(found: Overview) -> list[str]:
    """What the overview says beside the ranks themselves."""
    test = found.test
    apart = [f"{one} and {two}" for (one, two), p in test.pairs.items() if p < 0.05]
    cliques = "; ".join(", ".join(clique) for clique in test.cliques)
    return [
        "intervals: bootstrap over images and seeds, on these tasks",
        f"Friedman's test over {len(found.tasks)} tasks: chi-square {test.statistic:.2f}, p {_p(test.p_value)}",
        f"critical difference of two mean ranks (Nemenyi, 5 %): {test.critical_difference:.2f}; not told apart by it: "
        f"{cliques or 'none'}",
        f"Wilcoxon's signed-rank test with Holm's correction, 5 %: {_listed(apart)} over these tasks",
    ]


def _listed(pairs: Sequence[str]) -> str:
    return f"{'; '.join(pairs)} differ" if pairs else "no two differ"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"
