"""Writes pairs of views of rooms in the layout of MegaDepth-1500: images of many sizes, lengths in a unit of each scene."""

from __future__ import annotations

import pickle
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from croco_bench.data.datasets.megadepth1500 import LISTS
from croco_bench.data.formats.arrays import write_hdf5
from croco_bench.data.formats.images import write_image
from croco_bench.data.miniatures.correspondence.scannet1500 import pairs_that_share
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.miniatures.seven_scenes import millimeters, shared_view
from croco_bench.data.rooms.camera import Camera
from croco_bench.data.rooms.generator import make_scene, room_seed
from croco_bench.data.rooms.render import render
from croco_bench.data.rooms.trajectory import sample_trajectory
from croco_bench.errors import UsageError
from croco_bench.seeding import make_rng
from croco_bench.types import Array, Size

# Scenes with the metres per unit of their poses, and the shares of a view that pairs of the release's lists have in common.
_UNITS_M = {"0015": 0.4, "0022": 2.5}
_LISTS = {"0015": ((0.1, 0.3), (0.3, 0.5)), "0022": ((0.1, 0.3), (0.3, 0.5), (0.5, 0.7))}
# Focal length as a share of the longer side.
_FOCAL = 0.9
# From pixels with centers at integers to those that count from the image's corner.
_TO_CORNER = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])


@dataclass(frozen=True)
class MegaDepthMini:
    """Numbers of images per scene and of pairs per list, and the longer side of images in pixels.

    The release has two scenes with five lists of 300 pairs, and images of up to 1600 pixels.
    """

    images: int = 16
    pairs: int = 12
    side: int = 320

    def __post_init__(self) -> None:
        if self.images < 2:
            raise UsageError("megadepth1500: images must be at least 2, as pairs are of two")


@dataclass(frozen=True)
class _Job:
    root: Path
    scene: str
    seed: int
    spec: MegaDepthMini


def write_megadepth1500(folder: Path, spec: MegaDepthMini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes `Undistorted_SfM`, depth maps below `phoenix`, and the lists of pairs."""
    (folder / LISTS).mkdir()
    jobs = [_Job(folder, scene, room_seed(seed, "megadepth1500", int(scene)), spec) for scene in _UNITS_M]
    for written in pool.map(_write_scene, jobs):
        advance(written)


def _write_scene(job: _Job) -> int:
    """Renders and writes the images of a scene and its lists; returns the number of images."""
    scene, spec = make_scene(job.seed), job.spec
    sizes = _sizes(spec.side, spec.images)
    whole = (spec.side * 3 // 4, spec.side)
    rng = make_rng(job.seed, "trajectory")
    cameras = sample_trajectory(scene, spec.images, _intrinsics(whole), whole, rng)
    folders = {"images": f"Undistorted_SfM/{job.scene}/images"}
    folders["depths"] = f"phoenix/S6/zl548/MegaDepth_v1/{job.scene}/dense0/depths"
    for name in folders.values():
        (job.root / name).mkdir(parents=True)
    for index, (camera, size) in enumerate(zip(cameras, sizes, strict=True)):
        view = render(scene, replace(camera, K=_intrinsics(size), size=size))
        write_image(job.root / folders["images"] / f"{index}_o.jpg", view.rgb)
        known = millimeters(view.depth_m) > 0
        depth = np.where(known, view.depth_m / _UNITS_M[job.scene], 0).astype(np.float32)
        write_hdf5(job.root / folders["depths"] / f"{index}_o.h5", "depth", depth)
    shared = shared_view(scene, cameras, cameras)
    for low, high in _LISTS[job.scene]:
        content = _list(job.scene, folders, cameras, sizes)
        content["pair_infos"] = [
            (np.array(pair), shared[pair], np.zeros(4)) for pair in pairs_that_share(shared, (low, high), spec.pairs)
        ]
        path = job.root / LISTS / f"{job.scene}_{low}_{high}.npz"
        path.write_bytes(pickle.dumps(content, protocol=4))
    return len(cameras)


def _sizes(side: int, count: int) -> list[Size]:
    """Landscape and portrait images of several shapes."""
    shorter = (3 * side // 4, 2 * side // 3, 7 * side // 8)
    return [(shorter[i % 3], side) if i % 4 else (side, shorter[i % 3]) for i in range(count)]


def _intrinsics(size: Size) -> Array:
    """(3, 3) for pixels with centers at integers."""
    focal = _FOCAL * max(size)
    return np.array([[focal, 0, (size[1] - 1) / 2], [0, focal, (size[0] - 1) / 2], [0, 0, 1]])


def _list(scene: str, folders: dict[str, str], cameras: list[Camera], sizes: list[Size]) -> dict[str, object]:
    """The arrays of a list of LoFTR, one object per image; the middle of the first pixel is at (0.5, 0.5)."""
    poses = [np.linalg.inv(_scaled(camera.cam2world, _UNITS_M[scene])) for camera in cameras]
    K = [_TO_CORNER @ _intrinsics(size) for size in sizes]
    return {
        "image_paths": _objects([f"{folders['images']}/{i}_o.jpg" for i in range(len(cameras))]),
        "depth_paths": _objects([f"{folders['depths']}/{i}_o.h5" for i in range(len(cameras))]),
        "intrinsics": _objects(K),
        "poses": _objects(poses),
    }


def _scaled(cam2world: Array, unit_m: float) -> Array:
    scaled = cam2world.copy()
    scaled[:3, 3] /= unit_m
    return scaled


def _objects(values: list[object] | list[str] | list[Array]) -> Array:
    """An array of objects (n,)."""
    found = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        found[index] = value
    return found


MINIATURE = Miniature(
    name="megadepth1500",
    write=write_megadepth1500,
    default=MegaDepthMini(),
    tiny=MegaDepthMini(images=3, pairs=2, side=64),
    count=lambda spec: len(_UNITS_M) * spec.images,
)
