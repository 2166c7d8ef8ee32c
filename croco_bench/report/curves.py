"""Curves of a training: its loss, and the metric that chose the weights, against steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from croco_bench.engine.training_log import values_at_steps
from croco_bench.records.store import ResultFile
from croco_bench.report.markup import Markup, element

Point = tuple[float, float]
_WIDTH, _HEIGHT = 340, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 8, 20
_MAX_POINTS = 240


@dataclass(frozen=True)
class Curve:
    """Values against steps.

    Attributes:
        name: of the value.
        points: (step, value), in the order of steps.
        chosen: the step that was selected, marked where it is a point.
    """

    name: str
    points: tuple[Point, ...]
    chosen: int | None = None


@dataclass(frozen=True)
class Frame:
    """Ranges of both axes, shared by all runs of a task, so that charts can be compared by eye."""

    steps: float
    low: float
    high: float

    def x(self, step: float) -> float:
        """Pixels from the left."""
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * step / (self.steps or 1.0), 1)

    def y(self, value: float) -> float:
        """Pixels from the top; values outside the range lie on its edge."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (1.0 - min(max(share, 0.0), 1.0)), 1)


def read(file: ResultFile) -> list[Curve]:
    """The loss and the selection metric of a run; the latter from the result where there is no log that can be read."""
    folder, chosen = file.paths.folder, file.result.selected
    curves = [Curve("loss", _thinned(tuple(values_at_steps(folder, "loss").items())))]
    if chosen:
        points = values_at_steps(folder, f"select/{chosen.metric}") or file.result.history
        curves.append(Curve(f"{chosen.metric} on {chosen.split}", tuple(points.items()), chosen.step))
    return [curve for curve in curves if len(curve.points) > 1]


def frames(runs: Iterable[Sequence[Curve]]) -> dict[str, Frame]:
    """Axes for each name of a curve. The highest fiftieth of the values may lie above: the first losses are large."""
    values: dict[str, list[Point]] = defaultdict(list)
    for curve in (curve for curves in runs for curve in curves):
        values[curve.name] += curve.points
    found = {}
    for name, points in values.items():
        ordered = sorted(value for _, value in points)
        high = ordered[min(len(ordered) - 1, int(0.98 * len(ordered)))]
        found[name] = Frame(max(step for step, _ in points), ordered[0], high)
    return found


def charts(curves: Sequence[Curve], axes: Mapping[str, Frame]) -> Markup:
    """One chart per curve; nothing for none."""
    if not curves:
        return Markup()
    return element("div", *(_chart(curve, axes[curve.name]) for curve in curves), class_="curves")


def read_all(files: Iterable[ResultFile]) -> dict[Path, list[Curve]]:
    """Path of a result -> its curves."""
    return {file.paths.json: read(file) for file in files}


def _chart(curve: Curve, frame: Frame) -> Markup:
    """A line in a frame with its ends labelled; the chosen step is a dot."""
    path = " ".join(f"{frame.x(step)},{frame.y(value)}" for step, value in curve.points)
    bottom = _HEIGHT - _BOTTOM
    parts = [
        element("path", d=f"M{_LEFT} {_TOP}V{bottom}H{_WIDTH - _RIGHT}", class_="frame"),
        _label(_LEFT - 5, _TOP + 8, f"{frame.high:.3g}", "end"),
        _label(_LEFT - 5, bottom, f"{frame.low:.3g}", "end"),
        _label(_LEFT, _HEIGHT - 5, "0", "start"),
        _label(_WIDTH - _RIGHT, _HEIGHT - 5, f"{frame.steps:g} steps", "end"),
        element("polyline", points=path),
    ]
    values = dict(curve.points)
    if curve.chosen in values:
        place = {"cx": frame.x(curve.chosen), "cy": frame.y(values[curve.chosen])}
        parts.append(element("circle", **place, r=3.5))
    first, last = curve.points[0], curve.points[-1]
    told = f"{curve.name}: {first[1]:.4g} at step {first[0]:g}, {last[1]:.4g} at step {last[0]:g}"
    svg = element("svg", *parts, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=told)
    more = f", selected step {curve.chosen}" if curve.chosen in values else ""
    return element("figure", element("figcaption", curve.name + more), svg)


def _label(x: float, y: float, text: str, anchor: str) -> Markup:
    return element("text", text, x=x, y=y, text_anchor=anchor)


def _thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """Means of neighboring points where there are too many to draw."""
    size = -(-len(points) // _MAX_POINTS) or 1
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return tuple((group[-1][0], sum(value for _, value in group) / len(group)) for group in groups)
