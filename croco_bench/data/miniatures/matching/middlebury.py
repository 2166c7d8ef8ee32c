"""Writes rectified pairs of views of rooms in the layout of Middlebury's third evaluation (MiddEval3)."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from croco_bench.data.formats.disparity import write_pfm_disparity
from croco_bench.data.formats.images import write_image
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.rooms.generator import make_scene, room_seed
from croco_bench.data.rooms.stereo import StereoPair, make_stereo
from croco_bench.errors import UsageError
from croco_bench.seeding import make_rng

# Official names; CroCo v2 selects by the first one.
# fmt: off
TRAINING_SCENES = (
    "Vintage", "Adirondack", "ArtL", "Jadeplant", "Motorcycle", "MotorcycleE", "Piano", "PianoL", "Pipes", "Playroom",
    "Playtable", "PlaytableP", "Recycle", "Shelves", "Teddy",
)
TEST_SCENES = (
    "Australia", "AustraliaP", "Bicycle2", "Classroom2", "Classroom2E", "Computer", "Crusade", "CrusadeP", "Djembe",
    "DjembeL", "Hoops", "Livingroom", "Nkuba", "Plants", "Staircase",
)
# fmt: on
# Values of mask0nocc.png at pixels with known disparity.
_VISIBLE_IN_BOTH, _OCCLUDED = 255, 128


@dataclass(frozen=True)
class MiddleburyMini:
    """Numbers of scenes with and without ground truth, and their size in pixels.

    The release has 15 + 15 scenes of up to 2000x3000, in full, half and quarter size.
    """

    scenes: int = 15
    test_scenes: int = 2
    height: int = 80
    width: int = 112

    def __post_init__(self) -> None:
        if not 3 <= self.scenes <= len(TRAINING_SCENES):
            raise UsageError(
                f"middlebury: scenes must be 3 (to train, select and report by) to {len(TRAINING_SCENES)}, not {self.scenes}"
            )
        if not 1 <= self.test_scenes <= len(TEST_SCENES):
            raise UsageError(f"middlebury: test_scenes must be 1 to {len(TEST_SCENES)}, not {self.test_scenes}")
        if min(self.height, self.width) < 2:
            raise UsageError("middlebury: height and width must be at least 2 pixels")


@dataclass(frozen=True)
class _Job:
    """One scene, in its own folder."""

    folder: Path
    seed: int
    has_truth: bool
    spec: MiddleburyMini


def write_middlebury(folder: Path, spec: MiddleburyMini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes `MiddEval3/{trainingF,testF}/<scene>/` with `im0.png`, `im1.png` and `calib.txt`.

    Training scenes have ground truth: `disp0GT.pfm`, and `mask0nocc.png` with 255 at pixels visible in both views and 128
    at pixels visible in the left view only.
    """
    splits = {"trainingF": TRAINING_SCENES[: spec.scenes], "testF": TEST_SCENES[: spec.test_scenes]}
    jobs = [
        _Job(
            folder=folder / "MiddEval3" / split / name,
            seed=room_seed(seed, "middlebury", name),
            has_truth=split == "trainingF",
            spec=spec,
        )
        for split, names in splits.items()
        for name in names
    ]
    for _ in pool.map(_write_scene, jobs, chunksize=4):
        advance(1)


def _write_scene(job: _Job) -> None:
    job.folder.mkdir(parents=True)
    pair = make_stereo(make_scene(job.seed), (job.spec.height, job.spec.width), make_rng(job.seed, "stereo"))
    for number, view in enumerate((pair.left, pair.right)):
        write_image(job.folder / f"im{number}.png", view.rgb)
    (job.folder / "calib.txt").write_text(_calibration(pair), encoding="utf-8")
    if job.has_truth:
        write_pfm_disparity(job.folder / "disp0GT.pfm", pair.disparity_px)
        mask = np.where(pair.occluded, _OCCLUDED, _VISIBLE_IN_BOTH).astype(np.uint8)
        write_image(job.folder / "mask0nocc.png", mask)


def _calibration(pair: StereoPair) -> str:
    """Content of calib.txt; `baseline` in millimetres, `ndisp` an upper bound of disparities."""
    height, width = pair.left.camera.size
    rows = "; ".join(" ".join(f"{number:.6g}" for number in row) for row in pair.left.camera.K)
    lines = [
        f"cam0=[{rows}]",
        f"cam1=[{rows}]",
        "doffs=0",
        f"baseline={1000 * pair.baseline_m:.6g}",
        f"width={width}",
        f"height={height}",
        f"ndisp={int(np.ceil(pair.disparity_px.max())) + 1}",
    ]
    return "".join(f"{line}\n" for line in lines)


MINIATURE = Miniature(
    name="middlebury",
    write=write_middlebury,
    default=MiddleburyMini(),
    tiny=MiddleburyMini(scenes=4, test_scenes=1, height=40, width=56),
    count=lambda spec: spec.scenes + spec.test_scenes,
)
