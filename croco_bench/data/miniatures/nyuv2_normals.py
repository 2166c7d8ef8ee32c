"""Writes the rooms of the miniature of NYU Depth v2 with their normals, in the layout of DSINE's data.

Axes: x to the right, y up, z towards the camera. Normals are exact and known where the depth sensor would measure.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from croco_bench.data.formats.images import write_image
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.miniatures.nyuv2 import NYUv2Mini, RoomJob, room_jobs, room_views
from croco_bench.data.rooms.mid_level_cues import encoded_normals


@dataclass(frozen=True)
class NYUv2NormalsMini(NYUv2Mini):
    """Numbers of images, in all and per room of each split, and their size in pixels, as those of `nyuv2`."""


def write_normals(folder: Path, spec: NYUv2NormalsMini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes `{train,test}/000000_img.png` and `000000_normal.png`. No room is in both splits."""
    number = 0
    for split in ("train", "test"):
        (folder / split).mkdir()
        jobs = room_jobs(spec, split, seed)
        starts = [number + sum(job.views for job in jobs[:i]) for i in range(len(jobs))]
        for written in pool.map(partial(_write_room, folder / split), jobs, starts):
            number += written
            advance(written)


def _write_room(folder: Path, job: RoomJob, start: int) -> int:
    """Renders and writes the views of one room, numbered from `start`; returns how many these are."""
    views = room_views(job)
    for number, (view, holes) in enumerate(views, start=start):
        normals = np.rint(255 * encoded_normals(view.normals)).astype(np.uint8)
        write_image(folder / f"{number:06d}_img.png", view.rgb)
        write_image(folder / f"{number:06d}_normal.png", np.where(holes[:, :, None], np.uint8(0), normals))
    return len(views)


MINIATURE = Miniature(
    name="nyuv2_normals",
    write=write_normals,
    default=NYUv2NormalsMini(),
    tiny=NYUv2NormalsMini(train=12, test=6, views_per_scene=3, test_views_per_scene=3, height=48, width=64),
    count=lambda spec: spec.train + spec.test,
)
