"""Targets: recipes, published numbers, and settings of the command line."""

from __future__ import annotations

import json
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from croco_bench import registry
from croco_bench.backbones.networks.facts import BackboneFacts
from croco_bench.config.load import options_of
from croco_bench.config.recipe import Recipe, load_recipe
from croco_bench.pretraining import recipe as pretraining
from croco_bench.runs.request import RunRequest
from croco_bench.runs.setup import set_up
from croco_bench.tables.published import sources
from tests.fuzz.damage import DEEP
from tests.fuzz.target import Edit, Input, Target, of_text

_FAMILY, _SETTINGS = "recipes and published numbers", "settings"
# Values of `--set KEY=VALUE`, as text.
ODD_SETTINGS = [
    *("", " ", "0", "-1", "1", "2", "3", "7", "1e9", "1e400", "-1e400", "nan", "inf", "0.5", "1.0000001", "1e-300"),
    *("9" * 25, "9" * 5000, "true", "false", "none", "x", '"x"', '""', "[]", "[[]]", "[0]", "[-1]", "[1,2]", "[1,2,3]"),
    *(
        "[0.1,0.2]",
        '["x"]',
        '["x","x"]',
        "{}",
        "{x=1}",
        '{name="x"}',
        '{name=""}',
        "{a.a=1}",
        "1979-05-27",
        "../x",
        "/",
        "a" * 5000,
    ),
    *(
        "[" * DEEP,
        "\x00",
        "\x1b[31m",
        "é",
        "[" + "1," * 3000 + "]",
        "{sintel=0}",
        "{sintel=nan}",
        "4096",
        "100000",
        "1000000000",
    ),
]
_BASE = ["train.steps=1", "train.workers=0"]


def settings(data: Path) -> list[Target]:
    """Recipes and published numbers as files, and every setting of two tasks with odd values."""
    recipe = (Path(__file__).parents[2] / "tasks/recipes/nyuv2-depth/paper.toml").read_text(encoding="utf-8")
    mini = (files("croco_bench.pretraining") / "recipes" / "mini.toml").read_text(encoding="utf-8")
    published = (files("croco_bench.published") / "croco.toml").read_text(encoding="utf-8")
    found = [
        of_text("recipe.toml", _FAMILY, recipe, _recipe),
        of_text("pretraining.toml", _FAMILY, mini, lambda path: pretraining.load(str(path))),
        of_text("published.toml", _FAMILY, published, lambda path: sources([path.parent])),
    ]
    for task in ("nyuv2-depth", "imagenet-linear", "relative-pose", "sintel-flow", "ade20k-seg", "stereo"):
        found.append(Target(task, _SETTINGS, _nothing, partial(_changes, task), partial(_set_up, task, data)))
    return [*found, Target("pretrain", _SETTINGS, _nothing, _pretraining_changes, _pretraining)]


def _recipe(path: Path) -> object:
    recipe = load_recipe("nyuv2-depth", str(path))
    task_type, head_type = registry.tasks()["nyuv2-depth"].load(), registry.heads()[recipe.head.name].load()
    return [
        recipe,
        options_of(task_type.Options, recipe.task, "x"),
        options_of(head_type.Options, recipe.head.options, "x"),
    ]


def _nothing(folder: Path) -> None:
    (folder / "change.json").write_text("[]")


def keys_of(task: str) -> list[str]:
    """All settings of a task's smoke recipe, in the notation of `--set`."""
    recipe = load_recipe(task, "smoke")
    task_type, head_type = registry.tasks()[task].load(), registry.heads()[recipe.head.name].load()
    keys = [*_keys(Recipe), *(f"task.{name}" for name in task_type.Options.__dataclass_fields__)]
    keys += [f"head.{name}" for name in head_type.Options.__dataclass_fields__]
    return [*keys, *(f"backbone.{name}" for name in BackboneFacts.__dataclass_fields__)]


def _keys(kind: Any) -> list[str]:
    found = []
    for name, info in kind.model_fields.items():
        inner = [
            part
            for part in (info.annotation, *getattr(info.annotation, "__args__", ()))
            if hasattr(part, "model_fields")
        ]
        found += [f"{name}.{key}" for part in inner for key in part.model_fields] or [name]
    return found


def _changes(task: str, folder: Path) -> st.SearchStrategy[Input]:
    return _inputs(keys_of(task))


def _pretraining_changes(folder: Path) -> st.SearchStrategy[Input]:
    return _inputs(_keys(pretraining.PretrainRecipe))


def _inputs(keys: list[str]) -> st.SearchStrategy[Input]:
    one = st.tuples(st.sampled_from(keys), st.sampled_from(ODD_SETTINGS)).map("=".join)
    several = st.lists(one, min_size=1, max_size=2)
    return several.map(lambda found: Input((Edit("change.json", "write", json.dumps(found).encode()),)))


def _set_up(task: str, data: Path, folder: Path) -> object:
    """Everything of a run that comes before its first step, and the evaluations' preparation of an image."""
    changes = (*_BASE, *json.loads((folder / "change.json").read_text()))
    if task == "sintel-flow" and not any("train_on" in change for change in changes):
        changes = (*changes, "task.train_on={sintel=1}")
    recipe = load_recipe(task, "smoke", changes)
    request = RunRequest(task, "random:mini-croco", recipe, data_root=data, results=folder, changes=tuple(changes))
    setup = set_up(request, 1)
    for evaluation in setup.evaluations:
        evaluation.prepare(evaluation.reader[0])
    return [setup.fingerprint]


def _pretraining(folder: Path) -> object:
    return pretraining.load("mini", json.loads((folder / "change.json").read_text()))
