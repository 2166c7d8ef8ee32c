"""Writes pairs of views in the layout of CroCo's Habitat release."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from croco_bench.data.rooms.camera import FIELD_OF_VIEW_DEG, Camera
from croco_bench.data.rooms.render import ViewPair, make_pair
from croco_bench.data.rooms.scene import make_scene
from croco_bench.errors import DataError
from croco_bench.seeding import derive, generator


@dataclass(frozen=True)
class HabitatMini:
    """How many pairs, how many of each room, and the side of the square images (pixels). The real one has 1.8 M of 256."""

    pairs: int = 2000
    pairs_per_scene: int = 4
    side: int = 80


Job = tuple[str, str, int, int, int]


def write_habitat(folder: Path, spec: HabitatMini, seed: int, pool: Executor, advance: Callable[[int], None]) -> None:
    """Writes `rooms/train/<scene>/%08d_{1,2}.jpeg` with camera parameters, `metadata.json` per scene, and `pairs.txt`."""
    jobs: list[Job] = []
    for number, first in enumerate(range(0, spec.pairs, spec.pairs_per_scene)):
        count = min(spec.pairs_per_scene, spec.pairs - first)
        scene = f"rooms/train/{number:05d}"
        jobs.append((str(folder), scene, derive(seed, "habitat", number) % 2**32, count, spec.side))
    lines: list[str] = []
    for found in pool.map(_write_scene, jobs, chunksize=4):
        lines += found
        advance(len(found))
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_scene(job: Job) -> list[str]:
    """Renders and writes one room's pairs; returns their lines of the list."""
    root, name, seed, count, side = job
    folder = Path(root) / name
    folder.mkdir(parents=True)
    scene, random = make_scene(seed), generator(seed, "pairs")
    lines, multiviews = [], {}
    for index in range(count):
        pair = make_pair(scene, (side, side), random)
        stem = f"{index:08d}"
        for number, view in enumerate((pair.view1, pair.view2), start=1):
            image = folder / f"{stem}_{number}.jpeg"
            if not cv2.imwrite(str(image), view.rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95]):
                raise DataError(f"can't write {image}; is the disk full?")
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
        "t_cam2world": camera.centre.tolist(),
    }


def _pair_facts(pair: ViewPair) -> dict[str, Any]:
    """Poses (quaternions w, x, y, z), co-visibility both ways, share of pixels with depth."""
    views = (pair.view1, pair.view2)
    turns = [Rotation.from_matrix(view.camera.cam2world[:3, :3]).as_quat() for view in views]
    first, second = pair.covisibility
    return {
        "positions": [view.camera.centre.tolist() for view in views],
        "orientations": [[float(q[3]), *(float(part) for part in q[:3])] for q in turns],
        "covisibility_ratios": [first, second],
        "valid_fractions": [float(np.isfinite(view.depth_m).mean()) for view in views],
        "pairwise_visibility_ratios": [[1.0, first], [second, 1.0]],
    }
