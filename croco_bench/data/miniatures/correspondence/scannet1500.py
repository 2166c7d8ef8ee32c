"""Writes pairs of views of rooms in the layout of ScanNet-1500, with depth maps."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from croco_bench.data.datasets.scannet1500 import SIZE
from croco_bench.data.formats.images import write_image
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.miniatures.seven_scenes import millimeters, shared_view
from croco_bench.data.posed.sequences import seven_scenes_intrinsics
from croco_bench.data.rooms.camera import Camera
from croco_bench.data.rooms.generator import make_scene, room_seed
from croco_bench.data.rooms.render import render
from croco_bench.data.rooms.scene import Scene
from croco_bench.data.rooms.trajectory import sample_trajectory
from croco_bench.errors import UsageError
from croco_bench.seeding import make_rng
from croco_bench.types import Array

# Shares of a view that the other one of a pair may show, as SuperGlue chose the release's pairs.
_SHARED = (0.4, 0.8)
_FIRST_SCENE, _EVERY = 707, 15


@dataclass(frozen=True)
class ScanNetMini:
    """Numbers of scenes (a room each), frames per scene and pairs per scene, and size of color images in pixels.

    Depth maps have ScanNet's 480x640. The release has 100 scenes of 15 pairs, and color images of 968x1296.
    """

    scenes: int = 8
    frames: int = 12
    pairs: int = 10
    height: int = 120
    width: int = 160

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise UsageError("scannet1500: frames must be at least 2, as pairs are of two")


@dataclass(frozen=True)
class _Job:
    folder: Path
    seed: int
    spec: ScanNetMini


def write_scannet1500(folder: Path, spec: ScanNetMini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes `scannet_test_1500/<scene>/{color,depth,pose,intrinsic}` and the list of pairs, `test.npz`."""
    numbers = range(_FIRST_SCENE, _FIRST_SCENE + spec.scenes)
    jobs = [
        _Job(folder / f"scannet_test_1500/scene{number:04d}_00", room_seed(seed, "scannet1500", number), spec)
        for number in numbers
    ]
    listed = []
    for number, pairs in zip(numbers, pool.map(_write_scene, jobs), strict=True):
        listed += [(number, 0, _EVERY * first, _EVERY * second) for first, second in pairs]
        advance(spec.frames)
    np.savez(folder / "test.npz", name=np.array(listed, dtype=np.uint16))


def _write_scene(job: _Job) -> list[tuple[int, int]]:
    """Renders and writes the frames of a scene; returns its pairs."""
    spec, scene = job.spec, make_scene(job.seed)
    K = seven_scenes_intrinsics(SIZE)
    cameras = sample_trajectory(scene, spec.frames, K, SIZE, make_rng(job.seed, "trajectory"))
    for kind in ("color", "depth", "pose", "intrinsic"):
        (job.folder / kind).mkdir(parents=True)
    small = (spec.height, spec.width)
    for index, camera in enumerate(cameras):
        frame = index * _EVERY
        view = render(scene, replace(camera, K=seven_scenes_intrinsics(small), size=small))
        write_image(job.folder / f"color/{frame}.jpg", view.rgb)
        write_image(job.folder / f"depth/{frame}.png", millimeters(_depth_m(scene, camera)), png_compression=3)
        np.savetxt(job.folder / f"pose/{frame}.txt", camera.cam2world, fmt="%.9f")
    whole = np.eye(4)
    whole[:3, :3] = K
    np.savetxt(job.folder / "intrinsic/intrinsic_depth.txt", whole, fmt="%.6f")
    return pairs_that_share(shared_view(scene, cameras, cameras), _SHARED, spec.pairs)


def _depth_m(scene: Scene, camera: Camera) -> Array:
    """Depth (H, W) along the optical axis, infinite without a hit."""
    rays = camera.rays()
    depth, _ = scene.cast(np.broadcast_to(camera.center, rays.shape), rays)
    return np.asarray(depth.reshape(camera.size), dtype=np.float32)


def pairs_that_share(shared: Array, share: tuple[float, float], count: int) -> list[tuple[int, int]]:
    """The pairs of different frames whose shared view (n, n) is nearest to the range `share`, as (first, second)."""
    beyond = np.maximum(share[0] - shared, shared - share[1]).clip(min=0)
    first, second = np.triu_indices(len(shared), k=1)
    order = np.argsort(beyond[first, second], kind="stable")[:count]
    return sorted(zip(first[order].tolist(), second[order].tolist(), strict=True))


MINIATURE = Miniature(
    name="scannet1500",
    write=write_scannet1500,
    default=ScanNetMini(),
    tiny=ScanNetMini(scenes=2, frames=3, pairs=2, height=48, width=64),
    count=lambda spec: spec.scenes * spec.frames,
)
