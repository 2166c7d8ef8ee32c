"""Writes pairs of views in the layout of CroCo's Habitat release."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from croco_bench.data.rooms.camera import FIELD_OF_VIEW_DEG, Camera
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.render import RenderedViews, make_pair
from croco_bench.data.rooms.scene import Scene
from croco_bench.errors import DataError
from croco_bench.seeding import derive, make_rng


@dataclass(frozen=True)
class HabitatMini:
    """How many pairs, how many of each room, and the side of the square images (pixels). The real one has 1.8 M of 256."""

    pairs: int = 2000
    pairs_per_scene: int = 4
    side: int = 72


Job = tuple[str, str, int, int, int]


def write_habitat(folder: Path, spec: HabitatMini, seed: int, pool: Executor, advance: Callable[[int], None]) -> None:
    """Writes `rooms/train/<scene>/%08d_{1,2}.jpeg` with camera parameters, `metadata.json` per scene, and `pairs.txt`."""
    lines: list[str] = []
    for found in pool.map(_write_scene, room_jobs(folder, spec, seed), chunksize=4):
        lines += found
        advance(len(found))
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def room_jobs(folder: Path, spec: HabitatMini, seed: int) -> list[Job]:
    """One per room: the dataset's folder, the room's number (five digits), its seed, how many pairs, their side."""
    jobs = []
    for number, first in enumerate(range(0, spec.pairs, spec.pairs_per_scene)):
        count = min(spec.pairs_per_scene, spec.pairs - first)
        jobs.append((str(folder), f"{number:05d}", derive(seed, "habitat", number) % 2**32, count, spec.side))
    return jobs


def pairs_of(scene: Scene, job: Job) -> Iterator[tuple[str, RenderedViews]]:
    """The pairs of a job's room, each with the beginning of its files' names: the same ones for every layout."""
    _, _, seed, count, side = job
    rng = make_rng(seed, "pairs")
    for index in range(count):
        yield f"{index:08d}", make_pair(scene, (side, side), rng)


def write_image(path: Path, image: NDArray[Any]) -> None:
    """An array in OpenCV's channel order; the name's ending says how. JPEG at quality 95.

    Raises:
        DataError: the disk doesn't take it.
    """
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == ".jpeg" else []
    if not cv2.imwrite(str(path), image, quality):
        raise DataError(f"can't write {path}", "is the disk full?")


def _write_scene(job: Job) -> list[str]:
    """Renders and writes one room's pairs; returns their lines of the list."""
    root, room, seed, count, side = job
    name = f"rooms/train/{room}"
    folder = Path(root) / name
    folder.mkdir(parents=True)
    scene = make_scene(seed)
    lines, multiviews = [], {}
    for stem, pair in pairs_of(scene, job):
        for number, view in enumerate((pair.view1, pair.view2), start=1):
            write_image(folder / f"{stem}_{number}.jpeg", view.rgb[:, :, ::-1])
            facts = json.dumps(_camera_facts(view.camera))
            (folder / f"{stem}_{number}_camera_params.json").write_text(facts, encoding="utf-8")
        multiviews[stem] = _pair_facts(pair)
        lines.append(f"{name}/{stem}_1.jpeg {name}/{stem}_2.jpeg")
    metadata = {
        "scene_dataset_config_file": "",
        "scene": scene.name,
        "navmesh": "",
        "views_count": 2,
        "size": count,
        "generate_depth": False,
        "resolution": [side, side],
        "hfov": FIELD_OF_VIEW_DEG,
        "multiviews": multiviews,
    }
    (folder / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    return lines


def _camera_facts(camera: Camera) -> dict[str, Any]:
    return {
        "camera_intrinsics": camera.K.tolist(),
        "R_cam2world": camera.cam2world[:3, :3].tolist(),
        "t_cam2world": camera.center.tolist(),
    }


def _pair_facts(pair: RenderedViews) -> dict[str, Any]:
    """Poses (quaternions w, x, y, z), co-visibility both ways, share of pixels with depth."""
    views = (pair.view1, pair.view2)
    turns = [Rotation.from_matrix(view.camera.cam2world[:3, :3]).as_quat() for view in views]
    first, second = pair.covisibility
    return {
        "positions": [view.camera.center.tolist() for view in views],
        "orientations": [[float(q[3]), *(float(part) for part in q[:3])] for q in turns],
        "covisibility_ratios": [first, second],
        "valid_fractions": [float(np.isfinite(view.depth_m).mean()) for view in views],
        "pairwise_visibility_ratios": [[1.0, first], [second, 1.0]],
    }
