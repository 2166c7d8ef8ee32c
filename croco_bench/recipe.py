"""Recipes: named, typed, frozen sets of hyper-parameters of one task, kept as TOML beside the task. No torch here."""

from __future__ import annotations

import hashlib
import importlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from croco_bench.errors import UsageError, unknown
from croco_bench.registry import tasks


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


def _as_size(value: object) -> object:
    return (value, value) if isinstance(value, int) else value


Length = Annotated[int, Field(ge=1)]


class HeadChoice(_Table):
    """Which head, and its options. In TOML the options stand beside the name."""

    name: str
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: object) -> object:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and "options" not in value:
            return {"name": value.get("name"), "options": {key: item for key, item in value.items() if key != "name"}}
        return value


class Train(_Table):
    """How long and on what. `epochs` and `steps` are two ways to say the length: exactly one is given.

    `select_every` and `optim.warmup` count in the same unit. `batch_size` is global: over processes and accumulation.
    """

    image_size: Annotated[tuple[Length, Length], BeforeValidator(_as_size)]
    batch_size: Length
    epochs: Length | None = None
    steps: Length | None = None
    accumulate: Length = 1
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    select_every: Length = 1
    frozen: bool = False
    workers: Annotated[int, Field(ge=0)] = 4
    save_seconds: Annotated[float, Field(ge=0)] = 120.0
    tracker: Literal["none", "tensorboard"] = "none"

    @model_validator(mode="after")
    def _one_length(self) -> Train:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of train.epochs and train.steps")
        return self


class Optim(_Table):
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


class Protocol(_Table):
    """What the recipe follows, and every place where it does not."""

    citation: str
    deviations: tuple[str, ...] = ()


class Recipe(_Table):
    """One recipe. `task` holds the task's own options, checked against its `Options` by `options_of`."""

    task_name: str
    name: str
    summary: str
    head: HeadChoice
    task: dict[str, Any] = {}
    train: Train
    optim: Optim
    protocol: Protocol


# Settings that change speed or what is written, never a number: they don't enter the fingerprint.
_UNSCIENTIFIC: dict[str, set[str]] = {"train": {"workers", "save_seconds", "tracker"}}


def fingerprint(settings: Mapping[str, Any], task_options: Any) -> str:
    """Twelve hex digits over every setting that can change a headline number.

    `settings` is what `resolve` returned. A task marks options that only add numbers, or say how files lie, with
    `field(metadata={"scientific": False})`.
    """
    marked = {item.name for item in fields(task_options) if not item.metadata.get("scientific", True)}
    ignored = {**_UNSCIENTIFIC, "task": marked}
    kept = {
        table: {key: value for key, value in settings[table].items() if key not in ignored.get(table, ())}
        for table in ("head", "task", "train", "optim")
    }
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def resolve(recipe: Recipe, task_options: Any, head_options: Any) -> dict[str, Any]:
    """The recipe as plain JSON values, every default filled in."""
    plain = recipe.model_dump(mode="json", exclude={"task_name", "name", "summary", "protocol"})
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
        raise _readable(error, where, names) from error


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
                f"no recipe file {name}; give a path to a .toml file or one of {', '.join(names_of(task))}"
            )
        stem = Path(name).stem
    else:
        if name not in names_of(task):
            raise unknown(f"recipe of {task}", name, names_of(task))
        source, stem = _folder(task) / f"{name}.toml", name
    try:
        tables = tomllib.loads(source.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"recipe {source} can't be read as TOML: {error}") from error
    for change in changes:
        _apply(tables, change)
    where = f"recipe {task}/{stem}"
    try:
        return Recipe.model_validate({**tables, "task_name": task, "name": stem})
    except ValidationError as error:
        raise _readable(error, where, _all_keys()) from error


def _folder(task: str) -> Traversable:
    # Recipes lie beside the task's module; importing the package (not the module) keeps this free of torch.
    package = tasks()[task].card.target.partition(":")[0].rpartition(".")[0]
    return files(importlib.import_module(package)) / "recipes" / task


def _apply(tables: dict[str, Any], change: str) -> None:
    """One `a.b=value`, the value parsed as TOML (so 1e-4 is a float) or taken as a word."""
    key, equals, text = change.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path) or len(path) > 2:
        raise UsageError(f"--set {change!r} isn't KEY=VALUE; write for instance --set optim.lr=3e-4 or --set head=dpt")
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    if len(path) == 1:
        tables[path[0]] = value
        return
    table = tables.setdefault(path[0], {})
    if isinstance(table, str):  # head given by its name alone
        table = tables[path[0]] = {"name": table}
    if not isinstance(table, dict):
        raise UsageError(f"--set {change!r}: {path[0]} has no keys of its own; write --set {path[0]}=VALUE")
    table[path[1]] = value
    # Two spellings of one length: naming one replaces the other.
    for one, other in (("epochs", "steps"), ("steps", "epochs")):
        if path == ["train", one]:
            table.pop(other, None)


def _all_keys() -> list[str]:
    keys = list(Recipe.model_fields)
    for table, model in (("train", Train), ("optim", Optim), ("protocol", Protocol)):
        keys += [f"{table}.{key}" for key in model.model_fields]
    return keys


def _readable(error: ValidationError, where: str, names: list[str]) -> UsageError:
    parts = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            parts.append(str(unknown("key", key, names)))
        elif key:
            given = f" (given {item['input']!r})" if item["type"] != "missing" else ""
            parts.append(f"{key}: {item['msg'].lower()}{given}")
        else:
            parts.append(item["msg"].removeprefix("Value error, "))
    return UsageError(f"{where}: {'; '.join(parts)}")
