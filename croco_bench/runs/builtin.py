"""The built-in recipe of the same name beside the one that runs: what a result records as changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from croco_bench import registry
from croco_bench.config.load import options_of
from croco_bench.config.recipe import Recipe, load_task_recipe, resolve
from croco_bench.records.changes import compare, has_builtin


def changed_settings(task: str, recipe: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """`table.key` -> value of every setting that can change a number and isn't the built-in recipe's.

    Args:
        task: an installed task.
        recipe: the recipe's name.
        settings: the resolved recipe of the run.

    Returns:
        None where the task comes with no recipe of this name.
    """
    if not has_builtin(task, recipe):
        return None
    builtin = load_task_recipe(task, recipe)
    task_type = registry.tasks()[task].load()
    task_options = options_of(task_type.Options, builtin.task, f"[task] of {task}")
    head_options = None
    if isinstance(builtin, Recipe):
        head_type = registry.heads()[builtin.head.name].load()
        head_options = options_of(head_type.Options, builtin.head.options, f"[head] of {builtin.head.name}")
    unscored = {f"task.{item.name}" for item in fields(task_options) if not item.metadata.get("affects_score", True)}
    return compare(settings, resolve(builtin, task_options, head_options), unscored)
