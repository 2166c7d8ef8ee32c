"""Writes rooms as posed RGB-D video in the layout of 7-Scenes."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from croco_bench.data.formats.images import write_image
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.posed.retrieval_lists import HLOC, TOP, write_list, write_maker
from croco_bench.data.posed.sequences import seven_scenes_intrinsics
from croco_bench.data.rooms.camera import Camera
from croco_bench.data.rooms.generator import make_scene, room_seed
from croco_bench.data.rooms.render import render, visible_from
from croco_bench.data.rooms.scene import Scene
from croco_bench.data.rooms.trajectory import CameraAnchor, sample_trajectory
from croco_bench.errors import UsageError
from croco_bench.seeding import make_rng
from croco_bench.types import Array

_MAX_DEPTH_MM = 65534
# Neighbouring pixels with depths that differ by a larger share are a discontinuity.
_MAX_JUMP = 0.08
# Rows and columns of rays for the co-visibility of many views.
_GRID = (15, 20)


@dataclass(frozen=True)
class SevenScenesMini:
    """Numbers of scenes (a room each), sequences per scene and frames per sequence, image size in pixels, and reach.

    `reach`, in percent, scales the cameras' distances and angles from the centre of their scene. With the default, database
    views are about as near to a query as in the release, though fewer. Pairs of one sequence with a co-visibility of 50 %
    need a reach of 100. The last third of a scene's sequences, at least one, is for testing. The release has 7 scenes with 2
    to 14 sequences of 500 or 1000 frames of 480x640.
    """

    scenes: int = 36
    sequences: int = 3
    frames: int = 12
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
        """Number of test sequences per scene."""
        return max(self.sequences // 3, 1)


@dataclass(frozen=True)
class _Job:
    """One sequence, with its number from 1 on in the scene's folder."""

    scene: Path
    seed: int
    number: int
    spec: SevenScenesMini


def write_sevenscenes(folder: Path, spec: SevenScenesMini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes `room-NN/seq-NN/frame-%06d.{color.png,depth.png,pose.txt}`, splits, and retrieval lists in hloc's format.

    Depth is in 16-bit millimetres, 0 at discontinuities, where a sensor would measure nothing. All sequences of a room share
    its world coordinates and show the same part of it. Intrinsics are those of `seven_scenes_intrinsics`.
    """
    lists = folder / HLOC
    lists.mkdir()
    write_maker(lists, "the training frames with which a test frame shares most of its view, from the rooms themselves")
    scenes = [folder / f"room-{number:02d}" for number in range(1, spec.scenes + 1)]
    jobs: list[_Job] = []
    for number, scene in enumerate(scenes, start=1):
        scene.mkdir()
        _write_splits(scene, spec)
        room = room_seed(seed, "7scenes", number)
        jobs += [_Job(scene, room, sequence, spec) for sequence in range(1, spec.sequences + 1)]
    for frames in pool.map(_write_sequence, jobs):
        advance(frames)
    for scene, retrieved in zip(scenes, pool.map(_retrieve, jobs[:: spec.sequences]), strict=True):
        write_list(lists, scene.name, retrieved)


def _write_splits(scene: Path, spec: SevenScenesMini) -> None:
    lines = [f"sequence{sequence}\n" for sequence in range(1, spec.sequences + 1)]
    (scene / "TrainSplit.txt").write_text("".join(lines[: -spec.tests]), encoding="utf-8")
    (scene / "TestSplit.txt").write_text("".join(lines[-spec.tests :]), encoding="utf-8")


def _write_sequence(job: _Job) -> int:
    """Renders and writes one sequence; returns the number of frames."""
    folder = job.scene / f"seq-{job.number:02d}"
    folder.mkdir()
    scene = make_scene(job.seed)
    cameras = _cameras(scene, job.seed, job.number, job.spec)
    for index, camera in enumerate(cameras):
        view = render(scene, camera)
        stem = f"frame-{index:06d}"
        write_image(folder / f"{stem}.color.png", view.rgb, png_compression=3)
        write_image(folder / f"{stem}.depth.png", millimeters(view.depth_m), png_compression=3)
        lines = ["\t".join(f"{value: .9e}" for value in row) for row in camera.cam2world]
        (folder / f"{stem}.pose.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(cameras)


def _cameras(scene: Scene, seed: int, number: int, spec: SevenScenesMini) -> list[Camera]:
    """The cameras of one sequence."""
    anchor = CameraAnchor.sample(scene, make_rng(seed, "stage"))
    size, rng = (spec.height, spec.width), make_rng(seed, "trajectory", number)
    K = seven_scenes_intrinsics(size)
    return sample_trajectory(scene, spec.frames, K, size, rng, anchor, reach=spec.reach / 100)


def _retrieve(job: _Job) -> dict[str, list[str]]:
    """For every test frame of a scene, the training frames with the highest co-visibility, best first."""
    scene, spec = make_scene(job.seed), job.spec
    names, cameras = [], []
    for number in range(1, spec.sequences + 1):
        for index, camera in enumerate(_cameras(scene, job.seed, number, spec)):
            names.append(f"seq-{number:02d}/frame-{index:06d}.color.png")
            cameras.append(camera)
    train = (spec.sequences - spec.tests) * spec.frames
    shared = shared_view(scene, cameras[train:], cameras[:train])
    best = np.argsort(-shared, axis=1, kind="stable")[:, :TOP]
    return {query: [names[row] for row in rows] for query, rows in zip(names[train:], best, strict=True)}


def shared_view(scene: Scene, queries: list[Camera], database: list[Camera]) -> Array:
    """Co-visibility (queries, database), the smaller of both directions, measured with 15x20 rays per view."""
    forth, back = _visible_shares(scene, queries, database), _visible_shares(scene, database, queries)
    smaller: Array = np.minimum(forth, back.T)
    return smaller


def _visible_shares(scene: Scene, cameras: list[Camera], others: list[Camera]) -> Array:
    """Share of each camera's view that is visible from each other camera: (cameras, others)."""
    points = []
    for camera in cameras:
        rays = replace(camera, K=seven_scenes_intrinsics(_GRID), size=_GRID).rays()
        distance, _ = scene.cast(np.broadcast_to(camera.center, rays.shape), rays)
        points.append(camera.center + rays * distance[:, None])
    all_points = np.concatenate(points)
    shares = [visible_from(scene, all_points, other).reshape(len(cameras), -1).mean(axis=1) for other in others]
    return np.stack(shares, axis=1)


def millimeters(depth_m: Array) -> Array:
    """Depth (H, W) uint16 in millimetres; 0 without a hit, beyond the maximum, and at discontinuities."""
    padded = np.pad(depth_m, 1, mode="edge")
    neighbors = np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])
    with np.errstate(invalid="ignore"):
        smooth = np.abs(neighbors - depth_m).max(axis=0) < _MAX_JUMP * depth_m
        known = smooth & (depth_m * 1000 < _MAX_DEPTH_MM)
    return np.where(known, np.rint(np.where(known, depth_m, 0) * 1000), 0).astype(np.uint16)


MINIATURE = Miniature(
    name="7scenes",
    write=write_sevenscenes,
    default=SevenScenesMini(),
    tiny=SevenScenesMini(scenes=1, sequences=2, frames=10, height=48, width=64),
    count=lambda spec: spec.scenes * spec.sequences * spec.frames,
    version=3,
)
