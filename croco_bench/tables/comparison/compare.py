"""Compares backbones on all tasks that they share: differences with intervals, p-values and verdicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Literal, cast

from croco_bench import registry
from croco_bench.errors import FAILED, RecordError
from croco_bench.metrics import Metric, better_of
from croco_bench.metrics.meter import FEWEST_IMAGES
from croco_bench.records.schema import Result
from croco_bench.records.selection import metric_keys, require_known, tasks_of
from croco_bench.records.store import ResultFile, read_all, reasons_for_nothing
from croco_bench.tables.comparison.alike import condition_of, require_alike
from croco_bench.tables.comparison.difference import (
    Difference,
    MeanInterval,
    Verdict,
    interval_of_mean,
    paired_difference,
)
from croco_bench.tables.comparison.multiple import holm
from croco_bench.tables.comparison.overview import Overview, overview
from croco_bench.tables.comparison.positions import position_notes
from croco_bench.tables.comparison.scores import SeedScores
from croco_bench.tables.comparison.sides import (
    Side,
    SideRuns,
    notes_of_pretrainings,
    one_of_each,
    parse_sides,
    runs_of_side,
    scores_of_sides,
)

# (recipe, task) -> backbone -> results
Places = dict[tuple[str, str], dict[str, list[ResultFile]]]
# Decimals by unit, for metrics that are no headline.
_DIGITS = {"%": 1, "px": 2, "deg": 2, "m": 3, "": 4}


@dataclass(frozen=True)
class ComparedRow:
    """Two backbones or methods under one metric of one task and recipe.

    `methods`: which of the two are methods, of which pre-trainings are counted instead of seeds. `adjusted_p` is the p-value
    after Holm's correction over all rows of the comparison; `verdict` goes by it, and answers whether the first is better
    than the second.
    """

    recipe: str
    miniature: bool
    task: str
    metric: Metric
    names: tuple[str, str]
    methods: tuple[bool, bool]
    means: tuple[MeanInterval, MeanInterval]
    difference: Difference
    adjusted_p: float
    verdict: Verdict
    notes: tuple[str, ...]

    @property
    def better(self) -> str | None:
        """The backbone with the better mean, whether or not the difference means anything; None where both are equal."""
        if not self.difference.value:
            return None
        return self.names[(self.difference.value > 0) != self.metric.higher_is_better]


@dataclass(frozen=True)
class Comparison:
    """All rows, ranks of three backbones or more by recipe, and a sentence for whatever could not be compared."""

    names: tuple[str, ...]
    rows: tuple[ComparedRow, ...]
    overviews: tuple[tuple[str, Overview], ...]
    left_out: tuple[str, ...]


def compare(
    names: Sequence[str],
    results: Sequence[Path],
    *,
    tasks: Sequence[str] = (),
    metrics: Sequence[str] = (),
    recipe: str | None = None,
) -> Comparison:
    """Compares every pair of the named backbones.

    Args:
        names: two backbones or more, as results name them; or methods, `NAME=BACKBONE,…`, with names or globs of their
            pre-trainings.
        results: folders of result files.
        tasks: only these tasks, or groups of tasks; names or globs.
        metrics: keys of metrics, such as `eigen/delta1`, or globs; default: the headline metrics of each task.
        recipe: only results of this recipe.

    Raises:
        UsageError: a name is unknown, or there are fewer than two.
        RecordError: nothing can be compared, or a task that was asked for can't; the sentence says why.
    """
    found, complaints = read_all(results, recipe)
    if not found:
        reasons = complaints or reasons_for_nothing(results, recipe) or ["croco-bench run makes some"]
        raise RecordError(f"there are no results{f' of recipe {recipe}' if recipe else ''}", reasons[0])
    wanted = tasks_of(tasks, found) or {"": {file.result.task.name for file in found}}
    sides = parse_sides(names, {file.result.model.name for file in found})
    by_place = _by_place(found, sides, set().union(*wanted.values()))
    files = [file for by_name in by_place.values() for several in by_name.values() for file in several]
    require_known("metric", metrics, {key for file in files for key in file.result.metrics})
    rows, refused = _all_rows(sides, by_place, metrics)
    left_out = [*complaints, *_missing(sides, by_place), *map(str, refused)]
    compared = {row.task for row in rows}
    for given, members in wanted.items():
        if not members & compared:
            raise _nothing(sides, given if tasks else "one task", refused, left_out)
    shown = tuple(side.name for side in sides)
    return Comparison(shown, tuple(_corrected(rows)), _overviews(sides, by_place, metrics), tuple(left_out))


def _by_place(found: Iterable[ResultFile], sides: Sequence[Side], tasks: set[str]) -> Places:
    """(recipe, task) -> backbone -> its results, in the order of recipes and tasks."""
    names = {name for side in sides for name in side.backbones}
    places: dict[tuple[str, str], dict[str, list[ResultFile]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted(found, key=lambda file: (file.result.recipe.name, file.result.task.name)):
        if file.result.task.name in tasks and file.result.model.name in names:
            places[file.result.recipe.name, file.result.task.name][file.result.model.name].append(file)
    return {place: dict(by_name) for place, by_name in places.items()}


def _all_rows(
    sides: Sequence[Side], places: Places, metrics: Sequence[str]
) -> tuple[list[ComparedRow], list[RecordError]]:
    """Rows of all pairs that can be compared, and why others can't."""
    rows, refused = list[ComparedRow](), list[RecordError]()
    for by_name in places.values():
        for pair in combinations([side for side in sides if side.is_in(by_name)], 2):
            try:
                rows += _rows(pair, by_name, metrics)
            except RecordError as error:
                refused.append(error)
    return rows, list({str(error): error for error in refused}.values())


def _nothing(
    sides: Sequence[Side], wanted: str, refused: Sequence[RecordError], left_out: Sequence[str]
) -> RecordError:
    """Why there is no row: the first refusal, or else what is missing."""
    if refused:
        return refused[0]
    if left_out:
        return RecordError(left_out[0], "run what is missing, or name another --task")
    names = " and ".join(side.name for side in sides)
    return RecordError(f"{names} have no results of {wanted}", "croco-bench table shows what there is")


def _missing(sides: Sequence[Side], places: Places) -> list[str]:
    """A sentence for each recipe and the backbones that lack results of the same tasks."""
    lacking: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (recipe, task), by_name in places.items():
        for name in (name for side in sides for name in side.backbones):
            if name not in by_name:
                lacking[recipe, name].append(task)
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (recipe, name), tasks in lacking.items():
        alike[recipe, ", ".join(tasks)].append(name)
    return [
        f"{', '.join(names)} {'have' if len(names) > 1 else 'has'} no results of {tasks} (recipe {recipe})"
        for (recipe, tasks), names in alike.items()
    ]


def _overviews(sides: Sequence[Side], places: Places, metrics: Sequence[str]) -> tuple[tuple[str, Overview], ...]:
    """For each recipe, ranks over the tasks on which all sides are alike, if there are two such tasks or more.

    The first metric of a task counts.
    """
    if len(sides) < 3:
        return ()
    scores: dict[str, dict[str, Mapping[str, SeedScores]]] = defaultdict(dict)
    higher: dict[str, bool] = {}
    for (recipe, task), by_name in places.items():
        if not all(side.is_in(by_name) for side in sides):
            continue
        try:
            runs = [runs_of_side(side, by_name) for side in sides]
            for one, two in combinations(runs, 2):
                require_alike(one.result, two.result)
            result = runs[0].result
            key = _keys(metrics, result)[0]
            scores[recipe][task] = scores_of_sides(runs, key)
            higher[task] = bool(result.metrics[key].higher_is_better)
        except (KeyError, RecordError):
            continue  # told of already, with the pairs
    return tuple((recipe, overview(rows, higher)) for recipe, rows in scores.items() if len(rows) > 1)


def _rows(
    pair: tuple[Side, Side], by_name: Mapping[str, Sequence[ResultFile]], metrics: Sequence[str]
) -> list[ComparedRow]:
    first, second = (runs_of_side(side, by_name) for side in pair)
    require_alike(first.result, second.result)
    return [_row((first, second), key) for key in _keys(metrics, first.result, second.result)]


def _keys(metrics: Sequence[str], *results: Result) -> list[str]:
    """Keys of the chosen metrics, in the order of the globs, or of the headline.

    Raises:
        RecordError: the task has none of the chosen ones, or no value of them is better than another.
    """
    if not metrics:
        return _headline(results[0].task.name, results[0])
    known = {key: metric.higher_is_better for result in results for key, metric in result.metrics.items()}
    chosen = metric_keys(known, metrics)
    keys = [key for key in chosen if known[key] is not None]
    if chosen and not keys:
        raise RecordError(f"no value of {' or '.join(chosen)} is better than another", "name other metrics")
    if not keys:
        raise RecordError(f"{results[0].task.name} has no {' or '.join(metrics)}", "choose with --task what has it")
    return keys


def _row(pair: tuple[SideRuns, SideRuns], key: str) -> ComparedRow:
    names = (pair[0].side.name, pair[1].side.name)
    for file in (file for runs in pair for file in runs.files):
        if key not in file.result.metrics:
            name, task = file.result.model.name, file.result.task.name
            why = f"{FAILED} of" if file.result.failed else "it has no"
            raise RecordError(f"{name}: {why} {key} on {task}", "leave it out, or name another --metric")
    result = pair[0].result
    if result.dataset.images < 2:
        raise RecordError(
            f"{names[0]} and {names[1]} were scored on one image of {result.task.name}: nothing says how far others differ",
            "score more images",
        )
    scores = scores_of_sides(pair, key)
    found = paired_difference(*scores.values())
    return ComparedRow(
        recipe=result.recipe.name,
        miniature=result.dataset.miniature,
        task=result.task.name,
        metric=_metric(result, key),
        names=names,
        methods=(pair[0].side.method, pair[1].side.method),
        means=(interval_of_mean(scores[names[0]]), interval_of_mean(scores[names[1]])),
        difference=found,
        adjusted_p=found.p_value,
        verdict="undecided",
        notes=tuple(_notes(pair, found)),
    )


def _headline(task: str, result: Result) -> list[str]:
    """The table's columns; of a task that isn't installed the first metric."""
    cards = [entry.card for entry in registry.tasks() if entry.name == task]
    return [metric.name for card in cards for metric in card.headline] or [next(iter(result.metrics))]


def _metric(result: Result, key: str) -> Metric:
    for entry in registry.tasks():
        for metric in entry.card.headline:
            if (entry.name, metric.name) == (result.task.name, key):
                return metric
    value = result.metrics[key]
    better = better_of(value.higher_is_better)
    unit = cast(Literal["", "%", "m", "px", "deg"], value.unit)  # a metric of another distribution may have another
    return Metric(key, key, unit, better, "image", _DIGITS.get(unit, 4), "")


def _corrected(rows: Sequence[ComparedRow]) -> Iterable[ComparedRow]:
    """With p-values and verdicts after Holm's correction over all rows."""
    adjusted = holm([row.difference.p_value for row in rows])
    for row, p_value in zip(rows, adjusted, strict=True):
        higher = row.metric.higher_is_better
        yield replace(row, adjusted_p=p_value, verdict=row.difference.verdict(higher_is_better=higher, p_value=p_value))


def _notes(pair: tuple[SideRuns, SideRuns], found: Difference) -> Iterable[str]:
    """What a reader must know about one row."""
    yield from notes_of_pretrainings(pair)
    single = [runs for runs, count in zip(pair, found.seeds, strict=True) if count == 1 and not runs.result.classical]
    if not found.covers_seeds:
        yield f"{one_of_each(single)}: interval and p-value are of these trainings; others may differ more"
    elif single:
        yield f"{one_of_each(single)}: others are taken to scatter as those of the other side do"
    if found.scenes is None:
        yield "older results, which don't name scenes: each image counts as independent, so intervals may be too narrow"
    elif found.scenes == 1:
        yield "all images are of one scene: nothing is said of other scenes"
    runs_of = {name: runs for side in pair for name, runs in side.runs.items()}
    for name, runs in runs_of.items():
        if runs.repeated:
            seeds = ", ".join(map(str, runs.repeated))
            yield f"{name} ran seed {seeds} more than once, with other values: the newest run counts"
    yield from position_notes((runs.side.name, runs.result) for runs in pair)
    if pair[0].result.limited:
        yield f"only a part of the data: {condition_of(pair[0].result).part}"
    if found.images < FEWEST_IMAGES:
        yield f"only {found.images} images: interval and p-value suppose that their differences are normally distributed"
