"""Writes rooms in Taskonomy's layout, with a folder per domain and lists of views as in MultiMAE."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from croco_bench.data.formats.images import write_image
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.rooms import mid_level_cues
from croco_bench.data.rooms.camera import sample_camera
from croco_bench.data.rooms.classes import ID
from croco_bench.data.rooms.generator import make_scene, room_seed
from croco_bench.data.rooms.render import View, render
from croco_bench.data.rooms.scene import Scene
from croco_bench.errors import UsageError
from croco_bench.seeding import make_rng
from croco_bench.types import Array

_UNITS_PER_M = 512.0
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class TaskonomyMini:
    """Numbers of views, in all and per building of each split, and their side in pixels.

    MultiMAE uses 800 + 200 + 54,514 views of 512x512.
    """

    train: int = 400
    val: int = 60
    test: int = 200
    views_per_building: int = 5
    test_views_per_building: int = 1
    side: int = 96

    def __post_init__(self) -> None:
        if self.side < 16:
            raise UsageError("taskonomy: side must be at least 16 pixels")


@dataclass(frozen=True)
class _Job:
    """The views of one building, which is one room."""

    folder: Path
    building: str
    seed: int
    views: int
    side: int


def write_taskonomy(folder: Path, spec: TaskonomyMini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes `<domain>/<building>/point_<p>_view_<v>_domain_<domain>.png` for colour, masks and eight domains, and the CSVs.

    A building is one room and belongs to one split. Every view is of its own point. Windows are invalid, as scanners see
    through glass.
    """
    jobs: list[_Job] = []
    for split in _SPLITS:
        of_split = _jobs(folder, spec, split, seed)
        rows = [f"{job.building},{point},0" for job in of_split for point in range(job.views)]
        lines = ["building,point,view", *rows]
        (folder / f"tiny_{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        jobs += of_split
    for views in pool.map(_write_building, jobs, chunksize=2):
        advance(views)


def _jobs(folder: Path, spec: TaskonomyMini, split: str, seed: int) -> list[_Job]:
    total: int = getattr(spec, split)
    of_building = spec.test_views_per_building if split == "test" else spec.views_per_building
    return [
        _Job(
            folder=folder,
            building=f"room{split}{number:04d}",
            seed=room_seed(seed, "taskonomy", split, number),
            views=min(of_building, total - first),
            side=spec.side,
        )
        for number, first in enumerate(range(0, total, of_building))
    ]


def _write_building(job: _Job) -> int:
    """Renders and writes the views of one building; returns their number."""
    scene, rng = make_scene(job.seed), make_rng(job.seed, "cameras")
    for point in range(job.views):
        view = render(scene, sample_camera(scene, (job.side, job.side), rng))
        for (domain, name), image in _images(scene, view).items():
            folder = job.folder / domain / job.building
            folder.mkdir(parents=True, exist_ok=True)
            write_image(folder / f"point_{point}_view_0_domain_{name}.png", image)
    return job.views


def _images(scene: Scene, view: View) -> dict[tuple[str, str], Array]:
    """(folder, domain in the file name) -> image, for all domains of a view."""
    hit = np.isfinite(view.depth_m)
    depth = np.where(hit, view.depth_m, 65535 / _UNITS_PER_M)
    curvature = np.zeros((*depth.shape, 3))
    curvature[:, :, :2] = mid_level_cues.curvature(scene, view)
    in_16_bits = {
        "depth_zbuffer": depth * _UNITS_PER_M / 65535,
        "edge_texture": mid_level_cues.texture_edges(view.rgb),
        "edge_occlusion": mid_level_cues.occlusion_edges(depth),
        "keypoints2d": mid_level_cues.keypoints2d(view.rgb),
        "keypoints3d": mid_level_cues.keypoints3d(view.normals),
    }
    in_8_bits = {
        "principal_curvature": curvature,
        "normal": mid_level_cues.encoded_normals(view.normals),
        "reshading": np.repeat(mid_level_cues.reshading(view)[:, :, None], 3, axis=2),
    }
    return {
        ("rgb", "rgb"): view.rgb,
        ("mask_valid", "depth_zbuffer"): np.where(hit & (view.semantic != ID["window"]), 255, 0).astype(np.uint8),
        **{(name, name): np.rint(np.clip(share, 0, 1) * 65535).astype(np.uint16) for name, share in in_16_bits.items()},
        **{(name, name): np.rint(share * 255).astype(np.uint8) for name, share in in_8_bits.items()},
    }


MINIATURE = Miniature(
    name="taskonomy",
    write=write_taskonomy,
    default=TaskonomyMini(),
    tiny=TaskonomyMini(train=12, val=4, test=6, views_per_building=2, test_views_per_building=2, side=40),
    count=lambda spec: spec.train + spec.val + spec.test,
)
