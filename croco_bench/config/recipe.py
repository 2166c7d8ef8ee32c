"""Recipes: named, typed, frozen sets of hyper-parameters of one task, kept as TOML beside the task. No torch here."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from croco_bench.config.tables import NOT_IN_FINGERPRINT, Length, Loop, Table, keys_of, read_tables, readable
from croco_bench.errors import UsageError, unknown
from croco_bench.registry import tasks


class HeadChoice(Table):
    """Which head, and its options. In TOML the options stand beside the name."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: object) -> object:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and "options" not in value:
            return {"name": value.get("name"), "options": {key: item for key, item in value.items() if key != "name"}}
        return value


class Train(Loop):
    """How long and on what. `select_every` and `optim.warmup` count in the unit of the length."""

    select_every: Length = 1
    frozen: bool = False


class Optim(Table):
    """Optimiser (a timm name), layer-wise decay and the warm-up + cosine schedule."""

    name: str = "adamw"
    lr: Annotated[float, Field(gt=0)]
    min_lr: Annotated[float, Field(ge=0)] = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    warmup: Annotated[int, Field(ge=0)] = 0
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip_grad: Annotated[float, Field(ge=0)] = 0.0


class FreshDecoder(Table):
    """The decoder that tasks with two views give to backbones without one; default: that of CroCo's small models."""

    width: Annotated[int, Field(ge=4, multiple_of=4)] = 512
    depth: Annotated[int, Field(ge=1)] = 8
    heads: Annotated[int, Field(ge=1)] = 16


Rate = Annotated[float, Field(gt=0)]


class Probe(Table):
    """A head trained on vectors that are extracted once, from images without augmentation.

    All `rates` (for 256 images a batch) and poolings are trained together for `train.epochs`, with momentum and cosine,
    and the best on the selection split is reported. Beside it: L-BFGS logistic regression with the best of `costs` (the
    inverse of the regularisation's weight per image) and the k nearest neighbours with the best of `neighbours`.
    """

    rates: Annotated[tuple[Rate, ...], Field(min_length=1)]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    costs: tuple[Rate, ...] = (1e-3, 1e-2, 0.1, 1.0, 10.0)
    neighbours: tuple[Length, ...] = (10, 20, 100, 200)
    temperature: Rate = 0.07


class Protocol(Table):
    """What the recipe follows, and every place where it does not."""

    citation: str
    deviations: tuple[str, ...] = ()


class Recipe(Table):
    """One recipe. `task` holds the task's own options, checked against its `Options` by `options_of`."""

    task_name: str
    name: str
    summary: str
    head: HeadChoice
    task: dict[str, Any] = Field(default_factory=dict)
    train: Train
    optim: Optim
    decoder: FreshDecoder | None = None
    probe: Probe | None = None
    protocol: Protocol


# Settings that change speed or what is written, never a number: they don't enter the fingerprint.
_UNSCIENTIFIC: dict[str, set[str]] = {"train": set(NOT_IN_FINGERPRINT)}


def fingerprint(settings: Mapping[str, Any], task_options: Any) -> str:
    """Twelve hex digits over every setting that can change a headline number.

    `settings` is what `resolve` returned. A task marks options that only add numbers, or say how files lie, with
    `field(metadata={"affects_score": False})`.
    """
    marked = {item.name for item in fields(task_options) if not item.metadata.get("affects_score", True)}
    ignored = {**_UNSCIENTIFIC, "task": marked}
    kept = {
        table: {key: value for key, value in settings[table].items() if key not in ignored.get(table, ())}
        for table in ("head", "task", "train", "optim", "decoder", "probe")
        if table in settings
    }
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def resolve(recipe: Recipe, task_options: Any, head_options: Any) -> dict[str, Any]:
    """The recipe as plain JSON values, every default filled in."""
    plain = recipe.model_dump(mode="json", exclude={"task_name", "name", "summary", "protocol"})
    for optional in ("decoder", "probe"):
        if plain[optional] is None:
            del plain[optional]
    plain["task"] = _plain(task_options)
    plain["head"] = {"name": recipe.head.name, **_plain(head_options)}
    return plain


def _plain(options: Any) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    return values


def options_of(kind: type, values: Mapping[str, Any], where: str) -> Any:
    """A frozen options dataclass from a recipe's table; unknown keys and wrong types are refused."""
    names = [item.name for item in fields(kind)]
    for key in values:
        if key not in names:
            raise unknown(f"setting of {where}", key, names)
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        raise readable(error, where, names) from error


def names_of(task: str) -> list[str]:
    """The recipes that come with a task."""
    folder = _folder(task)
    return sorted(item.name[: -len(".toml")] for item in folder.iterdir() if item.name.endswith(".toml"))


def load_recipe(task: str, name: str, changes: Iterable[str] = ()) -> Recipe:
    """Recipe `name` of `task` (or a path to a .toml file), with `KEY=VALUE` changes applied.

    Raises:
        UsageError: no such recipe, unknown key, wrong type.
    """
    if name.endswith(".toml"):
        source: Traversable = Path(name)
        if not source.is_file():
            raise UsageError(
                f"no recipe file {name}", f"give a path to a .toml file or one of {', '.join(names_of(task))}"
            )
        stem = Path(name).stem
    else:
        if name not in names_of(task):
            raise unknown(f"recipe of {task}", name, names_of(task))
        source, stem = _folder(task) / f"{name}.toml", name
    tables = read_tables(source, changes)
    where = f"recipe {task}/{stem}"
    try:
        return Recipe.model_validate({**tables, "task_name": task, "name": stem})
    except ValidationError as error:
        raise readable(error, where, keys_of(Recipe)) from error


def _folder(task: str) -> Traversable:
    # Importing the package (not the task's module) keeps this free of torch.
    card = tasks()[task].card
    package, _, folder = card.recipes.partition(":")
    if not package:
        package, folder = card.target.partition(":")[0].rpartition(".")[0], f"recipes/{card.group or task}"
    return files(importlib.import_module(package)).joinpath(*folder.split("/"))
