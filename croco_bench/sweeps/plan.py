"""The plan of a sweep: backbones x tasks x recipes x seeds, from a TOML file or from options. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, ValidationError

from croco_bench import registry
from croco_bench.backbones import zoo
from croco_bench.backbones.locate import parse_source
from croco_bench.config.recipe import load_task_recipe, names_of
from croco_bench.config.tables import Table
from croco_bench.errors import UsageError, unknown
from croco_bench.files import parse_toml
from croco_bench.records.selection import chosen, matches
from croco_bench.records.store import check_name
from croco_bench.sweeps.cells import Cell

_NAMED = re.compile(r"([\w.+-]+)=(.+)")
_MOST_SEEDS = 1000
_MOST_CELLS = 100_000


def _seeds(value: object) -> object:
    """5 -> 0 to 4; "0-4,7" -> 0 to 4 and 7; lists stay."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"0-{value - 1}" if value > 0 else ""
    if not isinstance(value, str):
        return value
    found: list[int] = []
    for part in value.split(","):
        numbers = re.fullmatch(r"\s*(\d{1,9})(?:\s*-\s*(\d{1,9}))?\s*", part)
        if numbers is None:
            raise ValueError("should be a number of seeds, a list, or a text such as 0-4,7")
        first = int(numbers[1])
        last = int(numbers[2] or first)
        if not first <= last < first + _MOST_SEEDS:
            raise ValueError(f"{part} should go up, by less than {_MOST_SEEDS}")
        found += range(first, last + 1)
    return found


def _words(value: object) -> object:
    """A single word stands for a list of it."""
    return [value] if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Seeds = Annotated[tuple[NonNegativeInt, ...], BeforeValidator(_seeds), Field(min_length=1, max_length=_MOST_SEEDS)]


def _named(value: object) -> object:
    """A list of checkpoints, each `NAME=CKPT` or `CKPT`, as a table of names."""
    return named_checkpoints(value) if isinstance(value, list | tuple | str) else value


class Block(Table):
    """All combinations of backbones, tasks, recipes and seeds.

    Attributes:
        backbones: name in the results -> checkpoint.
        tasks: names, groups, or globs.
        recipes: names, or paths to TOML files. A task without a recipe of this name is left out.
        seeds: a number of them (from 0), a list, or a text such as "0-4,7".
        exclude: globs of RECIPE/TASK/BACKBONE that are left out.
        set: changes of settings, as `--set` takes them.
        limit: most images of each split.
    """

    backbones: Annotated[dict[str, str], BeforeValidator(_named), Field(min_length=1)]
    tasks: Annotated[Words, Field(min_length=1)]
    recipes: Annotated[Words, Field(min_length=1)] = ("paper",)
    seeds: Seeds = (0,)
    exclude: Words = ()
    set: Words = ()
    limit: PositiveInt | None = None

    def cells(self) -> Iterator[tuple[str, Cell]]:
        """(RECIPE/TASK/BACKBONE, cell) of all combinations, seeds outermost: the first rows of a table come early."""
        tasks = _tasks(self.tasks)
        pairs = [(recipe, task) for recipe in self.recipes for task in tasks if _has_recipe(task, recipe)]
        for recipe in self.recipes:
            if not any(one == recipe for one, _ in pairs):
                raise unknown(
                    f"recipe of {', '.join(tasks)}", recipe, {name for task in tasks for name in names_of(task)}
                )
        for seed, (recipe, task), (name, ckpt) in product(self.seeds, pairs, self.backbones.items()):
            cell = Cell(task, recipe, name, ckpt, seed, self.set, self.limit)
            yield f"{cell.recipe_name}/{task}/{name}", cell


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep.

    Attributes:
        cells: in the order in which they are started.
        data_root: where the plan says they read.
        results: where it says they write.
        expected_s: (recipe, task) -> seconds of a run on some machine, for the time left before runs have a record.
    """

    cells: tuple[Cell, ...]
    data_root: Path | None = None
    results: Path | None = None
    expected_s: Mapping[tuple[str, str], float] = field(default_factory=dict)


def read_plan(path: Path, changes: Mapping[str, Any]) -> Plan:
    """The plan of a TOML file.

    Its tables `[[block]]` are blocks; what stands above them holds for all. A file without `[[block]]` is one block.

    Args:
        path: of the file.
        changes: keys of blocks that replace the file's, in all blocks.

    Raises:
        UsageError: it can't be read, or holds an unknown key, name or value.
    """
    try:
        content = parse_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"the plan {path} can't be read ({error.strerror})", "give a .toml file, or the word status"
        ) from error
    except ValueError as error:
        raise UsageError(
            f"the plan {path} can't be read as TOML: {error}", "give a .toml file; docs/sweep.md has an example"
        ) from error
    folders = {key: content.pop(key) for key in ("data_root", "results") if key in content}
    for key, value in folders.items():
        if not isinstance(value, str) or not value:
            raise UsageError(f"{path}: {key} should be a text", "give a folder")
    blocks = content.pop("block", [{}])
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise UsageError(f"{path}: block should be tables", "write [[block]] above each")
    merged = [{**content, **block, **changes} for block in blocks]
    paths = {key: Path(value).expanduser() for key, value in folders.items()}
    cells = _cells([_block(values, str(path)) for values in merged])
    return Plan(cells, paths.get("data_root"), paths.get("results"))


def plan_of(values: Mapping[str, Any]) -> Plan:
    """The plan of one block, whose keys come from options.

    Raises:
        UsageError: a name or value is wrong.
    """
    return Plan(_cells([_block(values, "the sweep")]))


def _block(values: Mapping[str, Any], where: str) -> Block:
    try:
        return Block.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unknown(f"key of {where}", key, [*Block.model_fields, "data_root", "results", "block"]) from error
        said = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{where}: {key}: {said}", "docs/sweep.md has an example") from error


def _cells(blocks: Iterable[Block]) -> tuple[Cell, ...]:
    """The cells of all blocks, each once, without excluded ones.

    Raises:
        UsageError: two blocks give one result different settings, an exclusion matches nothing, or nothing is left.
    """
    found: dict[str, Cell] = {}
    for block in blocks:
        unused = set(block.exclude)
        for kind, cell in block.cells():
            hits = {glob for glob in block.exclude if matches(kind, glob)}
            unused -= hits
            if not hits and found.setdefault(cell.place, cell) != cell:
                raise UsageError(f"two blocks give {cell.label} different settings", "give one of them another name")
            if len(found) > _MOST_CELLS:
                raise UsageError(f"the plan has more than {_MOST_CELLS} runs", "split it")
        if unused:
            raise UsageError(f"{min(unused)} excludes nothing", "globs of exclude are RECIPE/TASK/BACKBONE")
    if not found:
        raise UsageError("the plan has no runs", "exclude less")
    for cell in found.values():
        check_name(cell.name, "name of a backbone")
    for recipe in {(cell.task, cell.recipe, cell.changes) for cell in found.values()}:
        load_task_recipe(*recipe)  # a wrong setting is told before anything is started
    return tuple(sorted(found.values(), key=lambda cell: cell.seed))


def named_checkpoints(given: str | Sequence[object]) -> dict[str, str]:
    """`NAME=CKPT`, or `CKPT` with the name that a run would give it, or a glob of packaged and released names.

    Raises:
        UsageError: a glob stands for nothing, or two checkpoints have one name.
    """
    found: dict[str, str] = {}
    for word in [given] if isinstance(given, str) else given:
        for name, ckpt in _checkpoints(str(word)):
            if found.setdefault(name, ckpt) != ckpt:
                raise UsageError(f"{found[name]} and {ckpt} are both called {name}", f"write --ckpt OTHER={ckpt}")
    return found


def _checkpoints(word: str) -> list[tuple[str, str]]:
    named = _NAMED.fullmatch(word)
    if named and not Path(word).exists():
        return [(named[1], named[2])]
    names = [entry.name for entry in zoo.ENTRIES]
    if "*" in word and not Path(word).exists():
        if not (hits := chosen(names, [word])):
            raise unknown("backbone", word, names)
        return [(name, name) for name in hits]
    if word in names:
        return [(word, word)]
    kind, colon, method = word.partition(":")
    return [(method if colon and kind == "classical" else parse_source(word).default_name, word)]


def _tasks(globs: Sequence[str]) -> list[str]:
    """Tasks of names, groups and globs."""
    groups = {entry.name: entry.card.group for entry in registry.tasks()}
    found: list[str] = []
    for glob in globs:
        hits = [task for task, group in groups.items() if matches(task, glob) or (group and matches(group, glob))]
        if not hits:
            raise unknown("task", glob, {*groups, *groups.values()} - {""})
        found += hits
    return list(dict.fromkeys(found))


def _has_recipe(task: str, recipe: str) -> bool:
    return recipe.endswith(".toml") or recipe in names_of(task)
