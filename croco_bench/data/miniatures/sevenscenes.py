"""Writes rooms as posed RGB-D video in the layout of 7-Scenes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from scipy.interpolate import CubicSpline

from croco_bench.data.posed.retrieval_lists import HLOC, TOP, write_list, write_maker
from croco_bench.data.posed.sequences import seven_scenes_intrinsics
from croco_bench.data.rooms.camera import Camera, has_free_sight, look, sample_camera
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.render import render, visible_from
from croco_bench.data.rooms.scene import Scene
from croco_bench.errors import DataError, UsageError
from croco_bench.seeding import derive, make_rng
from croco_bench.types import Array

# A camera carried by hand: every so many frames it is about to be somewhere else.
_FRAMES_PER_KNOT = 10
_MAX_DEPTH_MM = 65534
# At full reach it strays so far from where all sequences of its scene are about, and turns so far from where they look.
_AROUND_M, _STEP_M = 0.625, (0.375, 0.875)
_PAN_DEG, _PITCH_DEG, _ROLL_DEG = 22.5, 12.5, 5.0
_DOWN_DEG = 12.0
_GRID = (15, 20)


@dataclass(frozen=True)
class SevenScenesMini:
    """How many scenes (a room each), sequences of each, frames of each, their size (pixels), and the cameras' reach (%).

    The last third of a scene's sequences, at least one, is for testing. The real one has 7 scenes with 2 to 14 sequences
    of 500 or 1000 frames of 480x640. With the default reach, database views are about as near to a query as there, though
    they are fewer; views of one sequence that share only half of what they see take a reach of 100.
    """

    scenes: int = 12
    sequences: int = 3
    frames: int = 30
    height: int = 120
    width: int = 160
    reach: int = 40

    def __post_init__(self) -> None:
        if self.sequences < 2:
            raise UsageError("7scenes: sequences must be at least 2, one for training and one for testing")
        if min(self.height, self.width) < 2:
            raise UsageError("7scenes: height and width must be at least 2 pixels")

    @property
    def tests(self) -> int:
        """How many sequences of a scene are for testing."""
        return max(self.sequences // 3, 1)


Job = tuple[str, int, int, SevenScenesMini]


def write_sevenscenes(
    folder: Path, spec: SevenScenesMini, seed: int, pool: Executor, advance: Callable[[int], None]
) -> None:
    """Writes `room-NN/seq-NN/frame-%06d.{color.png,depth.png,pose.txt}`, `TrainSplit.txt`, `TestSplit.txt`, and a
    retrieval list per scene as hloc has it.

    Depth is in 16-bit millimetres, 0 where it jumps and a sensor would measure nothing. All sequences of a room share its
    world, and see the same part of it. The camera is the one that `seven_scenes_intrinsics` describes.
    """
    lists = folder / HLOC
    lists.mkdir()
    write_maker(lists, "the training frames with which a test frame shares most of its view, from the rooms themselves")
    jobs: list[Job] = []
    for number in range(1, spec.scenes + 1):
        scene = folder / f"room-{number:02d}"
        scene.mkdir()
        lines = [f"sequence{sequence}\n" for sequence in range(1, spec.sequences + 1)]
        (scene / "TrainSplit.txt").write_text("".join(lines[: -spec.tests]), encoding="utf-8")
        (scene / "TestSplit.txt").write_text("".join(lines[-spec.tests :]), encoding="utf-8")
        room = derive(seed, "7scenes", number) % 2**32
        jobs += [(str(scene), room, sequence, spec) for sequence in range(1, spec.sequences + 1)]
    for frames in pool.map(_write_sequence, jobs):
        advance(frames)
    first_jobs = jobs[:: spec.sequences]
    for job, listed in zip(first_jobs, pool.map(_retrieved, first_jobs), strict=True):
        write_list(lists, Path(job[0]).name, listed)


def _write_sequence(job: Job) -> int:
    """Renders and writes one sequence; returns how many frames."""
    parent, room, number, spec = job
    folder = Path(parent) / f"seq-{number:02d}"
    folder.mkdir()
    scene = make_scene(room)
    cameras = _cameras(scene, room, number, spec)
    for index, camera in enumerate(cameras):
        view = render(scene, camera)
        stem = f"frame-{index:06d}"
        _write_png(folder / f"{stem}.color.png", view.rgb[:, :, ::-1])
        _write_png(folder / f"{stem}.depth.png", _millimeters(view.depth_m))
        lines = ["\t".join(f"{value: .9e}" for value in row) for row in camera.cam2world]
        (folder / f"{stem}.pose.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(cameras)


def _cameras(scene: Scene, room: int, number: int, spec: SevenScenesMini) -> list[Camera]:
    """Those of one sequence."""
    stage = CameraAnchor.draw(scene, make_rng(room, "stage"))
    rng = make_rng(room, "trajectory", number)
    return trajectory(scene, spec.frames, (spec.height, spec.width), rng, stage, reach=spec.reach / 100)


def _retrieved(job: Job) -> dict[str, list[str]]:
    """For every test frame of one scene, the training frames that share most of its view, best first."""
    _, room, _, spec = job
    scene = make_scene(room)
    names, cameras = [], []
    for number in range(1, spec.sequences + 1):
        for index, camera in enumerate(_cameras(scene, room, number, spec)):
            names.append(f"seq-{number:02d}/frame-{index:06d}.color.png")
            cameras.append(camera)
    train = (spec.sequences - spec.tests) * spec.frames
    shared = shared_view(scene, cameras[train:], cameras[:train])
    best = np.argsort(-shared, axis=1, kind="stable")[:, :TOP]
    return {query: [names[row] for row in rows] for query, rows in zip(names[train:], best, strict=True)}


def shared_view(scene: Scene, queries: list[Camera], database: list[Camera]) -> Array:
    """(queries, database): the share of one view that the other one sees, the smaller of both directions.

    Measured by rays, exact but for being few: 15 rows of 20.
    """
    there, back = _seen(scene, queries, database), _seen(scene, database, queries)
    least: Array = np.minimum(there, back.T)
    return least


def _seen(scene: Scene, cameras: list[Camera], others: list[Camera]) -> Array:
    """(cameras, others): the share of each camera's view that each other one sees."""
    points = []
    for camera in cameras:
        rays = replace(camera, K=seven_scenes_intrinsics(_GRID), size=_GRID).rays()
        distance, _ = scene.cast(np.broadcast_to(camera.center, rays.shape), rays)
        points.append(camera.center + rays * distance[:, None])
    everything = np.concatenate(points)
    seen = [visible_from(scene, everything, other).reshape(len(cameras), -1).mean(axis=1) for other in others]
    return np.stack(seen, axis=1)


@dataclass(frozen=True)
class CameraAnchor:
    """What all sequences of a scene are about: cameras walk around `home` (3,), metres, and look about `heading`, radians."""

    home: Array
    heading: float

    @classmethod
    def draw(cls, scene: Scene, rng: np.random.Generator) -> CameraAnchor:
        """A place from which there is something to see."""
        camera = sample_camera(scene, (24, 32), rng)
        return cls(camera.center, float(np.arctan2(camera.cam2world[1, 2], camera.cam2world[0, 2])))


def trajectory(
    scene: Scene,
    frames: int,
    size: tuple[int, int],
    rng: np.random.Generator,
    stage: CameraAnchor | None = None,
    *,
    reach: float = 1.0,
) -> list[Camera]:
    """A smooth walk of a hand-held camera: about 5 cm and 2 degrees a frame at full reach, always with free sight.

    Raises:
        DataError: no free way was found, which no room of the generator should cause.
    """
    K = seven_scenes_intrinsics(size)
    stage = stage or CameraAnchor.draw(scene, rng)
    tries = 300
    for attempt in range(tries):
        # Ever shorter walks, so that a crowded room has one too.
        path = _path(scene, stage, frames, reach, 1 - attempt / tries, rng)
        cameras = [replace(look(pose[:3], float(pose[3]), float(pose[4]), float(pose[5]), size), K=K) for pose in path]
        if all(has_free_sight(scene, camera) for camera in cameras):
            return cameras
    raise DataError(f"no way for a camera was found through {scene.name}")


def _path(
    scene: Scene, stage: CameraAnchor, frames: int, reach: float, shorter: float, rng: np.random.Generator
) -> Array:
    """(frames, 6): x, y, z in metres, yaw, pitch, roll in radians. A spline through places between which it wanders."""
    knots, far = max(-(-frames // _FRAMES_PER_KNOT), 2) + 1, reach * shorter
    walls = np.array([[0.5, 0.5, 1.1], [scene.size[0] - 0.5, scene.size[1] - 0.5, 1.8]])
    low, high = np.clip(stage.home + far * _AROUND_M * np.array([[-1], [1]]), *walls)
    place, pan = rng.uniform(low, high), float(rng.uniform(-_PAN_DEG, _PAN_DEG))
    poses = []
    for _ in range(knots):
        pitch = np.radians(rng.uniform(-reach * _PITCH_DEG, reach * _PITCH_DEG) - _DOWN_DEG)
        roll = np.radians(rng.normal(0, reach * _ROLL_DEG))
        poses.append([*place, stage.heading + far * np.radians(pan), pitch, roll])
        step = rng.normal(0, 1, 3) * (1, 1, 0.3)
        place = np.clip(place + far * rng.uniform(*_STEP_M) * step / np.linalg.norm(step), low, high)
        pan += float(np.clip(rng.uniform(-_PAN_DEG, _PAN_DEG) - pan, -_PAN_DEG, _PAN_DEG))
    times = np.arange(knots) * _FRAMES_PER_KNOT
    path: Array = CubicSpline(times, np.array(poses))(np.arange(frames))
    return path


def _millimeters(depth_m: Array) -> Array:
    """16-bit depths; 0 where there is none, or where it differs from a neighbour's by more than 8 %."""
    padded = np.pad(depth_m, 1, mode="edge")
    beside = np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])
    with np.errstate(invalid="ignore"):
        known = (np.abs(beside - depth_m).max(axis=0) < 0.08 * depth_m) & (depth_m * 1000 < _MAX_DEPTH_MM)
    return np.where(known, np.rint(np.where(known, depth_m, 0) * 1000), 0).astype(np.uint16)


def _write_png(path: Path, image: Array) -> None:
    if not cv2.imwrite(str(path), image, [cv2.IMWRITE_PNG_COMPRESSION, 3]):
        raise DataError(f"can't write {path}", "is the disk full?")
