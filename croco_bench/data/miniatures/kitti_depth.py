"""Writes wide views of rooms, five times as large, in the layout of KITTI's depth by Eigen's split.

Depth is known on a part of the pixels below the upper third, as a laser scanner measures it.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from croco_bench.data.datasets.geometry.kitti_depth import LIST, Split
from croco_bench.data.formats.images import write_image
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.rooms.camera import intrinsics, sample_camera
from croco_bench.data.rooms.generator import make_scene, room_seed
from croco_bench.data.rooms.render import render
from croco_bench.errors import UsageError
from croco_bench.seeding import make_rng
from croco_bench.types import Size

_LARGER, _UNITS_PER_M, _MEASURED = 5.0, 256.0, 0.3
_DAY = "2011_09_26"
_SPLITS: tuple[Split, Split] = ("train", "test")


@dataclass(frozen=True)
class KITTIDepthMini:
    """Numbers of images, in all and per drive of each split, and their size in pixels.

    The release has 23,158 + 652 images of 375x1242.
    """

    train: int = 400
    test: int = 100
    views_per_drive: int = 5
    test_views_per_drive: int = 1
    height: int = 94
    width: int = 310

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 8:
            raise UsageError("kitti_depth: height and width must be at least 8 pixels")


@dataclass(frozen=True)
class _Job:
    folder: Path
    drive: str
    seed: int
    views: int
    size: Size


def write_kitti_depth(folder: Path, spec: KITTIDepthMini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes lists, images and depth. A drive is one room and is in one split; one listed test image has no depth."""
    first = 1
    for split in _SPLITS:
        jobs = _jobs(folder, spec, split, seed, first)
        first += len(jobs)
        lines = []
        for written in pool.map(_write_drive, jobs):
            lines += written
            advance(len(written))
        if split == "test":
            lines.append(f"{lines[-1].split()[0]} None {_focal(spec):.4f}")
        (folder / LIST.format(split)).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _focal(spec: KITTIDepthMini) -> float:
    return float(intrinsics((spec.height, spec.width))[0, 0])


def _jobs(folder: Path, spec: KITTIDepthMini, split: Split, seed: int, first: int) -> list[_Job]:
    total, of_drive = {
        "train": (spec.train, spec.views_per_drive),
        "test": (spec.test, spec.test_views_per_drive),
    }[split]
    return [
        _Job(
            folder=folder,
            drive=f"{_DAY}_drive_{first + number:04d}_sync",
            seed=room_seed(seed, "kitti_depth", split, number),
            views=min(of_drive, total - start),
            size=(spec.height, spec.width),
        )
        for number, start in enumerate(range(0, total, of_drive))
    ]


def _write_drive(job: _Job) -> list[str]:
    """Renders and writes the views of one room; returns their lines of the list."""
    scene, rng, lines = make_scene(job.seed), make_rng(job.seed, "cameras"), []
    for number in range(job.views):
        view = render(scene, sample_camera(scene, job.size, rng))
        measured = np.isfinite(view.depth_m) & (rng.random(job.size) < _MEASURED)
        measured[: job.size[0] // 3] = False
        units = np.where(measured, view.depth_m * _LARGER * _UNITS_PER_M, 0)
        image = f"{_DAY}/{job.drive}/image_02/data/{number:010d}.png"
        depth = f"{job.drive}/proj_depth/groundtruth/image_02/{number:010d}.png"
        for name, picture in ((image, view.rgb), (depth, np.clip(np.rint(units), 0, 65535).astype(np.uint16))):
            (job.folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_image(job.folder / name, picture)
        lines.append(f"{image} {depth} {view.camera.K[0, 0]:.4f}")
    return lines


MINIATURE = Miniature(
    name="kitti_depth",
    write=write_kitti_depth,
    default=KITTIDepthMini(),
    tiny=KITTIDepthMini(train=12, test=6, views_per_drive=3, test_views_per_drive=3, height=40, width=120),
    count=lambda spec: spec.train + spec.test,
)
