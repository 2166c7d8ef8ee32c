"""What a run's settings differ in from the recipe that it names, in words. No torch here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from croco_bench import registry
from croco_bench.config.load import affecting_score
from croco_bench.config.recipe import Recipe, load_task_recipe, names_of
from croco_bench.records.schema import Result

# How a result lists what `--set` changed, under `protocol.deviations`.
DECLARED = "changed from the recipe: "
_SHOWN = 3
# Two ways to say one length: where one is given, the other is None.
_LENGTHS = ("train.epochs", "train.steps")
_TABLES = ("head", "task", "train", "optim", "decoder", "probe", "grid", "token_probe")
# Those that a recipe may lack.
_OPTIONAL = ("decoder", "probe", "grid", "token_probe")


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of settings as `table.key` -> plain JSON value, of all that can change a number; a head's name is `head`."""
    found: dict[str, Any] = {}
    for table in _TABLES:
        values = affecting_score({table: json.loads(json.dumps(settings.get(table) or {}))}, Recipe)[table]
        if table == "head" and "name" in values:
            found["head"] = values.pop("name")
        found |= {f"{table}.{key}": value for key, value in values.items()}
    return found


def compare(settings: Mapping[str, Any], expected: Mapping[str, Any], ignored: Iterable[str] = ()) -> dict[str, Any]:
    """`table.key` -> value of every setting that `settings` and `expected` give differently; None where one lacks it.

    Of another head only the name counts. Keys in `ignored` are left out.
    """
    mine, theirs = flat(settings), flat(expected)
    passed = set(ignored)
    if mine.get("head") != theirs.get("head"):
        passed |= {key for key in {*mine, *theirs} if key.startswith("head.")}
    keys = [key for key in dict.fromkeys([*mine, *theirs]) if key not in passed]
    return {key: mine.get(key) for key in keys if mine.get(key) != theirs.get(key)}


def is_installed(task: str) -> bool:
    """Whether some installed distribution offers the task."""
    return any(entry.name == task for entry in registry.tasks())


def has_builtin(task: str, recipe: str) -> bool:
    """Whether an installed task comes with a recipe of this name."""
    return is_installed(task) and recipe in names_of(task)


def changes_of(result: Result) -> tuple[str, ...]:
    """What differs from the built-in recipe of the same name, such as `train.steps=30`.

    Where the task has no such recipe, that the recipe is an own file; nothing where the task isn't installed.

    Runs record the differences under `settings.changed`. Older files are compared with the recipe's own lines; of settings
    that these leave out, the changes count that a file declares.
    """
    kept = {table: result.settings[table] for table in _TABLES if table in result.settings}
    text = json.dumps([kept, _declared(result), result.settings.get("changed")])
    return _changes(result.task.name, result.recipe.name, text)


@cache  # a table asks for the same settings many times
def _changes(task: str, name: str, text: str) -> tuple[str, ...]:
    """The same from JSON of the settings' tables, of declared and of recorded changes."""
    if not has_builtin(task, name):
        return (f"own {name}.toml",) if is_installed(task) else ()
    settings, declared, recorded = json.loads(text)
    expected = _expected(task, name)
    if recorded is None:
        known = flat(expected)
        recorded = {key: value for key, value in declared.items() if key not in known}
    differing = {**recorded, **_against_the_file(settings, expected)}
    own = any(not _covered(key, declared) for key in differing)
    words = [_word(key, value) for key, value in differing.items() if key not in _LENGTHS or value is not None]
    more = [f"{len(words) - _SHOWN} more settings"] if len(words) > _SHOWN else []
    return (*([f"own {name}.toml"] if own else []), *words[:_SHOWN], *more)


def recipe_label(result: Result) -> str:
    """The recipe's name, and what the run changed in it."""
    return ", ".join([result.recipe.name, *changes_of(result)])


@cache
def _expected(task: str, recipe: str) -> dict[str, Any]:
    dumped: dict[str, Any] = load_task_recipe(task, recipe).model_dump(mode="json")
    if "head" not in dumped:
        return dumped
    head = dumped["head"]
    return {**dumped, "head": {"name": head["name"], **head["options"]}}


def _against_the_file(settings: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    """Differences from the recipe as it is now, of the settings that both name.

    A recipe's file leaves options of head and task to their defaults, which only the classes know.
    """
    mine, known = flat(settings), flat(expected)
    alone = {key for key in mine.keys() ^ known.keys() if key.partition(".")[0] not in _OPTIONAL}
    missing = {key for key in known if not settings.get(key.partition(".")[0])}
    return compare(settings, expected, alone | missing)


def declared_changes(result: Result) -> list[str]:
    """What `--set` changed in a run, `KEY=VALUE` each, as the run says it."""
    return [text.removeprefix(DECLARED) for text in result.protocol.deviations if text.startswith(DECLARED)]


def _declared(result: Result) -> dict[str, Any]:
    """What the run says that `--set` changed, without what never changes a number."""
    pairs = (line.partition("=") for line in declared_changes(result))
    return {key.strip(): value.strip() for key, _, value in pairs if can_change_a_number(key.strip())}


def can_change_a_number(key: str) -> bool:
    """Whether the setting `table.key` belongs to the protocol: the number of workers or a tracker doesn't."""
    table, _, name = key.partition(".")
    return not name or name in affecting_score({table: {name: None}}, Recipe).get(table, {})


def _covered(key: str, declared: Mapping[str, Any]) -> bool:
    """Whether a difference follows from a declared change: of the key, of its table, or of the other way to say the length."""
    return any(name in declared for name in (key, key.partition(".")[0], *(_LENGTHS if key in _LENGTHS else ())))


def _word(key: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return f"{key}={text}"
