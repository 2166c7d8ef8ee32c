"""Fingerprints of every built-in recipe: results and saved states of earlier versions stay comparable."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from croco_bench import registry
from croco_bench.config import recipe as recipes
from croco_bench.config.load import options_of
from croco_bench.pretraining import recipe as pretraining
from croco_bench.pretraining.build import options_for

KNOWN = json.loads((Path(__file__).parent / "fingerprints.json").read_text(encoding="utf-8"))


def fingerprints_of(task: str) -> dict[str, str]:
    fingerprints = {}
    task_type: Any = registry.tasks()[task].load()
    for name in recipes.names_of(task):
        recipe = recipes.load_task_recipe(task, name)
        options = options_of(task_type.Options, recipe.task, task)
        head_options = None
        if isinstance(recipe, recipes.Recipe):
            head_type: Any = registry.heads()[recipe.head.name].load()
            head_options = options_of(head_type.Options, recipe.head.options, recipe.head.name)
        fingerprints[name] = recipes.fingerprint(recipes.resolve(recipe, options, head_options), options)
    return fingerprints


@pytest.mark.parametrize("task", [entry.name for entry in registry.tasks()])
def test_fingerprints_of_a_task(task: str) -> None:
    assert fingerprints_of(task) == KNOWN["tasks"][task]


@pytest.mark.parametrize("objective", ["croco", "mae", "multimae"])
def test_fingerprints_of_pretraining(objective: str) -> None:
    fingerprints = {}
    for name in pretraining.names():
        recipe = pretraining.load(name, [f"objective={objective}"])
        fingerprints[name] = pretraining.fingerprint(pretraining.settings_of(recipe, asdict(options_for(recipe))))
    assert fingerprints == KNOWN["pretraining"][objective]
