"""Writes rooms in MultiMAE's layout: colour, depth and classes of the same views that the pairs of CroCo's layout show."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from croco_bench.data.miniatures.habitat import HabitatMini, Job, pairs_of, room_jobs, write_image
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.render import View

# 10 m fill the 16 bits, as in MultiMAE's own depth images. No room is that long.
DEPTH_UNITS_PER_M = 6553.6


def write_multimae(folder: Path, spec: HabitatMini, seed: int, pool: Executor, advance: Callable[[int], None]) -> None:
    """Writes `train/{rgb,depth,semseg}/<room>/%08d_{1,2}` as `.jpeg`, 16-bit `.png` and 8-bit `.png`.

    The views are those of `write_habitat` for equal settings and seed, both of each pair, and the JPEG files are equal
    byte for byte, so that objectives on pairs and on single images can be compared on the same pictures. Classes are the
    indices of `THINGS`.
    """
    for pairs in pool.map(_write_room, room_jobs(folder, spec, seed), chunksize=4):
        advance(pairs)


def _write_room(job: Job) -> int:
    """Renders and writes one room; returns how many pairs."""
    root, room, seed, count, _ = job
    folders = {kind: Path(root) / "train" / kind / room for kind in ("rgb", "depth", "semseg")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    for stem, pair in pairs_of(make_scene(seed), job):
        for number, view in enumerate((pair.view1, pair.view2), start=1):
            name = f"{stem}_{number}"
            write_image(folders["rgb"] / f"{name}.jpeg", view.rgb[:, :, ::-1])
            write_image(folders["depth"] / f"{name}.png", _depth_units(view))
            write_image(folders["semseg"] / f"{name}.png", view.semantic.astype(np.uint8))
    return count


def _depth_units(view: View) -> NDArray[Any]:
    """(H, W) uint16; what is too far for 16 bits, or where no ray hit, is the largest number."""
    units = np.rint(np.minimum(view.depth_m * DEPTH_UNITS_PER_M, 65535))
    return units.astype(np.uint16)
