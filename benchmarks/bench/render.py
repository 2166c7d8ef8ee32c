"""Figures as Markdown: a table of times and floors, and the estimated cost of the recipes `paper`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.bench.costs import costs
from benchmarks.bench.figures import Figure
from benchmarks.bench.machine import Rates

_HEAD = [
    "piece",
    "task, recipe",
    "precision",
    "batch",
    "GFLOP",
    "kernels",
    "ms",
    "floor, ms",
    "of the time",
    "of matmul rate",
    "per s",
    "peak MB",
    "note",
]


def write(path: Path, machine: dict[str, Any], rates: Rates, figures: Sequence[Figure]) -> None:
    """The file of figures, written anew after each of them."""
    content = {"machine": machine, "rates": asdict(rates), "figures": [asdict(figure) for figure in figures]}
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def read(path: Path) -> tuple[dict[str, Any], Rates, list[Figure]]:
    """The inverse of `write`."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return content["machine"], Rates(**content["rates"]), [Figure(**figure) for figure in content["figures"]]


def markdown(machine: dict[str, Any], rates: Rates, figures: Sequence[Figure]) -> str:
    """Device, rates, table and costs."""
    products = ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in rates.flops.items())
    upload = f", from the host {rates.upload_bytes / 1e9:.3g} GB/s" if rates.upload_bytes else ""
    parts = [
        f"{machine['device']}; torch {machine['torch']}, {machine['threads']} CPU threads; {machine['clock']}; "
        f"{machine['date']}. Matrix products: {products} TFLOP/s. Copies: {rates.copy_bytes / 1e9:.3g} GB/s{upload}.",
        "",
        *_table(_HEAD, [_row(figure, rates) for figure in figures], left=3),
    ]
    for precision in dict.fromkeys(figure.precision for figure in figures if figure.piece == "fine-tuning step"):
        parts += _costs(figures, precision)
    return "\n".join(parts) + "\n"


def _row(figure: Figure, rates: Rates) -> list[str]:
    note = figure.failed or figure.note
    if figure.extra.get("of_forward"):
        note = f"{figure.extra['of_forward']:.2f} x its forward passes"
    return [
        figure.piece,
        figure.name,
        figure.precision,
        _number(figure.items or None, 1),
        _number(figure.flops, 1e-9),
        str(figure.extra.get("kernels", "")),
        _number(figure.seconds, 1e3),
        _number(figure.floor_seconds, 1e3),
        _percent(figure.floor_share),
        _percent(figure.utilization(rates.flops)),
        _number(figure.per_second, 1),
        _number(figure.memory_mb, 1),
        note.replace("|", "/"),
    ]


def _number(value: float | None, factor: float) -> str:
    if value is None:
        return ""
    scaled = value * factor
    return f"{scaled:.0f}" if scaled >= 100 else f"{scaled:.3g}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> list[str]:
    rule = ["---" if column < left or name == "note" else "---:" for column, name in enumerate(head)]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]


def _costs(figures: Sequence[Figure], precision: str) -> list[str]:
    found = costs(figures, precision)
    if not found:
        return []
    rows = [
        [one.task, f"{one.runs}", f"{one.steps:,}", f"{one.training:.1f}", f"{one.evaluation:.1f}", f"{one.total:.1f}"]
        for one in found
    ]
    rows.append(["all", "", "", "", "", f"{sum(one.total for one in found):.1f}"])
    head = ["task", "runs", "steps", "training, h", "selection and evaluation, h", "all runs, h"]
    return [
        "",
        f"Estimated for the recipes `paper` in {precision}: the times above, multiplied by the steps and images of one seed.",
        "",
        *_table(head, rows, left=1),
    ]
