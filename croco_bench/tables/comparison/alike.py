"""What runs must have in common to share a cell of a table, or to be compared; in words, what they differ in."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from croco_bench.errors import RecordError
from croco_bench.records.changes import compare as compare_settings
from croco_bench.records.schema import Result
from croco_bench.records.store import ResultFile

Aspect = Literal["version", "dataset", "miniature", "part", "files", "settings", "train_images"]
_SHOWN = 4


@dataclass(frozen=True)
class Condition:
    """The conditions of a run, beside its backbone and its seed.

    Attributes:
        version: of the task.
        dataset: name and split; None agrees with every other.
        miniature: whether the images are rendered rooms.
        scored: "60 of 654" images; empty for all of the release.
        limit: of images a split, None without a limit.
        files: fingerprint of the dataset's files; None agrees with every other.
        settings: fingerprint; None of methods without learning, of which another task option shows in `files`.
        train_images: number of training images; None, where it isn't known, agrees with every other.
    """

    version: int
    dataset: tuple[str, str] | None
    miniature: bool
    scored: str
    limit: int | None
    files: str | None
    settings: str | None
    train_images: int | None

    @property
    def part(self) -> str:
        """The part of a split that was scored or trained on, in words; empty for the whole."""
        return self.scored or ("" if self.limit is None else f"at most {self.limit} images a split")

    @property
    def texts(self) -> tuple[str, ...]:
        """Each aspect that can tell runs of one row apart, in words; empty where there is nothing to tell."""
        return (
            "" if self.settings is None else f"settings {self.settings}",
            f"data {' '.join(self.dataset or ())} {self.files}",
            self.part,
            f"trained on {self.train_images} images",
        )


def condition_of(result: Result) -> Condition:
    """The conditions of a run."""
    data = result.dataset
    count: int | None = result.settings.get("resolved", {}).get("train", {}).get("train_images")
    return Condition(
        version=result.task.version,
        dataset=(data.name, data.split),
        miniature=data.miniature,
        scored="" if data.images == data.images_available else f"{data.images} of {data.images_available}",
        limit=result.settings.get("limit"),
        files=data.fingerprint,
        settings=None if result.classical else result.recipe.fingerprint,
        train_images=count,
    )


def differing(first: Condition, second: Condition) -> list[Aspect]:
    """The aspects in which two runs differ. Of the data, the first one: where the part differs, so do the files."""
    found: list[Aspect] = []
    if first.version != second.version:
        found.append("version")
    if None not in (first.dataset, second.dataset) and first.dataset != second.dataset:
        found.append("dataset")
    elif first.miniature != second.miniature:
        found.append("miniature")
    elif (first.scored, first.limit) != (second.scored, second.limit):
        found.append("part")
    elif None not in (first.files, second.files) and first.files != second.files:
        found.append("files")
    if None not in (first.settings, second.settings):
        if first.settings != second.settings:
            found.append("settings")
        counts = (first.train_images, second.train_images)
        if None not in counts and counts[0] != counts[1] and not found:
            found.append("train_images")
    return found


def differences(first: Result, second: Result) -> list[str]:
    """What two results of one task differ in, beside backbone and seed, in words; nothing if they are alike."""
    one, two = condition_of(first), condition_of(second)
    words = []
    for aspect in differing(one, two):
        words += _settings(first, second) if aspect == "settings" else [_told(aspect, one, two)]
    return words


def _told(aspect: Aspect, one: Condition, two: Condition) -> str:
    match aspect:
        case "version":
            return f"versions {one.version} and {two.version} of the task"
        case "dataset":
            return f"scored on {' '.join(one.dataset or ())} and on {' '.join(two.dataset or ())}"
        case "miniature":
            return "scored on a miniature and on the real dataset"
        case "part":
            return f"scored on {_amount(one)} and on {_amount(two)}"
        case "files":
            name = (one.dataset or ("the dataset",))[0]
            return f"the files of {name} differ ({str(one.files)[:8]} and {str(two.files)[:8]})"
        case _:
            return f"trained on {one.train_images} and on {two.train_images} images"


def _amount(condition: Condition) -> str:
    limit = "" if condition.limit is None else f" with --limit {condition.limit}"
    return f"{condition.scored or 'all'} images{limit}"


def _settings(first: Result, second: Result) -> list[str]:
    mine = compare_settings(first.settings, second.settings)
    theirs = compare_settings(second.settings, first.settings)
    words = [f"{key}={_json(mine[key])} and {_json(theirs[key])}" for key in mine]
    more = [f"{len(words) - _SHOWN} more settings"] if len(words) > _SHOWN else []
    return [*words[:_SHOWN], *more] or [f"settings {first.recipe.fingerprint} and {second.recipe.fingerprint}"]


def _json(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


@dataclass(frozen=True)
class Runs:
    """Runs of one backbone on one task that differ in their seeds alone, in the order of the seeds.

    `repeated` are seeds that were run more than once, with other values; the newest run of a seed counts.
    """

    files: tuple[ResultFile, ...]
    repeated: tuple[int, ...]

    @property
    def result(self) -> Result:
        """One of them: in what follows they are the same."""
        return self.files[0].result


def each_seed_once(files: Sequence[ResultFile]) -> Runs:
    """Of runs that differ in their seeds alone, the newest of each seed."""
    by_seed: dict[int, list[ResultFile]] = defaultdict(list)
    for file in files:
        by_seed[file.result.seed].append(file)
    newest = [
        max(same, key=lambda file: (file.result.finished, str(file.paths.json))) for _, same in sorted(by_seed.items())
    ]
    again = [
        seed
        for seed, same in sorted(by_seed.items())
        if any(one.result.metrics != same[0].result.metrics for one in same)
    ]
    return Runs(tuple(newest), tuple(again))


def runs_of_one_setting(files: Sequence[ResultFile]) -> Runs:
    """Results of one name on one task and recipe, each seed once.

    Raises:
        RecordError: they differ in more than their seeds.
    """
    first = files[0]
    for file in files[1:]:
        words = [*_other_weights(first.result, file.result), *differences(first.result, file.result)]
        if words:
            model, task = first.result.model.name, first.result.task.name
            raise RecordError(
                f"results of {model} on {task} aren't runs of one setting: {'; '.join(words)} ({first.paths.json} and "
                f"{file.paths.json})",
                "keep them in separate --results folders",
            )
    return each_seed_once(files)


def _other_weights(first: Result, second: Result) -> list[str]:
    one, two = first.model.identity, second.model.identity
    return [f"weights {one[:12]} and {two[:12]}"] if one != two else []


def require_alike(first: Result, second: Result) -> None:
    """Raises `RecordError`, which says what differs, unless two backbones' results may be compared."""
    words = differences(first, second)
    if words:
        raise RecordError(
            f"{first.model.name} and {second.model.name} can't be compared on {first.task.name}, recipe "
            f"{first.recipe.name}: {'; '.join(words)}",
            "run both with the same settings on the same data",
        )
