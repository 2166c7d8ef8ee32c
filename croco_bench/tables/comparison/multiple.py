"""Many tests at once: Holm's correction, and what can't be told from the best of a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from croco_bench.tables.comparison.difference import all_differences
from croco_bench.tables.comparison.scores import SeedScores

Pair = tuple[str, str]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values after Holm's step-down correction (1979), in the order given: each may be compared with the level itself.

    The chance of one or more false findings among all tests stays below the level, whatever their dependence.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


@dataclass(frozen=True)
class ColumnMarks:
    """What may be said of a column of a table.

    Attributes:
        best: the backbone with the best value.
        tied: backbones that can't be told from it, itself included; `{best}` if it is separable from all others.
        p_values: of all pairs, (first, second) in the column's order, after Holm's correction over all pairs.
    """

    best: str
    tied: frozenset[str]
    p_values: Mapping[Pair, float]


def separable_from_best(
    column: Mapping[str, SeedScores], *, higher_is_better: bool, level: float = 0.05
) -> ColumnMarks:
    """Compares all pairs of a column, of two backbones or more.

    Holm's correction is taken over all pairs, not only over those with the best: which one is best was learned from the
    same numbers, and the best of five lies further from the worst than any two chosen beforehand.
    """
    pairs = list(combinations(column, 2))
    adjusted = holm([difference.p_value for difference in all_differences(list(column.values()))])
    p_values = dict(zip(pairs, adjusted, strict=True))
    sign = 1 if higher_is_better else -1
    best = max(column, key=lambda name: sign * column[name].value)
    apart = {name for pair, p in p_values.items() if best in pair and p < level for name in pair}
    return ColumnMarks(best, frozenset(column.keys() - apart | {best}), p_values)
