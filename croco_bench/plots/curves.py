"""Loss and selection metric against steps: from a run's log, the metric also from its result."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from croco_bench.errors import RecordError
from croco_bench.plots.figure import Palette, add_legend, add_notes, heading, panels, plain, told_apart
from croco_bench.records.store import ResultFile
from croco_bench.report.curves import Curve, read
from croco_bench.tables.layout import Grid, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class _Line:
    """A curve of one run; `title` is that of its panel, `task` the task's, with the table's where there are several."""

    title: str
    task: str
    row: Row
    curve: Curve


def draw(grids: Sequence[Grid]) -> Figure:
    """For each task a panel of the loss and one of the metric that selects; a line for each seed.

    Raises:
        RecordError: no run has a log or a history.
    """
    runs = [(grid, row, file, read(file)) for grid in grids for row in grid.measured for file in row.runs]
    common, own = told_apart(list(dict.fromkeys(grid.title for grid, _, _, curves in runs if curves)))
    lines: list[_Line] = []
    without: dict[str, set[str]] = defaultdict(set)
    for grid, row, file, curves in runs:
        task = ", ".join([file.result.task.name, *own.get(grid.title, ())])
        lines += [_Line(f"{task}, {_named(curve, file)}", task, row, curve) for curve in curves]
        if not curves and row.kind == "learned":
            without[task].add(row.label)
    if not lines:
        raise RecordError(
            "none of the chosen results has a curve of its training",
            "results of older versions need the folder beside them, seed<N>/; probes on cached vectors have none",
        )
    palette = Palette([line.row.name for line in lines])
    titles = sorted({line.title for line in lines})
    figure, axes = panels(len(titles), height=2.4, columns=2, width=3.6)
    for place, title in zip(axes, titles, strict=True):
        _panel(place, [line for line in lines if line.title == title], palette)
        place.set_title(heading(title, 3.6))
    add_legend(figure, axes, common)
    add_notes(figure, _notes(lines, without))
    return figure


def _named(curve: Curve, file: ResultFile) -> str:
    """The curve's name; of a metric with an arrow to where it is better."""
    name = curve.name.partition(" ")[0]
    found = [metric for key, metric in file.result.metrics.items() if key.rpartition("/")[2] == name]
    arrow = {True: " ↑", False: " ↓", None: ""}[found[0].higher_is_better if found else None]
    return f"{curve.name}{arrow}"


def _panel(axes: Axes, lines: Sequence[_Line], palette: Palette) -> None:
    for line in lines:
        steps, values = zip(*line.curve.points, strict=True)
        color, dash = palette.color(line.row.name), "--" if line.row.differences else "-"
        label = plain(line.row.label)
        if line.curve.name == "loss":
            axes.plot(steps, values, color=color, linewidth=0.5, alpha=0.25)
            values = smoothed(values)
        axes.plot(steps, values, color=color, linestyle=dash, linewidth=1.2, alpha=0.9, label=label)
        chosen = line.curve.chosen
        if chosen is not None and chosen in steps:  # hollow: several may lie on each other
            shape, height = palette.marker(line.row.name), values[steps.index(chosen)]
            axes.plot(chosen, height, shape, color=color, markersize=6, markerfacecolor="none", markeredgewidth=1.3)
    _cut_first_losses(axes, lines)
    axes.set_xlabel("steps")


def smoothed(values: Sequence[float]) -> tuple[float, ...]:
    """The mean of each value and those around it, a fifteenth of all; fewer at both ends, equally many on both sides."""
    reach = len(values) // 30
    found = []
    for place in range(len(values)):
        near = min(reach, place, len(values) - 1 - place)
        found.append(sum(values[place - near : place + near + 1]) / (2 * near + 1))
    return tuple(found)


def _cut_first_losses(axes: Axes, lines: Sequence[_Line]) -> None:
    """Leaves the highest fiftieth of the losses out of view: the first ones are large and would flatten the rest."""
    if any(line.curve.name != "loss" for line in lines):
        return
    values = sorted(value for line in lines for _, value in line.curve.points)
    low, high = values[0], values[int(0.98 * (len(values) - 1))]
    if high > low:
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def _notes(lines: Sequence[_Line], without: Mapping[str, set[str]]) -> list[str]:
    notes = ["a line for each seed, of losses with a running mean; markers: the selected step"]
    if any(line.row.differences for line in lines):
        notes.append("dashed: not ranked, the label says what sets the runs apart")
    for task in dict.fromkeys(line.task for line in lines):
        drawn = {line.row.label for line in lines if line.task == task}
        if names := without.get(task, set()) - drawn:
            notes.append(f"{task}: without a curve: {', '.join(sorted(names))}")
    return [plain(note) for note in notes]
