"""From TOML files and `KEY=VALUE` changes to checked recipes, and from recipes to fingerprints. No torch here.

Fine-tuning and pre-training read their recipes by the same steps: `RecipeFolder.read` gives a `Draft`, whose tables are
changed by text (`with_sets`) or by values (`with_changes`); `Draft.check` makes the frozen recipe.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from croco_bench.config.tables import AUTO, NOT_IN_FINGERPRINT, NamedRecipe, Table
from croco_bench.errors import UsageError, unknown
from croco_bench.files import fingerprint, parse_toml

R = TypeVar("R", bound=NamedRecipe)

# Setting one length of a training removes the other.
_OTHER_LENGTH = {"train.epochs": "steps", "train.steps": "epochs"}


def names_in(folder: Traversable) -> list[str]:
    """Names of the recipes in a folder, sorted."""
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


@dataclass(frozen=True)
class RecipeFolder(Generic[R]):
    """The built-in recipes of one kind: TOML files of one folder. Other files are read by their path.

    Attributes:
        kind: the model of a recipe.
        owner: name of the kind in error messages.
        folder: of the built-in recipes.
        fixed: fields that no file holds.
    """

    kind: type[R]
    owner: str
    folder: Traversable
    fixed: Mapping[str, str] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Names of the built-in recipes, sorted."""
        return names_in(self.folder)

    def read(self, name: str) -> Draft[R]:
        """The draft of a built-in recipe, or of a path to a .toml file.

        Raises:
            UsageError: there is no such recipe, or the file isn't TOML.
        """
        source: Traversable = Path(name) if name.endswith(".toml") else self.folder / f"{name}.toml"
        if not source.is_file():
            if name.endswith(".toml"):
                known = ", ".join(self.names())
                raise UsageError(f"no recipe file {name}", f"give a path to a .toml file or one of {known}")
            raise unknown(f"recipe of {self.owner}", name, self.names())
        try:
            tables = parse_toml(source.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"recipe {source} can't be read as TOML: {error}") from error
        return Draft(self.kind, self.owner, tables, {**self.fixed, "name": Path(name).stem})

    def load(self, name: str, changes: Iterable[str] = ()) -> R:
        """A built-in recipe, or a path to a .toml file, with `KEY=VALUE` changes applied.

        Raises:
            UsageError: no such recipe, unknown key, wrong type.
        """
        return self.read(name).with_sets(changes).check()


@dataclass(frozen=True)
class Draft(Generic[R]):
    """Tables of a recipe before they are checked. `fixed` fields replace those of the tables."""

    kind: type[R]
    owner: str
    tables: Mapping[str, Any]
    fixed: Mapping[str, str]

    def with_sets(self, changes: Iterable[str]) -> Draft[R]:
        """Applies `KEY=VALUE` texts in order, as `--set` takes them.

        Raises:
            UsageError: a text isn't `a=value` or `a.b=value`, or `a` has no keys.
        """
        return self._changed([parse_set(change) for change in changes])

    def with_changes(self, values: Mapping[str, Any]) -> Draft[R]:
        """Replaces settings, for instance `{"data.pairs": ["rooms"], "objective": "mae"}`.

        Raises:
            UsageError: a setting of `a.b` is given, but `a` has no keys.
        """
        return self._changed(values.items())

    def _changed(self, values: Iterable[tuple[str, Any]]) -> Draft[R]:
        tables = copy.deepcopy(dict(self.tables))
        for key, value in values:
            self._put(tables, key, value)
        return replace(self, tables=tables)

    def _put(self, tables: dict[str, Any], key: str, value: object) -> None:
        first, _, second = key.partition(".")
        if not second:
            tables[first] = value
            return
        table = tables.setdefault(first, {})
        if isinstance(table, str) and _table_type(self.kind, first):  # head = "dpt": the name alone
            table = tables[first] = {"name": table}
        if not isinstance(table, dict):
            raise UsageError(f"{key} can't be set: {first} has no keys of its own", f"write --set {first}=VALUE")
        if key == "train.image_size":
            table["nearest_size"] = value == AUTO
            if value == AUTO and second in table:  # the size that is given stays the one to be near to
                return
        table[second] = value
        table.pop(_OTHER_LENGTH.get(key, ""), None)

    def check(self) -> R:
        """The recipe.

        Raises:
            UsageError: unknown or missing key, wrong type, value out of range.
        """
        try:
            return self.kind.model_validate({**self.tables, **self.fixed})
        except ValidationError as error:
            raise _readable(error, f"recipe {self.owner}/{self.fixed['name']}", _keys_of(self.kind)) from error


def parse_set(change: str) -> tuple[str, Any]:
    """`a.b=value` -> key and value; the value is TOML (1e-4 is a float) or, where it isn't, a word.

    Raises:
        UsageError: the text doesn't have this form.
    """
    key, equals, text = change.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path) or len(path) > 2:
        raise UsageError(
            f"--set {change!r} isn't KEY=VALUE", "write for instance --set optim.lr=3e-4 or --set head=dpt"
        )
    try:
        return key.strip(), parse_toml(f"value = {text}")["value"]
    except ValueError:
        return key.strip(), text.strip()


def options_of(kind: type, values: Mapping[str, Any], where: str) -> Any:
    """A frozen dataclass of options from a recipe's table.

    Raises:
        UsageError: unknown key, wrong type, value out of the range in its annotation.
    """
    names = [item.name for item in fields(kind)]
    for key in values:
        if key not in names:
            raise unknown(f"setting of {where}", key, names)
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        raise _readable(error, where, names) from error


def affecting_score(settings: Mapping[str, Any], kind: type[Table]) -> dict[str, Any]:
    """A copy of `settings`, plain values of a `kind`, without those marked `NOT_IN_FINGERPRINT`."""
    kept = {}
    for key, value in settings.items():
        info = kind.model_fields.get(key)  # None: an option of a head
        if info is None or NOT_IN_FINGERPRINT not in info.metadata:
            table = _table_type(kind, key)
            kept[key] = affecting_score(value, table) if table else value
    return kept


def digest(settings: Mapping[str, Any], separators: tuple[str, str]) -> str:
    """Twelve hexadecimal digits over plain settings, whatever the order of their keys; `separators` are the JSON text's."""
    return fingerprint(json.dumps(settings, sort_keys=True, separators=separators), length=12)


def _table_type(kind: type[Table], key: str) -> type[Table] | None:
    """The type of a field that holds a table, None of any other field."""
    info = kind.model_fields.get(key)
    annotation = info.annotation if info else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, Table) else None


def _keys_of(kind: type[BaseModel]) -> list[str]:
    """All keys of a recipe, in the notation of `--set`."""
    keys = []
    for name, info in kind.model_fields.items():
        keys.append(name)
        for part in (info.annotation, *get_args(info.annotation)):
            if isinstance(part, type) and issubclass(part, Table):
                keys += [f"{name}.{key}" for key in part.model_fields]
    return keys


def _readable(error: ValidationError, where: str, names: list[str]) -> UsageError:
    """Pydantic's findings as one sentence."""
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
