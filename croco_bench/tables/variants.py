"""Which runs may share a row, and what the others differ in, in words.

A row holds runs of one backbone (name and weights); a cell of it, runs of one settings fingerprint, one version of the
task, one dataset and one limit, each seed once. Per task, the reference is what agrees with the built-in recipe, and of
several datasets the one with the most backbones. A run that differs from the reference goes to a row that says in what.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from croco_bench.records.changes import changes_of
from croco_bench.records.schema import Result
from croco_bench.records.store import ResultFile

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


@dataclass(frozen=True)
class _Reference:
    """What the ranked runs of a task have in common; None where no run agrees with the recipe."""

    fingerprint: str | None
    version: int
    data: tuple[str, str, str] | None
    train_images: int | None


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
            kept, repeated = _each_seed_once(same)
            rows[key] += kept
            if repeated:
                notes.append(_repeated(_label(*key), task, repeated))
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


def _reference(files: Sequence[ResultFile], common: tuple[str, ...]) -> _Reference:
    version = max(file.result.task.version for file in files)
    plain = [file for file in files if not _changes(file.result, common) and file.result.task.version == version]
    learned = [file for file in plain if not file.result.classical]
    fingerprint = _most_usual(learned, lambda result: result.recipe.fingerprint)
    alike = [file for file in plain if file.result.classical or file.result.recipe.fingerprint == fingerprint]
    whole = [file for file in alike if not file.result.limited]
    data = _most_usual(whole, _data)
    trained = [file for file in whole if _data(file.result) == data and _train_images(file.result) is not None]
    return _Reference(fingerprint, version, data, _most_usual(trained, _train_images))


def _data(result: Result) -> tuple[str, str, str]:
    return result.dataset.name, result.dataset.split, result.dataset.fingerprint


def _train_images(result: Result) -> int | None:
    count: int | None = result.settings.get("resolved", {}).get("train", {}).get("train_images")
    return count


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
    result: Result, reference: _Reference, weights: dict[str, str], common: tuple[str, ...]
) -> tuple[str, ...]:
    """What sets a run apart from those that are ranked, in words."""
    model, words = result.model, []
    if model.identity != weights[model.name]:
        words.append(f"other weights {_short(model.identity)}")
    changes = _changes(result, common)
    if result.classical:
        words += [change for change in changes if change.startswith("task.")]  # of the rest nothing is used
    elif result.recipe.fingerprint != reference.fingerprint:
        words += changes or [f"settings {result.recipe.fingerprint[:6]}"]
    if result.task.version != reference.version:
        words.append(f"version {result.task.version} of the task")
    if result.only_scored:
        words.append("evaluation only")
    if result.limited:
        words.append(_part(result))
    elif reference.data is not None and _data(result) != reference.data:
        words.append(_other_data(result, reference.data))
    elif None not in (count := _train_images(result), reference.train_images) and count != reference.train_images:
        words.append(f"trained on {count} images")
    return tuple(words)


def _short(identity: str) -> str:
    return f"{identity[:4]}…" if len(identity) == 64 and ":" not in identity else identity


def _part(result: Result) -> str:
    data = result.dataset
    if data.images < data.images_available:
        return f"{data.images} of {data.images_available}"
    return f"at most {result.settings['limit']} images a split"


def _other_data(result: Result, usual: tuple[str, str, str]) -> str:
    name, split, fingerprint = _data(result)
    return f"other data {fingerprint[:4]}…" if (name, split) == usual[:2] else f"{name} {split}"


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
    data = result.dataset
    return (
        f"weights {result.model.identity}",
        "" if result.classical else f"settings {result.recipe.fingerprint}",
        f"data {data.name} {data.split} {data.fingerprint}",
        _part(result) if result.limited else "",
        f"trained on {_train_images(result)} images",
    )


def _each_seed_once(files: Sequence[ResultFile]) -> tuple[list[ResultFile], list[int]]:
    """One run per seed, the newest, in the order of the seeds; and the seeds that were run again with other values."""
    by_seed: dict[int, list[ResultFile]] = defaultdict(list)
    for file in files:
        by_seed[file.result.seed].append(file)
    kept = [
        max(same, key=lambda file: (file.result.finished, str(file.paths.json))) for _, same in sorted(by_seed.items())
    ]
    again = [
        seed for seed, same in sorted(by_seed.items()) if any(f.result.metrics != same[0].result.metrics for f in same)
    ]
    return kept, again


def _repeated(label: str, task: str, seeds: Sequence[int]) -> str:
    listed = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    return f"{label}, {task}: {listed} ran more than once, with other values; the newest run of a seed counts"
