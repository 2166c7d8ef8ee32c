"""Which runs may share a row, and what the others differ in, in words.

A row holds runs of one backbone (name and weights); a cell of it, runs of one settings fingerprint, one version of the
task, one dataset and one limit, each seed once. Per task, the reference is what agrees with the built-in recipe, and of
several datasets the one with the most backbones. A run that differs from the reference goes to a row that says in what.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from croco_bench.records.changes import changes_of
from croco_bench.records.schema import Result
from croco_bench.records.store import ResultFile
from croco_bench.tables.comparison.alike import Condition, condition_of, differing, each_seed_once

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Variant:
    """The runs of one row. `differences` says what sets them apart, nothing for the row that is ranked."""

    name: str
    differences: tuple[str, ...]
    classical: bool
    runs: tuple[ResultFile, ...]


@dataclass(frozen=True)
class Variants:
    """All rows of a table; `changes` are those that all learned runs have in common, for its heading."""

    rows: tuple[Variant, ...]
    changes: tuple[str, ...]
    notes: tuple[str, ...]


def variants(found: Sequence[ResultFile]) -> Variants:
    """Sorts results of one recipe, on real data or on miniatures, into rows."""
    common = _common_changes(found)
    by_task: dict[str, list[ResultFile]] = defaultdict(list)
    for file in found:
        by_task[file.result.task.name].append(file)
    weights = _main_weights(found, common)
    rows: dict[tuple[str, tuple[str, ...]], list[ResultFile]] = defaultdict(list)
    notes: list[str] = []
    for task, files in sorted(by_task.items()):
        reference = _reference(files, common)
        words = [_differences(file.result, reference, weights, common) for file in files]
        for key, same in _told_apart(files, words).items():
            runs = each_seed_once(same)
            rows[key] += runs.files
            if runs.repeated:
                notes.append(_repeated(_label(*key), task, runs.repeated))
    made = [
        Variant(name, differences, all(file.result.classical for file in files), tuple(files))
        for (name, differences), files in sorted(rows.items())
    ]
    return Variants(tuple(made), common, tuple(notes))


def _label(name: str, differences: Sequence[str]) -> str:
    return ", ".join([name, *differences])


def _common_changes(found: Iterable[ResultFile]) -> tuple[str, ...]:
    """What all runs that trained changed in the recipe; nothing if some changed nothing, or something else."""
    several = {changes_of(file.result) for file in found if not file.result.classical}
    return next(iter(several)) if len(several) == 1 else ()


def _changes(result: Result, common: tuple[str, ...]) -> tuple[str, ...]:
    found = changes_of(result)
    if result.classical:  # uses a part of the settings, so that it has a part of the changes
        return tuple(change for change in found if change not in common)
    return () if found == common else found


def _most_usual(files: Sequence[ResultFile], what: Callable[[Result], T]) -> T | None:
    """The value that most backbones have, then most runs, then the smallest; None of no files."""
    backbones: dict[T, set[str]] = defaultdict(set)
    counts: dict[T, int] = defaultdict(int)
    for file in files:
        value = what(file.result)
        backbones[value].add(file.result.model.name)
        counts[value] += 1
    order = sorted(counts, key=lambda value: (-len(backbones[value]), -counts[value], str(value)))
    return order[0] if order else None


def _reference(files: Sequence[ResultFile], common: tuple[str, ...]) -> Condition:
    """What the ranked runs of a task have in common; a setting that no run has, where none agrees with the recipe."""
    version = max(file.result.task.version for file in files)
    plain = [file for file in files if not _changes(file.result, common) and file.result.task.version == version]
    learned = [file for file in plain if not file.result.classical]
    settings = _most_usual(learned, lambda result: condition_of(result).settings)
    alike = [file for file in plain if file.result.classical or file.result.recipe.fingerprint == settings]
    whole = [file for file in alike if not file.result.limited]
    data = _most_usual(whole, _data)
    trained = [
        file for file in whole if _data(file.result) == data and condition_of(file.result).train_images is not None
    ]
    dataset, files_of_it = data or (None, None)
    return Condition(
        version=version,
        dataset=dataset,
        miniature=files[0].result.dataset.miniature,
        scored="",
        limit=None,
        files=files_of_it,
        settings=settings or "",
        train_images=_most_usual(trained, lambda result: condition_of(result).train_images),
    )


def _data(result: Result) -> tuple[tuple[str, str] | None, str | None]:
    condition = condition_of(result)
    return condition.dataset, condition.files


def _main_weights(found: Iterable[ResultFile], common: tuple[str, ...]) -> dict[str, str]:
    """For each name the weights that most of its runs have, those by the recipe first, then those that ran first."""
    runs: dict[str, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for file in found:
        runs[file.result.model.name][file.result.model.identity].append(file.result)

    def order(results: list[Result]) -> tuple[Any, ...]:
        plain = sum(not _changes(result, common) and not result.limited for result in results)
        return -plain, -len(results), min(result.started for result in results)

    return {name: min(by_weights, key=lambda one: order(by_weights[one])) for name, by_weights in runs.items()}


def _differences(
    result: Result, reference: Condition, weights: dict[str, str], common: tuple[str, ...]
) -> tuple[str, ...]:
    """What sets a run apart from those that are ranked, in words."""
    model, condition, words = result.model, condition_of(result), []
    found = set(differing(condition, reference))
    if model.identity != weights[model.name]:
        words.append(f"other weights {_short(model.identity)}")
    changes = _changes(result, common)
    if result.classical:
        words += [change for change in changes if change.startswith("task.")]  # of the rest nothing is used
    elif "settings" in found:
        words += changes or [f"settings {result.recipe.fingerprint[:6]}"]
    if "version" in found:
        words.append(f"version {result.task.version} of the task")
    if result.only_scored:
        words.append("evaluation only")
    return (*words, *_data_words(condition, reference))


def _data_words(condition: Condition, reference: Condition) -> list[str]:
    """What was scored or trained on, where it isn't what the ranked runs have."""
    if condition.part:
        return [condition.part]
    others = replace(reference, version=condition.version, settings=condition.settings)
    match differing(condition, others):
        case ["dataset"]:
            return [" ".join(condition.dataset or ())]
        case ["files"]:
            return [f"other data {str(condition.files)[:4]}…"]
        case ["train_images"]:
            return [f"trained on {condition.train_images} images"]
    return []


def _short(identity: str) -> str:
    return f"{identity[:4]}…" if len(identity) == 64 and ":" not in identity else identity


def _told_apart(
    files: Sequence[ResultFile], words: Sequence[tuple[str, ...]]
) -> dict[tuple[str, tuple[str, ...]], list[ResultFile]]:
    """Runs of one task by name and differences; where these are equal and the runs aren't, with fingerprints."""
    rows: dict[tuple[str, tuple[str, ...]], list[ResultFile]] = defaultdict(list)
    for file, differences in zip(files, words, strict=True):
        rows[file.result.model.name, differences].append(file)
    apart: dict[tuple[str, tuple[str, ...]], list[ResultFile]] = {}
    for (name, differences), same in rows.items():
        usual = _most_usual(same, _identity)
        for file in same:
            mine = _identity(file.result)
            more = (
                [] if mine == usual else [text for text, other in zip(mine, usual or (), strict=True) if text != other]
            )
            apart.setdefault((name, (*differences, *more)), []).append(file)
    return apart


def _identity(result: Result) -> tuple[str, ...]:
    """What the runs of a cell must have in common, each part in words."""
    return (f"weights {result.model.identity}", *condition_of(result).texts)


def _repeated(label: str, task: str, seeds: Sequence[int]) -> str:
    listed = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    return f"{label}, {task}: {listed} ran more than once, with other values; the newest run of a seed counts"
