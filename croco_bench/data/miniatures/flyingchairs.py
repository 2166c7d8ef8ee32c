"""Writes pairs of views of rooms in which chairs, balls and boxes fly, in the layout of FlyingChairs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from croco_bench.data.formats.flow import write_flo
from croco_bench.data.miniatures.habitat import write_image
from croco_bench.data.rooms.camera import Camera, has_free_sight, nudge, sample_camera
from croco_bench.data.rooms.flying_objects import FlyingObjects, add_flying_objects
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.motion import FlowTruth, Frame, Motion, Shot, flow_truth
from croco_bench.data.rooms.render import render
from croco_bench.data.rooms.scene import Scene
from croco_bench.errors import DataError, UsageError
from croco_bench.seeding import derive, make_rng

# With it, flow has the size that the pairs of `rooms/habitat` have, whose focal length is less.
_STRENGTH = 0.7
_FLYING = FlyingObjects(max_count=4, speed_px=4.0, turn_deg=10.0)
_MOST_OCCLUDED = 0.5


@dataclass(frozen=True)
class FlyingChairsMini:
    """How many pairs, how many of each room, and their size (pixels). The real one has 22,232 + 640 pairs of 384x512."""

    train: int = 1500
    val: int = 60
    pairs_per_scene: int = 3
    height: int = 72
    width: int = 96

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 2:
            raise UsageError("flyingchairs: height and width must be at least 2 pixels")
        if self.train + self.val > 99999:
            raise UsageError("flyingchairs: train and val must be at most 99999 pairs, which five digits can number")


Job = tuple[str, int, tuple[int, ...], FlyingChairsMini]


def write_flyingchairs(
    folder: Path, spec: FlyingChairsMini, seed: int, pool: Executor, advance: Callable[[int], None]
) -> None:
    """Writes `data/%05d_{img1.ppm,img2.ppm,flow.flo}` from 1 on, and `chairs_split.txt`: a line per pair, 1 train, 2 val.

    Validation pairs are spread evenly among the others; no room is in both splits.
    """
    (folder / "data").mkdir()
    splits = _splits(spec)
    (folder / "chairs_split.txt").write_text("".join(f"{split}\n" for split in splits), encoding="utf-8")
    jobs: list[Job] = []
    for split in (1, 2):
        numbers = [number for number, its in enumerate(splits, start=1) if its == split]
        for first in range(0, len(numbers), spec.pairs_per_scene):
            some = tuple(numbers[first : first + spec.pairs_per_scene])
            jobs.append((str(folder / "data"), derive(seed, "flyingchairs", split, first) % 2**32, some, spec))
    for pairs in pool.map(_write_room, jobs, chunksize=4):
        advance(pairs)


def _splits(spec: FlyingChairsMini) -> list[int]:
    """1 or 2 for every pair."""
    total = spec.train + spec.val
    before = [spec.val * number // total for number in range(total + 1)]
    return [1 + after - one for one, after in pairwise(before)]


def _write_room(job: Job) -> int:
    """Renders and writes the pairs of one room; returns how many."""
    folder, seed, numbers, spec = job
    scene, rng = make_scene(seed), make_rng(seed, "pairs")
    for number in numbers:
        first, second, truth = make_flow_pair(scene, (spec.height, spec.width), rng)
        for which, frame in enumerate((first, second), start=1):
            image = render(frame.scene, frame.camera).rgb
            write_image(Path(folder) / f"{number:05d}_img{which}.ppm", image[:, :, ::-1])
        write_flo(Path(folder) / f"{number:05d}_flow.flo", truth.flow_px)
    return len(numbers)


def make_flow_pair(scene: Scene, size: tuple[int, int], rng: np.random.Generator) -> tuple[Frame, Frame, FlowTruth]:
    """Two frames between which one to four things and the camera have moved, and the flow, known everywhere.

    Raises:
        DataError: two hundred tries found none, which no room of the generator should cause.
    """
    for _ in range(200):
        camera = sample_camera(scene, size, rng)
        later = nudge(camera, rng, _STRENGTH)
        if not has_free_sight(scene, later):
            continue
        still = Shot.static(scene, camera, _between(camera, later))
        shot = add_flying_objects(still, (0, 1), _FLYING, rng)
        first, second = shot.frame(0), shot.frame(1)
        if all(has_free_sight(frame.scene, frame.camera) for frame in (first, second)):
            truth = flow_truth(shot, first, second)
            if truth.known.all() and truth.occluded.mean() < _MOST_OCCLUDED:
                return first, second, truth
    raise DataError(f"no pair of views was found in {scene.name}")


def _between(camera: Camera, later: Camera) -> Motion:
    """The camera's motion within one frame."""
    turn = later.cam2world[:3, :3] @ camera.cam2world[:3, :3].T
    return Motion(
        pivot=camera.center[None],
        velocity=(later.center - camera.center)[None],
        acceleration=np.zeros((1, 3)),
        spin=Rotation.from_matrix(turn).as_rotvec()[None],
    )
