"""Sheets of pictures as PNG files."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from croco_bench.files import atomic
from croco_bench.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Characters per line above a panel, and of the sheet's title for each column.
_CHARACTERS, _TITLE_CHARACTERS = 38, 28
_DPI = 110


def draw_sheet(path: Path, rows: list[tuple[str, dict[str, Array]]], title: str) -> None:
    """One PNG: a row per (label, panels), a column per panel (H, W) or (H, W, 3). Its text `rows` says where they are.

    A panel whose name is blank has no frame.
    """
    # The figure is made without pyplot: no global state, no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = len(rows[0][1])
    height, width = next(iter(rows[0][1].values())).shape[:2]
    cell = 2.2
    figure = Figure(figsize=(cell * columns, (cell * height / width + 0.22) * len(rows) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(textwrap.fill(title, _TITLE_CHARACTERS * columns), fontsize=9)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, (label, panels) in zip(grid, rows, strict=True):
        for axes, (name, picture) in zip(line, panels.items(), strict=True):
            axes.imshow(picture, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(_wrapped(name), fontsize=7)
            axes.set_frame_on(bool(name.strip()))
        if label:
            line[0].set_title(_wrapped(label), fontsize=7)
    facts = json.dumps(_places(figure, grid, [label for label, _ in rows]))
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI, metadata={"rows": facts})


def _places(figure: Figure, grid: Any, labels: list[str]) -> list[tuple[str, float, float]]:
    """(label, top, bottom) of each row, titles included, as shares of the sheet's height from its top."""
    figure.dpi = _DPI
    figure.draw_without_rendering()
    height = figure.bbox.height
    found = []
    for label, line in zip(labels, grid, strict=True):
        boxes = [axes.get_tightbbox() for axes in line]
        top, bottom = max(box.y1 for box in boxes), min(box.y0 for box in boxes)
        found.append((label, round(1 - top / height, 4), round(1 - bottom / height, 4)))
    return found


def _wrapped(title: str) -> str:
    """Breaks a title into lines of a panel's width."""
    return "\n".join(textwrap.fill(line, _CHARACTERS) for line in title.splitlines())
