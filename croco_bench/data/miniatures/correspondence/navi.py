"""Writes pieces of furniture of 30 cm, each in one room and in many, in the layout of NAVI."""

from __future__ import annotations

import json
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from croco_bench.data.formats.images import write_image
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.rooms.camera import Camera
from croco_bench.data.rooms.generator import room_seed
from croco_bench.data.rooms.objects import SHAPES, around, make_object_scene
from croco_bench.data.rooms.render import render
from croco_bench.errors import UsageError
from croco_bench.seeding import make_rng
from croco_bench.types import Array, Size

# Scale of the furniture.
_SIZE_M = 0.3


@dataclass(frozen=True)
class NaviMini:
    """Numbers of objects, of rooms where an object is seen from several sides, of images there, and of images in as many rooms.

    The release has 36 objects, about nine such collections of 25 images of each, and 65 images in other places, of 3024x4032.
    """

    objects: int = 36
    collections: int = 2
    multiview: int = 6
    wild: int = 5
    height: int = 120
    width: int = 160

    def __post_init__(self) -> None:
        if min(self.collections, self.multiview, self.wild) < 2:
            raise UsageError("navi: collections, multiview and wild must be at least 2, as pairs are of two")
        if min(self.height, self.width) < 16:
            raise UsageError("navi: height and width must be at least 16 pixels")


@dataclass(frozen=True)
class _Job:
    """An image of an object in a room; the number is that of the image in its collection."""

    folder: Path
    number: int
    shape: str
    object_seed: int
    room: int
    size: Size


def write_navi(folder: Path, spec: NaviMini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes `<object>/<collection>/{annotations.json,images/000.jpg,depth/000.png}`; depth is known on the object alone."""
    jobs = []
    for index in range(spec.objects):
        shape = list(SHAPES)[index % len(SHAPES)]
        name, object_seed = f"{shape}_{index:02d}", room_seed(seed, "navi", index)
        counts = {f"multiview-{i:02d}-rooms": spec.multiview for i in range(spec.collections)} | {"wild_set": spec.wild}
        for collection, count in counts.items():
            for kind in ("images", "depth"):
                (folder / name / collection / kind).mkdir(parents=True)
            for number in range(count):
                place = number if collection == "wild_set" else 0
                room = room_seed(seed, "navi", index, collection, place)
                size = (spec.height, spec.width)
                jobs.append(_Job(folder / name / collection, number, shape, object_seed, room, size))
    entries: dict[Path, list[dict[str, Any]]] = {}
    for job, entry in zip(jobs, pool.map(_write_image, jobs, chunksize=4), strict=True):
        entries.setdefault(job.folder, []).append(entry)
        advance(1)
    for collection_folder, some in entries.items():
        (collection_folder / "annotations.json").write_text(json.dumps(some), encoding="utf-8")


def _write_image(job: _Job) -> dict[str, Any]:
    """Renders a view; returns its annotation."""
    rng = make_rng(job.object_seed, "view", job.folder.name, job.number)
    scene = make_object_scene(job.shape, job.object_seed, job.room, _SIZE_M)
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(15, 50))
    camera = around(scene, job.size, _SIZE_M * rng.uniform(1.6, 2.2), azimuth, elevation, rng)
    view = render(scene.scene, camera)
    name = f"{job.number:03d}"
    write_image(job.folder / f"images/{name}.jpg", view.rgb)
    write_image(job.folder / f"depth/{name}.png", _disparities(view.depth_m, scene.mask(view)))
    return {
        "object_id": job.folder.parent.name,
        "camera": _camera(camera),
        "filename": f"{name}.jpg",
        "image_size": list(job.size),
        "scene_name": job.folder.name,
        "split": "train",
        "occluded": False,
    }


def _camera(camera: Camera) -> dict[str, Any]:
    """Pose of the object in the camera, in millimetres, and focal length; with nine decimals, equal on all processors."""
    object2camera = np.linalg.inv(camera.cam2world)
    q = np.roll(Rotation.from_matrix(object2camera[:3, :3]).as_quat(), 1)
    t = 1000 * object2camera[:3, 3]
    q, t, focal_px = (np.round(numbers, 9) + 0.0 for numbers in (q, t, camera.K[0, 0]))  # + 0.0: without -0.0
    return {"q": q.tolist(), "t": t.tolist(), "focal_length": float(focal_px), "camera_model": "rooms"}


def _disparities(depth_m: Array, mask: Array) -> Array:
    """NAVI's numbers (H, W) uint16: 655,350 over the depth in millimetres, 0 beside the object."""
    numbers = 655.35 / np.where(mask, depth_m, np.inf)
    return np.rint(np.clip(numbers, 0, 65535)).astype(np.uint16)


MINIATURE = Miniature(
    name="navi",
    write=write_navi,
    default=NaviMini(),
    tiny=NaviMini(objects=2, multiview=3, wild=4, height=40, width=56),
    count=lambda spec: spec.objects * (spec.collections * spec.multiview + spec.wild),
    version=3,
)
