"""Writes rooms as posed RGB-D video in the layout of 7-Scenes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from croco_bench.data.posed import seven_scenes_intrinsics
from croco_bench.data.retrieval import PREPARED, TOP, write_list, write_maker
from croco_bench.data.rooms.camera import Camera, has_free_sight, look
from croco_bench.data.rooms.render import render
from croco_bench.data.rooms.scene import Scene, make_scene
from croco_bench.data.seven_scenes import open_seven_scenes
from croco_bench.errors import DataError, UsageError
from croco_bench.seeding import derive, generator

Array = NDArray[Any]
# A camera carried by hand: every so many frames it is about to be somewhere else.
_FRAMES_PER_KNOT = 10
_MAX_DEPTH_MM = 65534


@dataclass(frozen=True)
class SevenScenesMini:
    """How many scenes (a room each), sequences of each, frames of each, and their size (pixels).

    The last third of a scene's sequences, at least one, is for testing. The real one has 7 scenes with 2 to 14 sequences
    of 500 or 1000 frames of 480x640.
    """

    scenes: int = 2
    sequences: int = 2
    frames: int = 40
    height: int = 120
    width: int = 160

    def __post_init__(self) -> None:
        if self.sequences < 2:
            raise UsageError("7scenes: sequences must be at least 2, one for training and one for testing")
        if min(self.height, self.width) < 2:
            raise UsageError("7scenes: height and width must be at least 2 pixels")


Job = tuple[str, int, int, SevenScenesMini]


def write_sevenscenes(
    folder: Path, spec: SevenScenesMini, seed: int, pool: Executor, advance: Callable[[int], None]
) -> None:
    """Writes `room-NN/seq-NN/frame-%06d.{color.png,depth.png,pose.txt}`, `TrainSplit.txt` and `TestSplit.txt`.

    Depth is in 16-bit millimetres, 0 where it jumps and a sensor would measure nothing. All sequences of a room share its
    world. The camera is the one that `seven_scenes_intrinsics` describes. Retrieval lists beside the rooms are those of a
    retrieval that knows the poses.
    """
    jobs: list[Job] = []
    for number in range(1, spec.scenes + 1):
        scene = folder / f"room-{number:02d}"
        scene.mkdir(parents=True)
        tests = max(spec.sequences // 3, 1)
        lines = [f"sequence{sequence}\n" for sequence in range(1, spec.sequences + 1)]
        (scene / "TrainSplit.txt").write_text("".join(lines[:-tests]), encoding="utf-8")
        (scene / "TestSplit.txt").write_text("".join(lines[-tests:]), encoding="utf-8")
        room = derive(seed, "7scenes", number) % 2**32
        jobs += [(str(scene), room, sequence, spec) for sequence in range(1, spec.sequences + 1)]
    for frames in pool.map(_write_sequence, jobs):
        advance(frames)
    _write_retrieval_lists(folder)


def _write_sequence(job: Job) -> int:
    """Renders and writes one sequence; returns how many frames."""
    parent, room, number, spec = job
    folder = Path(parent) / f"seq-{number:02d}"
    folder.mkdir()
    scene = make_scene(room)
    cameras = trajectory(scene, spec.frames, (spec.height, spec.width), generator(room, "trajectory", number))
    for index, camera in enumerate(cameras):
        view = render(scene, camera)
        stem = f"frame-{index:06d}"
        _write_png(folder / f"{stem}.color.png", view.rgb[:, :, ::-1])
        _write_png(folder / f"{stem}.depth.png", _millimetres(view.depth_m))
        lines = ["\t".join(f"{value: .9e}" for value in row) for row in camera.cam2world]
        (folder / f"{stem}.pose.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(cameras)


def _write_retrieval_lists(folder: Path) -> None:
    """For each test frame the ten training frames of its room that it is nearest to, a metre counting as 30 degrees."""
    whole = open_seven_scenes(folder)
    lists = folder / f"{PREPARED}rooms"
    for scene in whole.scenes:
        database, queries = (whole.rows(scene, test=test) for test in (False, True))
        known, asked = whole.views.cam2world[database], whole.views.cam2world[queries]
        metres = np.linalg.norm(asked[:, None, :3, 3] - known[:, :3, 3], axis=-1)
        cosine = (np.einsum("qij,dij->qd", asked[:, :3, :3], known[:, :3, :3]) - 1) / 2
        away = metres + np.degrees(np.arccos(np.clip(cosine, -1, 1))) / 30
        nearest = database[np.argsort(away, axis=1, kind="stable")[:, :TOP]]
        found = {whole.name(query): map(whole.name, rows) for query, rows in zip(queries, nearest, strict=True)}
        write_list(lists, scene, found)
    write_maker(lists, "poses known to the rooms")


def trajectory(scene: Scene, frames: int, size: tuple[int, int], random: np.random.Generator) -> list[Camera]:
    """A smooth walk of a hand-held camera through a room: about 5 cm and 3 degrees a frame, always with free sight.

    Raises:
        DataError: no free way was found, which no room of the generator should cause.
    """
    K = seven_scenes_intrinsics(size)
    tries = 300
    for attempt in range(tries):
        # Ever shorter walks, so that a crowded room has one too.
        path = _path(scene, frames, 1 - attempt / tries, random)
        cameras = [replace(look(pose[:3], float(pose[3]), float(pose[4]), float(pose[5]), size), K=K) for pose in path]
        if all(has_free_sight(scene, camera) for camera in cameras):
            return cameras
    raise DataError(f"no way for a camera was found through {scene.name}")


def _path(scene: Scene, frames: int, reach: float, random: np.random.Generator) -> Array:
    """(frames, 6): x, y, z in metres, yaw, pitch, roll in radians. A spline through places between which it wanders."""
    knots = max(-(-frames // _FRAMES_PER_KNOT), 2) + 1
    low, high = np.array([0.5, 0.5, 1.1]), np.array([scene.size[0] - 0.5, scene.size[1] - 0.5, 1.8])
    place = random.uniform(low, high)
    towards = np.array(scene.size[:2]) / 2 + random.normal(0, 0.8, 2) - place[:2]
    yaw, sense = float(np.arctan2(towards[1], towards[0])), random.choice((-1, 1))
    poses = []
    for _ in range(knots):
        poses.append([*place, yaw, np.radians(random.uniform(-25, 0)), np.radians(random.normal(0, 3))])
        step = random.normal(0, 1, 3) * (1, 1, 0.3)
        place = np.clip(place + reach * random.uniform(0.3, 0.7) * step / np.linalg.norm(step), low, high)
        yaw += reach * sense * float(np.radians(random.uniform(5, 40)))
        sense = -sense if random.random() < 0.25 else sense
    times = np.arange(knots) * _FRAMES_PER_KNOT
    path: Array = CubicSpline(times, np.array(poses))(np.arange(frames))
    return path


def _millimetres(depth_m: Array) -> Array:
    """16-bit depths; 0 where there is none, or where it differs from a neighbour's by more than 8 %."""
    padded = np.pad(depth_m, 1, mode="edge")
    beside = np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])
    with np.errstate(invalid="ignore"):
        known = (np.abs(beside - depth_m).max(axis=0) < 0.08 * depth_m) & (depth_m * 1000 < _MAX_DEPTH_MM)
    return np.where(known, np.rint(np.where(known, depth_m, 0) * 1000), 0).astype(np.uint16)


def _write_png(path: Path, image: Array) -> None:
    if not cv2.imwrite(str(path), image, [cv2.IMWRITE_PNG_COMPRESSION, 3]):
        raise DataError(f"can't write {path}; is the disk full?")
