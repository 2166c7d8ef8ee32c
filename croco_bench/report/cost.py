"""What runs took: size of the networks, time, memory, as a table that can be sorted."""

from __future__ import annotations

from collections.abc import Sequence

from croco_bench.records.schema import Result
from croco_bench.records.store import ResultFile
from croco_bench.report.markup import Markup, element
from croco_bench.tables.render import MISSING

_HEADS = (
    "backbone",
    "seed",
    "parameters",
    "trained",
    "GFLOPs",
    "training",
    "train images/s",
    "test images/s",
    "memory",
)


def section(files: Sequence[ResultFile]) -> Markup:
    """What each run took, folded."""
    heads = [element("th", element("button", text, type="button"), scope="col") for text in _HEADS]
    heads.append(element("th", "device", scope="col"))
    lines = [
        element("tr", *_cells(file.result), data_label=f"{file.result.model.name} {file.result.seed}") for file in files
    ]
    content = element("table", element("thead", element("tr", *heads)), element("tbody", *lines), class_="sortable")
    box = element("div", content, class_="wide", tabindex=0)
    return element("details", element("summary", "cost of these runs"), box, class_="cost")


def duration(seconds: float) -> str:
    """`42 s`, `3.5 min` or `2.1 h`; a dash for none."""
    if not seconds:
        return MISSING
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _cells(result: Result) -> list[Markup]:
    timing, cost = result.timing, result.cost
    trained, flops, speed = (
        (cost.trained_parameters, cost.flops, cost.eval_images_per_s) if cost else (None, None, None)
    )
    return [
        element("th", element("bdi", result.model.name), scope="row"),
        element("td", str(result.seed)),
        _cell(result.model.parameters or None, f"{result.model.parameters:,}"),
        _cell(trained, f"{trained or 0:,}"),
        element("td", f"{flops / 1e9:.3g}" if flops else MISSING),
        _cell(timing.train_s or None, duration(timing.train_s)),
        element("td", f"{timing.images_per_s:.1f}" if timing.images_per_s else MISSING),
        element("td", f"{speed:.1f}" if speed else MISSING),
        _cell(timing.peak_memory_mb or None, f"{timing.peak_memory_mb:,.0f} MB"),
        element("td", result.environment.device),
    ]


def _cell(value: float | None, text: str) -> Markup:
    """A number, as it is sorted and as it is shown, where the text isn't sorted as it stands; a dash for none."""
    if value is None:
        return element("td", MISSING)
    return element("td", text, data_value=f"{value:.0f}" if float(value).is_integer() else f"{value:.6g}")
