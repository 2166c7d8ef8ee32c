"""Loss and selection metric against steps, of every run that left a log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from croco_bench.errors import RecordError
from croco_bench.plots.figure import Palette, add_legend, add_notes, heading, panels, plain, with_grid
from croco_bench.report.curves import Curve, read
from croco_bench.tables.layout import Grid, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class _Line:
    """A curve of one run; `title` is that of its panel."""

    title: str
    row: Row
    curve: Curve


def draw(grids: Sequence[Grid]) -> Figure:
    """For each task a panel of the loss and one of the metric that selects; a line for each seed.

    Raises:
        RecordError: no run has a log.
    """
    lines = [
        _Line(with_grid(f"{file.result.task.name}, {curve.name}", grid, grids), row, curve)
        for grid in grids
        for row in grid.measured
        for file in row.runs
        for curve in read(file)
    ]
    if not lines:
        raise RecordError(
            "none of the chosen results has a log of its training",
            "the folder beside a result, seed<N>/, must be there; probes on cached vectors have none",
        )
    palette = Palette([line.row.name for line in lines])
    titles = sorted({line.title for line in lines})
    figure, axes = panels(len(titles), height=2.4, columns=2, width=3.6)
    for place, title in zip(axes, titles, strict=True):
        _panel(place, [line for line in lines if line.title == title], palette)
        place.set_title(heading(title, 3.6))
    add_legend(figure, axes, grids[0].title)
    add_notes(figure, _notes(lines, grids))
    return figure


def _panel(axes: Axes, lines: Sequence[_Line], palette: Palette) -> None:
    for line in lines:
        steps, values = zip(*line.curve.points, strict=True)
        color, dashed = palette.color(line.row.name), bool(line.row.differences)
        label = plain(line.row.label)
        axes.plot(steps, values, color=color, linestyle="--" if dashed else "-", linewidth=1, alpha=0.85, label=label)
        chosen = line.curve.chosen
        if chosen is not None and chosen in steps:
            axes.plot(chosen, values[steps.index(chosen)], palette.marker(line.row.name), color=color, markersize=5)
    _cut_first_losses(axes, lines)
    axes.set_xlabel("steps")


def _cut_first_losses(axes: Axes, lines: Sequence[_Line]) -> None:
    """Leaves the highest fiftieth of the losses out of view: the first ones are large and would flatten the rest."""
    if any(line.curve.name != "loss" for line in lines):
        return
    values = sorted(value for line in lines for _, value in line.curve.points)
    low, high = values[0], values[int(0.98 * (len(values) - 1))]
    if high > low:
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def _notes(lines: Sequence[_Line], grids: Sequence[Grid]) -> list[str]:
    notes = ["a line for each seed; markers: the selected step"]
    if any(line.row.differences for line in lines):
        notes.append("dashed: not ranked, the label says what sets the runs apart")
    drawn = {line.row.label for line in lines}
    without = sorted({row.label for grid in grids for row in grid.measured if row.kind == "learned"} - drawn)
    if without:
        notes.append(f"without a log: {', '.join(without)}")
    return [plain(note) for note in notes]
