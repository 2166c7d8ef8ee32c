"""Writes videos of rooms with flying objects in the layout of MPI-Sintel."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from croco_bench.data.formats.flow import write_flo
from croco_bench.data.formats.images import write_image
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.rooms.camera import has_free_sight, sample_camera
from croco_bench.data.rooms.flying_objects import FlyingObjects, add_flying_objects
from croco_bench.data.rooms.generator import make_scene, room_seed
from croco_bench.data.rooms.motion import FlowTruth, Motion, Shot, flow_truth, mixed_pixels
from croco_bench.data.rooms.post_effects import PostEffects
from croco_bench.data.rooms.render import render
from croco_bench.data.rooms.scene import Scene
from croco_bench.errors import DataError, UsageError
from croco_bench.seeding import make_rng
from croco_bench.types import Array

# Official names, ordered so that the first four are one scene for training, both for selection, and one reported.
# fmt: off
TRAINING_SCENES = (
    "alley_1", "temple_2", "temple_3", "market_2", "alley_2", "shaman_2", "bandage_1", "bamboo_2", "sleeping_1",
    "ambush_2", "mountain_1", "cave_2", "bandage_2", "sleeping_2", "bamboo_1", "market_5", "cave_4", "ambush_4",
    "shaman_3", "market_6", "ambush_5", "ambush_6", "ambush_7",
)
TEST_SCENES = (
    "tiger", "wall", "bamboo_3", "market_1", "cave_3", "mountain_2", "temple_1", "ambush_1", "market_4", "ambush_3",
    "PERTURBED_market_3", "PERTURBED_shaman_1",
)
# fmt: on
# Range of the median flow of the static room, in pixels per frame at a width of 128.
_MEDIAN_PX = (4.0, 10.0)
_WIDTH = 128
_FLYING = FlyingObjects(max_count=5, speed_px=5.0, turn_deg=6.0)
_MAX_OCCLUDED = 0.45


@dataclass(frozen=True)
class SintelMini:
    """Numbers of scenes with and without ground truth, frames per scene, and their size in pixels.

    The release has 23 + 12 scenes of 20 to 50 frames of 436x1024.
    """

    scenes: int = 23
    frames: int = 6
    test_scenes: int = 2
    height: int = 72
    width: int = 128

    def __post_init__(self) -> None:
        if not 4 <= self.scenes <= len(TRAINING_SCENES):
            raise UsageError(
                f"sintel: scenes must be 4 (to train, select and report by) to {len(TRAINING_SCENES)}, not {self.scenes}"
            )
        if not 1 <= self.test_scenes <= len(TEST_SCENES):
            raise UsageError(f"sintel: test_scenes must be 1 to {len(TEST_SCENES)}, not {self.test_scenes}")
        if self.frames < 2:
            raise UsageError("sintel: frames must be at least 2, as flow leads from one to the next")
        if min(self.height, self.width) < 2:
            raise UsageError("sintel: height and width must be at least 2 pixels")


@dataclass(frozen=True)
class SceneJob:
    """One scene; `folder` is that of the dataset."""

    folder: Path
    split: str
    name: str
    seed: int
    spec: SintelMini


def write_sintel(folder: Path, spec: SintelMini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes `training/{clean,final,flow,occlusions,invalid}/<scene>/frame_%04d.{png,flo}` and `test/{clean,final}`.

    `clean` is sharp; `final` has `PostEffects`. `flow` leads to the next frame; `occlusions` is 255 at pixels not visible
    there, and `invalid` at pixels with several motions, where no vector is right. As in the release, the last frame of a
    scene has only `invalid`.
    """
    for frames in pool.map(write_scene, scene_jobs(folder, spec, seed)):
        advance(frames)


def scene_jobs(folder: Path, spec: SintelMini, seed: int) -> list[SceneJob]:
    """The jobs of all scenes."""
    splits = {"training": TRAINING_SCENES[: spec.scenes], "test": TEST_SCENES[: spec.test_scenes]}
    return [
        SceneJob(folder, split, name, room_seed(seed, "sintel", name), spec)
        for split, names in splits.items()
        for name in names
    ]


def write_scene(job: SceneJob) -> int:
    """Renders and writes one scene; returns the number of frames."""
    shot, rng = make_shot(job.seed, job.spec), make_rng(job.seed, "film")
    effects = PostEffects.sample(rng)
    has_truth = job.split == "training"
    kinds = ("clean", "final", "flow", "occlusions", "invalid") if has_truth else ("clean", "final")
    folders = {kind: job.folder / job.split / kind / job.name for kind in kinds}
    for folder in folders.values():
        folder.mkdir(parents=True)
    times = _times(job.spec)
    for number, time in enumerate(times, start=1):
        frame, image = shot.frame(time), f"frame_{number:04d}.png"
        write_image(folders["clean"] / image, render(frame.scene, frame.camera).rgb)
        write_image(folders["final"] / image, effects.render(shot, time, rng))
        if has_truth:
            following = shot.frame(time + 1)
            write_image(folders["invalid"] / image, _mask(mixed_pixels(shot, frame, following)))
            if number < len(times):
                truth = flow_truth(shot, frame, following)
                write_flo(folders["flow"] / f"frame_{number:04d}.flo", truth.flow_px, truth.known)
                write_image(folders["occlusions"] / image, _mask(truth.occluded))
    return len(times)


def _mask(marked: Array) -> Array:
    return np.where(marked, 255, 0).astype(np.uint8)


def _times(spec: SintelMini) -> list[float]:
    """Times of the frames: one apart, centred on 0."""
    return [number - (spec.frames - 1) / 2 for number in range(spec.frames)]


def make_shot(seed: int, spec: SintelMini) -> Shot:
    """Samples a room with one to five flying objects, and a camera motion such that the room's median flow is as drawn.

    Raises:
        DataError: 200 attempts failed, which doesn't happen in rooms of `make_scene`.
    """
    scene, rng = make_scene(seed), make_rng(seed, "shot")
    times = _times(spec)
    scale = spec.width / _WIDTH
    for _ in range(200):
        shot = _with_median_flow(_static_shot(scene, spec, rng), scale * float(rng.uniform(*_MEDIAN_PX)))
        if not all(has_free_sight(scene, shot.camera_at(time)) for time in times):
            continue
        flying = replace(_FLYING, speed_px=scale * _FLYING.speed_px)
        shot = add_flying_objects(shot, (times[0], times[-1]), flying, rng)
        frames = [shot.frame(time) for time in times]
        if shot.scene is not scene and all(has_free_sight(frame.scene, frame.camera) for frame in frames):
            truths = [flow_truth(shot, *pair) for pair in pairwise(frames)]
            if all(_is_usable(truth) for truth in truths):
                return shot
    raise DataError(f"no way for a camera was found through {scene.name}")


def _static_shot(scene: Scene, spec: SintelMini, rng: np.random.Generator) -> Shot:
    """Samples a moving and turning camera in a static room."""
    camera = sample_camera(scene, (spec.height, spec.width), rng)
    move = rng.normal(0, 1, 3) * (1, 1, 0.4)
    velocity = rng.uniform(0.03, 0.09) * move / np.linalg.norm(move)
    turn = np.radians(rng.normal(0, (1.0, 2.0, 0.6)))
    camera_motion = Motion(
        pivot=camera.center[None],
        velocity=velocity[None],
        acceleration=np.linalg.norm(velocity) * rng.normal(0, 0.08, (1, 3)),
        spin=(camera.cam2world[:3, :3] @ turn)[None],
    )
    return Shot.static(scene, camera, camera_motion)


def _with_median_flow(shot: Shot, wanted_px: float) -> Shot:
    """The shot with the camera slowed down or sped up, such that the median flow at time 0 is about `wanted_px`."""
    truth = flow_truth(shot, shot.frame(-0.5), shot.frame(0.5))
    median = float(np.median(np.linalg.norm(truth.flow_px, axis=2)))
    return replace(
        shot, camera_motion=shot.camera_motion.scaled(float(np.clip(wanted_px / max(median, 1e-3), 0.3, 3.0)))
    )


def _is_usable(truth: FlowTruth) -> bool:
    """Whether flow is known everywhere and less than 45 % is occluded."""
    return bool(truth.known.all() and truth.occluded.mean() < _MAX_OCCLUDED)


MINIATURE = Miniature(
    name="sintel",
    write=write_sintel,
    default=SintelMini(),
    tiny=SintelMini(scenes=4, frames=3, test_scenes=1, height=40, width=56),
    count=lambda spec: (spec.scenes + spec.test_scenes) * spec.frames,
)
