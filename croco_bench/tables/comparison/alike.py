"""Which results may be compared, and in words why others may not: like is compared with like, or not at all."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from croco_bench.errors import RecordError
from croco_bench.records.changes import compare as compare_settings
from croco_bench.records.schema import Result
from croco_bench.records.store import ResultFile

_SHOWN = 4


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
    by_seed: dict[int, list[ResultFile]] = defaultdict(list)
    for file in files:
        by_seed[file.result.seed].append(file)
    newest = [max(same, key=lambda file: file.result.finished) for _, same in sorted(by_seed.items())]
    again = [seed for seed, same in sorted(by_seed.items()) if any(_values(one) != _values(same[0]) for one in same)]
    return Runs(tuple(newest), tuple(again))


def require_alike(first: Result, second: Result) -> None:
    """Raises `RecordError`, which says what differs, unless two backbones' results may be compared."""
    words = differences(first, second)
    if words:
        raise RecordError(
            f"{first.model.name} and {second.model.name} can't be compared on {first.task.name}, recipe "
            f"{first.recipe.name}: {'; '.join(words)}",
            "run both with the same settings on the same data",
        )


def differences(first: Result, second: Result) -> list[str]:
    """What two results of one task differ in, beside backbone and seed, in words; nothing if they are alike.

    A classical method takes no settings of training, so these may differ.
    """
    words = []
    if first.task.version != second.task.version:
        words.append(f"versions {first.task.version} and {second.task.version} of the task")
    words += _other_data(first, second)
    trained = not (first.classical or second.classical)
    if trained and first.recipe.fingerprint != second.recipe.fingerprint:
        words += _other_settings(first, second)
    if trained and not words and _train_images(first) != _train_images(second):
        words.append(f"trained on {_train_images(first)} and on {_train_images(second)} images")
    return words


def _other_weights(first: Result, second: Result) -> list[str]:
    one, two = first.model.identity, second.model.identity
    return [f"weights {one[:12]} and {two[:12]}"] if one != two else []


def _other_data(first: Result, second: Result) -> list[str]:
    one, two = first.dataset, second.dataset
    if (one.name, one.split) != (two.name, two.split):
        return [f"scored on {one.name} {one.split} and on {two.name} {two.split}"]
    if one.miniature != two.miniature:
        return ["scored on a miniature and on the real dataset"]
    if first.limited or second.limited:
        parts = [_part(result) for result in (first, second)]
        if parts[0] != parts[1]:
            return [f"scored on {parts[0]} and on {parts[1]}"]
    if one.fingerprint != two.fingerprint:
        return [f"the files of {one.name} differ ({one.fingerprint[:8]} and {two.fingerprint[:8]})"]
    return []


def _part(result: Result) -> str:
    data, limit = result.dataset, result.settings.get("limit")
    images = "all" if data.images == data.images_available else f"{data.images} of {data.images_available}"
    return f"{images} images" + (f" with --limit {limit}" if limit else "")


def _other_settings(first: Result, second: Result) -> list[str]:
    mine, theirs = (compare_settings(*pair) for pair in _both_ways(first.settings, second.settings))
    words = [f"{key}={_json(mine[key])} and {_json(theirs[key])}" for key in mine]
    more = [f"{len(words) - _SHOWN} more settings"] if len(words) > _SHOWN else []
    names = [result.recipe.fingerprint for result in (first, second)]
    return [*words[:_SHOWN], *more] or [f"settings {names[0]} and {names[1]}"]


def _both_ways(one: dict[str, object], two: dict[str, object]) -> Iterable[tuple[dict[str, object], dict[str, object]]]:
    return (one, two), (two, one)


def _json(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _train_images(result: Result) -> int | None:
    count: int | None = result.settings.get("resolved", {}).get("train", {}).get("train_images")
    return count


def _values(file: ResultFile) -> object:
    return file.result.metrics
