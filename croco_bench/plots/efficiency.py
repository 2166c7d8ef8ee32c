"""Label efficiency: score against the number of training images, of runs that differ in nothing else."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from croco_bench.errors import RecordError
from croco_bench.plots.figure import Palette, add_legend, add_notes, heading, panels, plain
from croco_bench.plots.scores import INTERVALS
from croco_bench.records.changes import flat
from croco_bench.records.schema import Result
from croco_bench.records.store import ResultFile
from croco_bench.report.estimates import Interval, estimates
from croco_bench.tables.cells import cell_of
from croco_bench.tables.columns import Column
from croco_bench.tables.comparison.alike import Condition, condition_of, each_seed_once
from croco_bench.tables.layout import Grid, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Settings that say how much is trained on; runs of one curve may differ in them.
AMOUNTS = ("train.labels", "task.train_rows", "train.epochs", "train.steps", "train.select_every", "optim.warmup")
# Conditions and settings that runs of one curve have in common.
Shared = tuple[Condition, str]


@dataclass(frozen=True)
class _Curve:
    """One backbone under one setting on one test set.

    `points`: number of training images -> mean over seeds, and its interval.
    """

    name: str
    label: str
    shared: Shared
    points: Mapping[int, tuple[float, Interval | None]]


def draw(found: Sequence[ResultFile], columns: Sequence[Column], vary: Sequence[str] = AMOUNTS) -> Figure:
    """A panel for each column, a line for each backbone with two numbers of training images or more.

    Args:
        found: results, also those with `--limit` that scored a whole test split.
        columns: metrics.
        vary: settings in which runs of one curve may differ.

    Raises:
        RecordError: no backbone was trained on two numbers of images and scored on the same ones.
    """
    places = [(column, curves) for column in columns if (curves := _curves(found, column, vary))]
    if not places:
        raise RecordError(
            "no backbone was trained on two numbers of images, with equal settings, and scored on the same test images",
            "run it on another number, such as --set train.labels=0.1; --vary names other settings that may differ",
        )
    palette = Palette([curve.name for _, curves in places for curve in curves])
    figure, axes = panels(len(places), height=2.6, width=3.4)
    for place, (column, curves) in zip(axes, places, strict=True):
        _panel(place, curves, palette)
        place.set_title(heading(column.title))
        place.set_ylabel(column.measure)
    add_legend(figure, axes)
    add_notes(figure, _notes([curve for _, curves in places for curve in curves]))
    return figure


def _curves(found: Sequence[ResultFile], column: Column, vary: Sequence[str]) -> list[_Curve]:
    """Of all backbones with two numbers of training images or more, by name."""
    runs: dict[tuple[str, str, Shared], dict[int, list[ResultFile]]] = defaultdict(lambda: defaultdict(list))
    for file in found:
        count = condition_of(file.result).train_images
        if count is not None and column.value(file.result) is not None:
            model = file.result.model
            runs[model.name, model.identity, _shared(file.result, vary)][count].append(file)
    several = {key: by_count for key, by_count in runs.items() if len(by_count) > 1}
    usual = Counter(shared for _, _, shared in several).most_common(1)
    curves: list[_Curve] = []
    for (name, _, shared), by_count in several.items():
        words = [] if shared == usual[0][0] else ["other settings or data"]
        words += [f"{place}" for place in [sum(curve.name == name for curve in curves) + 1] if place > 1]
        points = {count: _point(files, column) for count, files in sorted(by_count.items())}
        curves.append(_Curve(name, ", ".join([name, *words]), shared, points))
    return sorted(curves, key=lambda curve: curve.label)


def _shared(result: Result, vary: Sequence[str]) -> Shared:
    """What runs of one curve have in common: the test images, and all settings but those that may vary."""
    condition = replace(condition_of(result), settings=None, train_images=None, limit=None)
    settings = {key: value for key, value in flat(result.settings).items() if key not in vary}
    return condition, json.dumps([result.recipe.name, settings], sort_keys=True)


def _point(files: Sequence[ResultFile], column: Column) -> tuple[float, Interval | None]:
    """The mean over seeds, with its interval."""
    cell = cell_of(each_seed_once(files).files, column, settings_differ=False)
    assert cell is not None, "only results with the metric are chosen"
    row = Row(files[0].result.model.name, {column.key: cell}, "learned")
    return cell.value, estimates(Grid("", (column,), (row,)))[column.key].intervals.get(row.label)


def _panel(axes: Axes, curves: Sequence[_Curve], palette: Palette) -> None:
    most = max(count for curve in curves for count in curve.points)
    usual = Counter(curve.shared for curve in curves).most_common(1)[0][0]
    for curve in curves:
        color, alike = palette.color(curve.name), curve.shared == usual
        counts, values = list(curve.points), [value for value, _ in curve.points.values()]
        axes.plot(
            counts,
            values,
            palette.marker(curve.name),
            color=color,
            linestyle="-" if alike else "--",
            markerfacecolor=color if alike else "white",
            label=plain(curve.label),
        )
        for count, (_, interval) in curve.points.items():
            if interval is not None:
                axes.plot([count] * 2, interval, color=color, linewidth=1)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    counts = sorted({count for curve in curves for count in curve.points})
    axes.set_xticks(counts, [f"{count}\n({count / most:.0%})" for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("training images")


def _notes(curves: Sequence[_Curve]) -> list[str]:
    notes = [INTERVALS, "in brackets: share of the largest number in the panel"]
    if len({curve.shared for curve in curves}) > 1:
        notes.append("dashed, hollow: other settings or test images than most lines of the panel")
    return notes
