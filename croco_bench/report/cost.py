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


def spent(result: Result) -> str:
    """The same of one run, in words."""
    timing, cost = result.timing, result.cost
    words = [f"{result.model.parameters:,} parameters with the head"]
    if cost is not None and cost.flops is not None and cost.image_size is not None:
        size = "×".join(map(str, cost.image_size))
        words.append(f"{cost.flops / 1e9:.3g} GFLOPs a forward pass at {size}")
    words.append(f"{duration(timing.train_s)} training at {timing.images_per_s:.1f} images/s")
    speed = f" at {cost.eval_images_per_s:.1f} images/s" if cost is not None and cost.eval_images_per_s else ""
    words.append(f"{duration(timing.eval_s)} evaluation{speed}")
    words.append(f"{timing.peak_memory_mb:,.0f} MB at most")
    return "; ".join(words)


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
        _cell(result.seed, str(result.seed)),
        _cell(result.model.parameters or None, f"{result.model.parameters:,}"),
        _cell(trained, f"{trained or 0:,}"),
        _cell(flops, f"{(flops or 0) / 1e9:.3g}"),
        _cell(timing.train_s or None, duration(timing.train_s)),
        _cell(timing.images_per_s or None, f"{timing.images_per_s:.1f}"),
        _cell(speed, f"{speed or 0:.1f}"),
        _cell(timing.peak_memory_mb or None, f"{timing.peak_memory_mb:,.0f} MB"),
        element("td", result.environment.device),
    ]


def _cell(value: float | None, text: str) -> Markup:
    """A number, as it is sorted and as it is shown; a dash for none."""
    return element("td", MISSING if value is None else text, data_value="" if value is None else _sorted_by(value))


def _sorted_by(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.6g}"
