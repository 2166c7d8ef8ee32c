"""Writes rooms in MultiMAE's layout: colour, depth and classes of the views of the `habitat_release` miniature."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from croco_bench.data.formats.images import write_image
from croco_bench.data.miniatures.habitat import HabitatMini, RoomJob, pairs_of, room_jobs
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.render import View

# 16 bits then hold up to 10 m, as in MultiMAE's own depth images; no room is longer.
DEPTH_UNITS_PER_M = 6553.6


def write_multimae(folder: Path, spec: HabitatMini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes `train/{rgb,depth,semseg}/<room>/%08d_{1,2}` as `.jpeg`, 16-bit `.png` and 8-bit `.png`.

    The views are those of `write_habitat` for equal settings and seed, and the JPEG files are equal byte for byte, so that
    objectives for pairs and for single images can be compared on equal images. Classes are indices of `CLASSES`.
    """
    for pairs in pool.map(_write_room, room_jobs(folder, spec, seed), chunksize=4):
        advance(pairs)


def _write_room(job: RoomJob) -> int:
    """Renders and writes the views of one room; returns the number of pairs."""
    folders = {kind: job.folder / "train" / kind / job.room for kind in ("rgb", "depth", "semseg")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    for stem, pair in pairs_of(make_scene(job.seed), job):
        for number, view in enumerate((pair.view1, pair.view2), start=1):
            name = f"{stem}_{number}"
            write_image(folders["rgb"] / f"{name}.jpeg", view.rgb)
            write_image(folders["depth"] / f"{name}.png", _depth_units(view))
            write_image(folders["semseg"] / f"{name}.png", view.semantic.astype(np.uint8))
    return job.pairs


def _depth_units(view: View) -> NDArray[Any]:
    """Depth (H, W) uint16, limited to 65535, also where no ray hit."""
    units = np.rint(np.minimum(view.depth_m * DEPTH_UNITS_PER_M, 65535))
    return units.astype(np.uint16)


MINIATURE = Miniature(
    name="multimae",
    write=write_multimae,
    default=HabitatMini(),
    tiny=HabitatMini(pairs=6, pairs_per_scene=2, side=40),
    count=lambda spec: spec.pairs,
    by_default=False,
)
