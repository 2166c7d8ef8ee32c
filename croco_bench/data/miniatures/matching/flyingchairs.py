"""Writes pairs of views of rooms with flying objects in the layout of FlyingChairs."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from croco_bench.data.formats.flow import write_flo
from croco_bench.data.formats.images import write_image
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.rooms.camera import Camera, has_free_sight, nudge, sample_camera
from croco_bench.data.rooms.flying_objects import FlyingObjects, add_flying_objects
from croco_bench.data.rooms.generator import make_scene, room_seed
from croco_bench.data.rooms.motion import FlowTruth, Frame, Motion, Shot, flow_truth
from croco_bench.data.rooms.render import render
from croco_bench.data.rooms.scene import Scene
from croco_bench.errors import DataError, UsageError
from croco_bench.seeding import make_rng
from croco_bench.types import Size

# Flow is then about as large as that of the pairs of `habitat_release`.
_STRENGTH = 0.7
_FLYING = FlyingObjects(max_count=4, speed_px=4.0, turn_deg=10.0)
_MAX_OCCLUDED = 0.5
_TRAIN, _VAL = 1, 2


@dataclass(frozen=True)
class FlyingChairsMini:
    """Numbers of pairs, in all and per room, and their size in pixels. The release has 22,232 + 640 pairs of 384x512."""

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


@dataclass(frozen=True)
class RoomJob:
    """The pairs `numbers` (from 1 on) of one room, in the folder `data`."""

    data: Path
    seed: int
    numbers: tuple[int, ...]
    spec: FlyingChairsMini


def write_flyingchairs(folder: Path, spec: FlyingChairsMini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes `data/%05d_{img1.ppm,img2.ppm,flow.flo}` from 1 on, and `chairs_split.txt`: a line per pair, 1 train, 2 val.

    Validation pairs are spread evenly among the others; no room is in both splits.
    """
    (folder / "data").mkdir()
    lines = [f"{split}\n" for split in splits(spec)]
    (folder / "chairs_split.txt").write_text("".join(lines), encoding="utf-8")
    for pairs in pool.map(_write_room, room_jobs(folder, spec, seed), chunksize=4):
        advance(pairs)


def splits(spec: FlyingChairsMini) -> list[int]:
    """The split of every pair: 1 train, 2 val."""
    total = spec.train + spec.val
    val_before = [spec.val * number // total for number in range(total + 1)]
    return [_TRAIN + after - before for before, after in pairwise(val_before)]


def room_jobs(folder: Path, spec: FlyingChairsMini, seed: int) -> list[RoomJob]:
    """The jobs of all rooms, each with pairs of one split."""
    of_pairs, jobs = splits(spec), []
    for split in (_TRAIN, _VAL):
        numbers = [number for number, of_pair in enumerate(of_pairs, start=1) if of_pair == split]
        for first in range(0, len(numbers), spec.pairs_per_scene):
            some = tuple(numbers[first : first + spec.pairs_per_scene])
            jobs.append(RoomJob(folder / "data", room_seed(seed, "flyingchairs", split, first), some, spec))
    return jobs


def _write_room(job: RoomJob) -> int:
    """Renders and writes the pairs of one room; returns their number."""
    scene, rng = make_scene(job.seed), make_rng(job.seed, "pairs")
    for number in job.numbers:
        first, second, truth = make_flow_pair(scene, (job.spec.height, job.spec.width), rng)
        for index, frame in enumerate((first, second), start=1):
            write_image(job.data / f"{number:05d}_img{index}.ppm", render(frame.scene, frame.camera).rgb)
        write_flo(job.data / f"{number:05d}_flow.flo", truth.flow_px)
    return len(job.numbers)


def make_flow_pair(scene: Scene, size: Size, rng: np.random.Generator) -> tuple[Frame, Frame, FlowTruth]:
    """Samples two frames with one to four flying objects and a moving camera, and flow that is known everywhere.

    Raises:
        DataError: 200 attempts failed, which doesn't happen in rooms of `make_scene`.
    """
    for _ in range(200):
        camera = sample_camera(scene, size, rng)
        later = nudge(camera, rng, _STRENGTH)
        if not has_free_sight(scene, later):
            continue
        static = Shot.static(scene, camera, _motion_between(camera, later))
        shot = add_flying_objects(static, (0, 1), _FLYING, rng)
        first, second = shot.frame(0), shot.frame(1)
        if all(has_free_sight(frame.scene, frame.camera) for frame in (first, second)):
            truth = flow_truth(shot, first, second)
            if truth.known.all() and truth.occluded.mean() < _MAX_OCCLUDED:
                return first, second, truth
    raise DataError(f"no pair of views was found in {scene.name}")


def _motion_between(camera: Camera, later: Camera) -> Motion:
    """The motion from one camera to another within one frame."""
    rotation = later.cam2world[:3, :3] @ camera.cam2world[:3, :3].T
    return Motion(
        pivot=camera.center[None],
        velocity=(later.center - camera.center)[None],
        acceleration=np.zeros((1, 3)),
        spin=Rotation.from_matrix(rotation).as_rotvec()[None],
    )


MINIATURE = Miniature(
    name="flyingchairs",
    write=write_flyingchairs,
    default=FlyingChairsMini(),
    tiny=FlyingChairsMini(train=12, val=4, pairs_per_scene=3, height=40, width=56),
    count=lambda spec: spec.train + spec.val,
)
