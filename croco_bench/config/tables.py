"""Typed, frozen tables of settings: TOML files, `KEY=VALUE` changes, one sentence for what is wrong. No torch here."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from croco_bench.errors import UsageError, unknown


class Table(BaseModel):
    """A frozen table that refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


def _as_size(value: object) -> object:
    return (value, value) if isinstance(value, int) else value


Length = Annotated[int, Field(ge=1)]


class Loop(Table):
    """How long a training is, and how it runs. `epochs` and `steps` are two ways to say the length: exactly one is given.

    `batch_size` is global: over processes and accumulation.
    """

    image_size: Annotated[tuple[Length, Length], BeforeValidator(_as_size)]
    batch_size: Length
    epochs: Length | None = None
    steps: Length | None = None
    accumulate: Length = 1
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    workers: Annotated[int, Field(ge=0)] = 4
    save_seconds: Annotated[float, Field(ge=0)] = 120.0
    tracker: Literal["none", "tensorboard"] = "none"

    @model_validator(mode="after")
    def _one_length(self) -> Loop:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of train.epochs and train.steps")
        return self


# Settings of `Loop` that change speed or what is written, never a number.
NOT_IN_FINGERPRINT = ("workers", "save_seconds", "tracker")


def read_tables(source: Traversable, changes: Iterable[str]) -> dict[str, Any]:
    """A TOML file's tables with `KEY=VALUE` changes applied.

    Raises:
        UsageError: the file isn't TOML, or a change isn't `a.b=value`.
    """
    try:
        tables = tomllib.loads(source.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"recipe {source} can't be read as TOML: {error}") from error
    for change in changes:
        _apply(tables, change)
    return tables


def _apply(tables: dict[str, Any], change: str) -> None:
    """One `a.b=value`, the value parsed as TOML (so 1e-4 is a float) or taken as a word."""
    key, equals, text = change.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path) or len(path) > 2:
        raise UsageError(
            f"--set {change!r} isn't KEY=VALUE", "write for instance --set optim.lr=3e-4 or --set head=dpt"
        )
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
        raise UsageError(f"--set {change!r}: {path[0]} has no keys of its own", f"write --set {path[0]}=VALUE")
    table[path[1]] = value
    # Two spellings of one length: naming one replaces the other.
    for one, other in (("epochs", "steps"), ("steps", "epochs")):
        if path == ["train", one]:
            table.pop(other, None)


def keys_of(model: type[BaseModel]) -> list[str]:
    """Every key that a recipe may hold, as `--set` names it."""
    keys = []
    for name, field in model.model_fields.items():
        keys.append(name)
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, Table):
                keys += [f"{name}.{key}" for key in kind.model_fields]
    return keys


def readable(error: ValidationError, where: str, names: list[str]) -> UsageError:
    """What pydantic found, as one sentence."""
    parts = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            parts.append(str(unknown("key", key, names)))
        elif key and not (item["type"] == "value_error" and isinstance(item["input"], dict)):
            given = f" (given {item['input']!r})" if item["type"] != "missing" else ""
            parts.append(f"{key}: {item['msg'].lower()}{given}")
        else:
            parts.append(item["msg"].removeprefix("Value error, "))
    return UsageError(f"{where}: {'; '.join(parts)}")
