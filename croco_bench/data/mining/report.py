"""Summaries of mined pairs: statistics, one line of text, and a figure. A part is the content of `mine_sequence`'s file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from croco_bench.data.formats.images import read_rgb
from croco_bench.data.mining.crops import middle_square
from croco_bench.data.mining.sequence import MiningSettings
from croco_bench.data.splitting import spread_indices
from croco_bench.errors import DataError
from croco_bench.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

_ROWS, _COLUMNS = 4, 3
_THUMBNAIL = 160


def summarize(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts over all parts, and medians over their pairs."""
    pairs = [pair for part in parts for pair in part["pairs"]]
    counted = ("frames", "frames_without_pose", "frames_without_depth", "pairs_estimated", "pairs_compared")
    return {
        "counts": {
            "sequences": len(parts),
            **{key: sum(part[key] for part in parts) for key in counted},
            "pairs": len(pairs),
        },
        "median": {
            "covisibility": float(np.median([min(pair["covisibility"]) for pair in pairs])),
            "baseline_m": float(np.median([pair["baseline_m"] for pair in pairs])),
            "rotation_deg": float(np.median([pair["rotation_deg"] for pair in pairs])),
        },
    }


def in_words(summary: dict[str, Any]) -> str:
    """One line of text for the result of `summarize`."""
    counts, median = summary["counts"], summary["median"]
    return (
        f"{counts['pairs']} pairs of {counts['frames']} frames in {counts['sequences']} sequences; median co-visibility "
        f"{median['covisibility']:.2f}, baseline {median['baseline_m']:.2f} m, rotation {median['rotation_deg']:.0f} deg"
    )


def no_pairs(source: Path, parts: Sequence[dict[str, Any]], settings: MiningSettings) -> DataError:
    """The error for a mining without pairs, with the range of co-visibility of the frames."""
    wanted = settings.wanted
    frames, asked = sum(part["frames"] for part in parts), f"co-visibility from {wanted.low:g} to {wanted.high:g}"
    ranges = [part["covisibility_seen"] for part in parts if part["covisibility_seen"]]
    if not ranges:
        poses, depths = (sum(part[f"frames_without_{kind}"] for part in parts) for kind in ("pose", "depth"))
        return DataError(
            f"{source}: no pair has {asked}, as none of the {frames} frames looked at sees anything of another ({poses} more "
            f"have no pose, {depths} depth on less than half the image)",
            _other_frames(settings, frames + poses + depths),
        )
    low, high = min(first for first, _ in ranges), max(last for _, last in ranges)
    estimated = sum(part["pairs_estimated"] for part in parts)
    return DataError(
        f"{source}: no pair has {asked}",
        f"{estimated} pairs of {frames} frames had about {low:.2f} to {high:.2f}: choose another --covisibility or --every "
        f"(now {settings.every})",
    )


def _other_frames(settings: MiningSettings, looked_at: int) -> str:
    """Advice that can help where no frame sees anything of another."""
    if settings.every > 1:
        return f"look at more frames with a smaller --every (now {settings.every})"
    if looked_at < 2:
        return "pairs need at least two frames of one sequence"
    absolute, relative = settings.matching.absolute_m, settings.matching.relative
    return (
        f"all frames were looked at: check that poses are camera-to-world in metres and depths in millimetres, or raise "
        f"--tolerance (now {absolute:g} {relative:g})"
    )


def draw_report(path: Path, root: Path, pairs: Sequence[dict[str, Any]], *, square: bool, title: str) -> None:
    """Writes histograms of co-visibility, baseline and rotation above thumbnails of pairs, sorted by co-visibility.

    Args:
        path: the PNG file.
        root: folder to which the image paths are relative.
        pairs: pairs of all parts.
        square: show the central squares, for pairs compared with `Matching.square`.
        title: title of the figure.
    """
    # Without pyplot, which has global state and may want a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 9), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    grid = figure.add_gridspec(_ROWS + 1, _COLUMNS, height_ratios=[1.4, *[1] * _ROWS])
    _draw_histograms(figure, grid, pairs)
    _draw_thumbnails(figure, grid, root, pairs, square)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def _draw_histograms(figure: Figure, grid: GridSpec, pairs: Sequence[dict[str, Any]]) -> None:
    values = {
        "co-visibility (smaller share)": [min(pair["covisibility"]) for pair in pairs],
        "baseline (m)": [pair["baseline_m"] for pair in pairs],
        "rotation (deg)": [pair["rotation_deg"] for pair in pairs],
    }
    for column, (name, numbers) in enumerate(values.items()):
        axes = figure.add_subplot(grid[0, column])
        axes.hist(np.array(numbers), bins=24, color="0.4")
        axes.set_xlabel(f"{name}, median {np.median(numbers):.2f}", fontsize=8)
        axes.tick_params(labelsize=7)


def _draw_thumbnails(figure: Figure, grid: GridSpec, root: Path, pairs: Sequence[dict[str, Any]], square: bool) -> None:
    order = np.argsort([min(pair["covisibility"]) for pair in pairs], kind="stable")
    for cell, index in enumerate(order[spread_indices(len(pairs), _ROWS * _COLUMNS)]):
        pair = pairs[index]
        axes = figure.add_subplot(grid[1 + cell // _COLUMNS, cell % _COLUMNS])
        axes.imshow(np.hstack([_thumbnail(root / image, square) for image in pair["images"]]))
        axes.set_axis_off()
        first, second = pair["covisibility"]
        numbers = f"{first:.2f} / {second:.2f}   {pair['baseline_m']:.2f} m   {pair['rotation_deg']:.0f} deg"
        axes.set_title(numbers, fontsize=8)


def _thumbnail(image: Path, square: bool) -> Any:
    picture = read_rgb(image)
    if square:
        picture = middle_square(picture)
    height = round(_THUMBNAIL * picture.shape[0] / picture.shape[1])
    return cv2.resize(picture, (_THUMBNAIL, height), interpolation=cv2.INTER_AREA)
