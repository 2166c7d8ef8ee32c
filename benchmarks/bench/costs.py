"""Estimated hours of a paper's whole table for one backbone: measured times of a step, a loader and an evaluation, multiplied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.bench.figures import Figure
from croco_bench import registry
from croco_bench.config.recipe import Recipe, load_task_recipe

# Items of the official training, selection and test splits, by task; of Taskonomy, those of MultiMAE's small split.
_SPLITS = {
    "nyuv2-depth": (715, 80, 654),
    "ade20k-seg": (19200, 1010, 2000),
    "imagenet-linear": (1255544, 25623, 50000),
    "sintel-flow": (30000, 179, 2 * 210),
    "stereo": (30000, 100, 15),
    "relative-pose": (234000, 1000, 17000),
    "taskonomy": (800, 200, 54514),
}
"""Pairs of flow, stereo and pose are rounded; their recipes count steps."""


@dataclass(frozen=True)
class Cost:
    """Hours of one run on one device."""

    task: str
    runs: int
    steps: int
    training: float
    evaluation: float

    @property
    def total(self) -> float:
        """Of all runs."""
        return self.runs * (self.training + self.evaluation)


def costs(figures: Iterable[Figure], precision: str) -> list[Cost]:
    """Of the recipe `paper` of every task whose step was measured, once per group times its tasks."""
    chosen = [one for one in figures if one.precision == precision and one.seconds]
    found = []
    for figure in chosen:
        task, _, recipe = figure.name.partition(" ")
        if figure.piece != "fine-tuning step" or recipe != "paper":
            continue
        card = registry.tasks()[task].card
        splits = _SPLITS.get(card.group or task)
        loaded = load_task_recipe(task, recipe)
        if splits is None or not isinstance(loaded, Recipe) or not figure.per_second:
            continue
        items, selected, tested = splits
        train = loaded.train
        unit = 1 if train.epochs is None else items // train.batch_size
        steps = (train.steps or train.epochs or 0) * unit
        scored = [one for one in chosen if one.piece == "evaluation" and one.name.startswith(figure.name)]
        each = [one.seconds / one.items for one in scored if one.seconds]
        selections = steps // (train.select_every * unit) * selected * (each[0] if each else 0.0)
        runs = sum(entry.card.group == card.group for entry in registry.tasks()) if card.group else 1
        found.append(
            Cost(
                task=card.group or task,
                runs=runs,
                steps=steps,
                training=steps * train.batch_size / figure.per_second / 3600,
                evaluation=(tested * sum(each) + selections) / 3600,
            )
        )
    return found
