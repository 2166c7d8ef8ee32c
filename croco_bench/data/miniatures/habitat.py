"""Writes pairs of views of rooms in the layout of CroCo's Habitat release."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from croco_bench.data.formats.images import write_image
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.rooms.camera import FIELD_OF_VIEW_DEG, Camera
from croco_bench.data.rooms.generator import make_scene, room_seed
from croco_bench.data.rooms.render import RenderedViews, make_pair
from croco_bench.data.rooms.scene import Scene
from croco_bench.seeding import make_rng


@dataclass(frozen=True)
class HabitatMini:
    """Numbers of pairs, in all and per room, and the side of the square images in pixels. The release has 1.8 M of 256."""

    pairs: int = 6000
    pairs_per_scene: int = 4
    side: int = 72


@dataclass(frozen=True)
class RoomJob:
    """The pairs of one room; `room` is its number in five digits, `folder` that of the dataset."""

    folder: Path
    room: str
    seed: int
    pairs: int
    side: int


def write_habitat(folder: Path, spec: HabitatMini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes `rooms/train/<room>/%08d_{1,2}.jpeg` with camera parameters, `metadata.json` per room, and `pairs.txt`."""
    lines: list[str] = []
    for of_room in pool.map(_write_room, room_jobs(folder, spec, seed), chunksize=4):
        lines += of_room
        advance(len(of_room))
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def room_jobs(folder: Path, spec: HabitatMini, seed: int) -> list[RoomJob]:
    """The jobs of all rooms."""
    jobs = []
    for number, first in enumerate(range(0, spec.pairs, spec.pairs_per_scene)):
        pairs = min(spec.pairs_per_scene, spec.pairs - first)
        jobs.append(RoomJob(folder, f"{number:05d}", room_seed(seed, "habitat", number), pairs, spec.side))
    return jobs


def pairs_of(scene: Scene, job: RoomJob) -> Iterator[tuple[str, RenderedViews]]:
    """The pairs of a job, each with the stem of its file names; equal for all layouts with these pairs."""
    rng = make_rng(job.seed, "pairs")
    for index in range(job.pairs):
        yield f"{index:08d}", make_pair(scene, (job.side, job.side), rng)


def _write_room(job: RoomJob) -> list[str]:
    """Renders and writes the pairs of one room; returns their lines of `pairs.txt`."""
    name = f"rooms/train/{job.room}"
    folder = job.folder / name
    folder.mkdir(parents=True)
    scene = make_scene(job.seed)
    lines, multiviews = [], {}
    for stem, pair in pairs_of(scene, job):
        for number, view in enumerate((pair.view1, pair.view2), start=1):
            write_image(folder / f"{stem}_{number}.jpeg", view.rgb)
            parameters = json.dumps(_camera_parameters(view.camera))
            (folder / f"{stem}_{number}_camera_params.json").write_text(parameters, encoding="utf-8")
        multiviews[stem] = _pair_metadata(pair)
        lines.append(f"{name}/{stem}_1.jpeg {name}/{stem}_2.jpeg")
    metadata = json.dumps(_room_metadata(scene, job, multiviews))
    (folder / "metadata.json").write_text(metadata, encoding="utf-8")
    return lines


def _camera_parameters(camera: Camera) -> dict[str, Any]:
    return {
        "camera_intrinsics": camera.K.tolist(),
        "R_cam2world": camera.cam2world[:3, :3].tolist(),
        "t_cam2world": camera.center.tolist(),
    }


def _room_metadata(scene: Scene, job: RoomJob, multiviews: dict[str, Any]) -> dict[str, Any]:
    return {
        "scene_dataset_config_file": "",
        "scene": scene.name,
        "navmesh": "",
        "views_count": 2,
        "size": job.pairs,
        "generate_depth": False,
        "resolution": [job.side, job.side],
        "hfov": FIELD_OF_VIEW_DEG,
        "multiviews": multiviews,
    }


def _pair_metadata(pair: RenderedViews) -> dict[str, Any]:
    """Poses (quaternions w, x, y, z), co-visibility in both directions, share of pixels with depth."""
    views = (pair.view1, pair.view2)
    quaternions = [Rotation.from_matrix(view.camera.cam2world[:3, :3]).as_quat() for view in views]
    first, second = pair.covisibility
    return {
        "positions": [view.camera.center.tolist() for view in views],
        "orientations": [[float(w), float(x), float(y), float(z)] for x, y, z, w in quaternions],
        "covisibility_ratios": [first, second],
        "valid_fractions": [float(np.isfinite(view.depth_m).mean()) for view in views],
        "pairwise_visibility_ratios": [[1.0, first], [second, 1.0]],
    }


MINIATURE = Miniature(
    name="habitat_release",
    write=write_habitat,
    default=HabitatMini(),
    tiny=HabitatMini(pairs=6, pairs_per_scene=2, side=40),
    count=lambda spec: spec.pairs,
)
