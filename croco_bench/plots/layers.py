"""The selection metric against the block that is read, by a probe or without training: where a backbone knows the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from croco_bench.errors import RecordError
from croco_bench.plots.figure import Palette, add_legend, add_notes, heading, panels, plain, with_grid
from croco_bench.records.schema import Result
from croco_bench.tables.layout import Grid, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class _Line:
    """One run, or one kind of its read-outs.

    Attributes:
        title: of its panel.
        row: of the table.
        chosen: the block that is reported; -1: none.
        points: index of a block output -> value of the selection metric, of probes at the best rate.
    """

    title: str
    row: Row
    chosen: int
    points: Mapping[int, float]


def draw(grids: Sequence[Grid]) -> Figure:
    """A panel for each task, its selection metric, and where nothing is trained each kind of read-out.

    A line stands for a run that tried several blocks.

    Raises:
        RecordError: no run did.
    """
    grids = [grid for grid in grids if any(_tried_blocks(row) for row in grid.measured)]
    lines = [line for grid in grids for row in grid.measured for line in _lines(row, grid, grids)]
    if not lines:
        raise RecordError(
            "none of the chosen results tried several blocks",
            "run a recipe such as linear with --set head.layers=auto, or correspondence",
        )
    palette = Palette([line.row.name for line in lines])
    titles = sorted({line.title for line in lines})
    figure, axes = panels(len(titles), height=2.6, width=3.4)
    for place, title in zip(axes, titles, strict=True):
        _panel(place, [line for line in lines if line.title == title], palette)
        place.set_title(heading(title, 3.4))
    add_legend(figure, axes, grids[0].title)
    add_notes(figure, _notes(lines))
    return figure


def _tried_blocks(row: Row) -> bool:
    return any(True for file in row.runs for _ in _tried(file.result))


def _lines(row: Row, grid: Grid, grids: Sequence[Grid]) -> list[_Line]:
    """The lines of all runs of a row that tried several blocks."""
    return [
        _Line(with_grid(title, grid, grids), row, chosen, points)
        for file in row.runs
        for title, chosen, points in _tried(file.result)
    ]


def _tried(result: Result) -> Iterator[tuple[str, int, dict[int, float]]]:
    """Title, chosen block, and the values of several blocks, by a probe on tokens or by kinds of read-outs."""
    probe = _probe(result)
    if len(points := _points(probe)) > 1:
        yield f"{result.task.name}, {probe['metric']} of the selection split", probe["layers"][0], points
    read = result.settings.get("resolved", {}).get("task", {})
    if result.selected is None or "read_outs" not in read:
        return
    metric = result.selected.metric
    kinds: dict[str, dict[int, float]] = {}
    for name, value in read["selection"][metric].items():
        kind, _, block = name.rpartition(" ")
        if block.isdecimal() and value is not None:  # not the mean of all blocks
            kinds.setdefault(kind, {})[int(block) - 1] = value
    for kind, points in kinds.items():
        block = read["read_outs"].get(kind, "").rpartition(" ")[2]
        if len(points) > 1:
            chosen = int(block) - 1 if block.isdecimal() else -1
            yield f"{result.task.name}, {kind}: {metric} of the selection split", chosen, points


def _probe(result: Result) -> Mapping[str, Any]:
    """What a probe on tokens recorded; empty for other runs."""
    found: Mapping[str, Any] = result.settings.get("resolved", {}).get("probe", {}).get("tokens", {})
    return found


def _points(probe: Mapping[str, Any]) -> dict[int, float]:
    """Block -> value of its best rate, of the heads that read a single block and stayed finite."""
    if not probe:
        return {}
    key = f"select_{probe['metric']}"
    best = max if probe.get("higher_is_better", True) else min
    values: dict[int, list[float]] = {}
    for one in probe["tried"]:
        if one["layers"] is not None and len(one["layers"]) == 1 and one[key] is not None:
            values.setdefault(one["layers"][0], []).append(one[key])
    return {block: best(values[block]) for block in sorted(values)}


def _panel(axes: Axes, lines: Sequence[_Line], palette: Palette) -> None:
    for line in lines:
        color, marker = palette.color(line.row.name), palette.marker(line.row.name)
        dashed = "--" if line.row.differences else "-"
        blocks, values = list(line.points), list(line.points.values())
        axes.plot(blocks, values, color=color, linestyle=dashed, linewidth=1, label=plain(line.row.label))
        if line.chosen in line.points:
            axes.plot(line.chosen, line.points[line.chosen], marker, color=color, markersize=5)
    axes.set_xticks(sorted({block for line in lines for block in line.points}))
    axes.set_xlabel("block output")


def _notes(lines: Sequence[_Line]) -> list[str]:
    notes = [
        "block outputs are counted from 0, as in head.layers; those of probes at their best rate",
        "a line for each seed; markers: the chosen block; the mean of all attention isn't drawn",
    ]
    if any(line.row.differences for line in lines):
        notes.append("dashed: not ranked, the label says what sets the runs apart")
    return [plain(note) for note in notes]
