"""Writes rooms in Taskonomy's layout, task by task as MultiMAE reads it, with its lists of views."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from croco_bench.data.miniatures.habitat import write_image
from croco_bench.data.rooms import mid_level_cues
from croco_bench.data.rooms.camera import sample_camera
from croco_bench.data.rooms.classes import ID
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.render import View, render
from croco_bench.data.rooms.scene import Scene
from croco_bench.errors import UsageError
from croco_bench.seeding import derive, make_rng
from croco_bench.types import Array

_UNITS_PER_M = 512.0
_PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class TaskonomyMini:
    """How many views, how many of each building, their side in pixels. MultiMAE uses 800 + 200 + 54,514 of 512x512."""

    train: int = 400
    val: int = 60
    test: int = 200
    views_per_building: int = 5
    side: int = 96

    def __post_init__(self) -> None:
        if self.side < 16:
            raise UsageError("taskonomy: side must be at least 16 pixels")


Job = tuple[str, str, int, int, int]


def write_taskonomy(
    folder: Path, spec: TaskonomyMini, seed: int, pool: Executor, advance: Callable[[int], None]
) -> None:
    """Writes `<domain>/<building>/point_<p>_view_<v>_domain_<domain>.png` for colour, eight domains and masks, and the CSVs.

    A building is one room and lies in one split; every view has a point of its own. Windows are invalid: scanners see
    through glass.
    """
    jobs: list[Job] = []
    for part in _PARTS:
        count, rows = getattr(spec, part), ["building,point,view"]
        for number, first in enumerate(range(0, count, spec.views_per_building)):
            building, views = f"room{part}{number:04d}", min(spec.views_per_building, count - first)
            jobs.append((str(folder), building, derive(seed, "taskonomy", part, number) % 2**32, views, spec.side))
            rows += [f"{building},{point},0" for point in range(views)]
        (folder / f"tiny_{part}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for views in pool.map(_write_building, jobs, chunksize=2):
        advance(views)


def _write_building(job: Job) -> int:
    root, building, seed, count, side = job
    scene, rng = make_scene(seed), make_rng(seed, "cameras")
    for point in range(count):
        view = render(scene, sample_camera(scene, (side, side), rng))
        for (domain, name), image in _images(scene, view).items():
            place = Path(root) / domain / building
            place.mkdir(parents=True, exist_ok=True)
            write_image(place / f"point_{point}_view_0_domain_{name}.png", image)
    return count


def _images(scene: Scene, view: View) -> dict[tuple[str, str], Array]:
    """Folder and name -> what the file holds, colours in OpenCV's order."""
    hit = np.isfinite(view.depth_m)
    depth = np.where(hit, view.depth_m, 65535 / _UNITS_PER_M)
    curvature = np.zeros((*depth.shape, 3))
    curvature[:, :, :2] = mid_level_cues.curvature(scene, view)
    wide = {
        "depth_zbuffer": depth * _UNITS_PER_M / 65535,
        "edge_texture": mid_level_cues.texture_edges(view.rgb),
        "edge_occlusion": mid_level_cues.occlusion_edges(depth),
        "keypoints2d": mid_level_cues.keypoints2d(view.rgb),
        "keypoints3d": mid_level_cues.keypoints3d(view.normals),
    }
    narrow = {
        "principal_curvature": curvature[:, :, ::-1],
        "normal": mid_level_cues.encoded_normals(view.normals)[:, :, ::-1],
        "reshading": np.repeat(mid_level_cues.reshading(view)[:, :, None], 3, axis=2),
    }
    return {
        ("rgb", "rgb"): view.rgb[:, :, ::-1],
        ("mask_valid", "depth_zbuffer"): np.where(hit & (view.semantic != ID["window"]), 255, 0).astype(np.uint8),
        **{(name, name): np.rint(np.clip(share, 0, 1) * 65535).astype(np.uint16) for name, share in wide.items()},
        **{(name, name): np.rint(share * 255).astype(np.uint8) for name, share in narrow.items()},
    }
