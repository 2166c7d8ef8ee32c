"""Groups of tasks that share one column: the mean rank of each backbone over the group's tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from croco_bench import registry
from croco_bench.metrics import Metric
from croco_bench.metrics.ranks import Ties, average_ranks

# Two decimals, halves to even. Eighths, and the sixteenths that ties make, are exact in binary, so that Python's
# formatting rounds them so.
MEAN_RANK = Metric("mean_rank", "mean rank", "", "lower", "image", 2, "mean over tasks of the rank among backbones")
_TIES = {"mean": "equal values share the mean of their ranks", "best": "equal values share the best of their ranks"}


@dataclass(frozen=True)
class Group:
    """Tasks announced under one group name, and their headline metrics in the same order."""

    name: str
    tasks: tuple[str, ...]
    metrics: tuple[Metric, ...]


def groups() -> list[Group]:
    """Of all installed tasks; the first headline metric of each counts."""
    members: dict[str, list[tuple[str, Metric]]] = {}
    for entry in registry.tasks():
        if entry.card.group:
            members.setdefault(entry.card.group, []).append((entry.name, entry.card.headline[0]))
    return [
        Group(name, tuple(task for task, _ in found), tuple(metric for _, metric in found))
        for name, found in members.items()
    ]


def mean_ranks(
    group: Group, values: dict[str, dict[str, float]], ties: Ties = "mean"
) -> tuple[dict[str, float], list[str]]:
    """Mean ranks of the backbones that have every task of the group, and what a reader must know about them.

    Args:
        group: the tasks.
        values: backbone -> task -> its headline number, the mean over seeds in full precision.
        ties: how equal values are ranked.
    """
    signs = {
        task: -1 if metric.higher_is_better else 1 for task, metric in zip(group.tasks, group.metrics, strict=True)
    }
    complete = {
        name: {task: signs[task] * value for task, value in row.items()}
        for name, row in values.items()
        if len(row) == len(group.tasks)
    }
    ranks = average_ranks(complete, ties=ties) if len(complete) > 1 else {}
    notes = []
    if len(complete) == 1:
        notes.append(f"{group.name}: no ranks, since only {_listed(list(complete))} has all {len(group.tasks)} tasks")
    if ranks:
        notes.append(
            f"{group.name}: ranks over {len(group.tasks)} tasks, among {_listed(sorted(complete))}; {_TIES[ties]}"
        )
    partial = [
        f"{name} ({len(row)} of {len(group.tasks)})" for name, row in sorted(values.items()) if name not in complete
    ]
    if partial:
        notes.append(f"{group.name}: not ranked, for want of tasks: {_listed(partial)}")
    return ranks, notes


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
