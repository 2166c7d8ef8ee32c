"""Writes rectified pairs of views of rooms in the layout of Middlebury's third evaluation (MiddEval3)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from croco_bench.data.formats.disparity import write_pfm_disparity
from croco_bench.data.miniatures.habitat import write_image
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.stereo import StereoPair, make_stereo
from croco_bench.errors import UsageError
from croco_bench.seeding import derive, make_rng

# Official names; the first is the one that CroCo v2 selects by.
TRAINING_SCENES = (
    *("Vintage", "Adirondack", "ArtL", "Jadeplant", "Motorcycle", "MotorcycleE", "Piano", "PianoL", "Pipes"),
    *("Playroom", "Playtable", "PlaytableP", "Recycle", "Shelves", "Teddy"),
)
TEST_SCENES = (
    *("Australia", "AustraliaP", "Bicycle2", "Classroom2", "Classroom2E", "Computer", "Crusade", "CrusadeP"),
    *("Djembe", "DjembeL", "Hoops", "Livingroom", "Nkuba", "Plants", "Staircase"),
)
# What mask0nocc.png says of a pixel with known disparity.
_SEEN_TWICE, _SEEN_ONCE = 255, 128


@dataclass(frozen=True)
class MiddleburyMini:
    """How many scenes with ground truth and without, and their size (pixels).

    The real one has 15 + 15 of up to 2000x3000, and the same in half and quarter size.
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


Job = tuple[str, str, str, int, MiddleburyMini]


def write_middlebury(
    folder: Path, spec: MiddleburyMini, seed: int, pool: Executor, advance: Callable[[int], None]
) -> None:
    """Writes `MiddEval3/{trainingF,testF}/<scene>/`: `im0.png`, `im1.png`, `calib.txt`; to train, also the truth.

    That is `disp0GT.pfm` and `mask0nocc.png`: 255 where both views see a pixel, 128 where only the left one does.
    """
    jobs: list[Job] = [
        (str(folder), part, name, derive(seed, "middlebury", name) % 2**32, spec)
        for part, names in (
            ("trainingF", TRAINING_SCENES[: spec.scenes]),
            ("testF", TEST_SCENES[: spec.test_scenes]),
        )
        for name in names
    ]
    for _ in pool.map(_write_scene, jobs, chunksize=4):
        advance(1)


def _write_scene(job: Job) -> None:
    root, part, name, seed, spec = job
    folder = Path(root) / "MiddEval3" / part / name
    folder.mkdir(parents=True)
    pair = make_stereo(make_scene(seed), (spec.height, spec.width), make_rng(seed, "stereo"))
    for number, view in enumerate((pair.left, pair.right)):
        write_image(folder / f"im{number}.png", view.rgb[:, :, ::-1])
    (folder / "calib.txt").write_text(_calibration(pair), encoding="utf-8")
    if part == "trainingF":
        write_pfm_disparity(folder / "disp0GT.pfm", pair.disparity_px)
        write_image(folder / "mask0nocc.png", np.where(pair.occluded, _SEEN_ONCE, _SEEN_TWICE).astype(np.uint8))


def _calibration(pair: StereoPair) -> str:
    """The facts that Middlebury's calib.txt begins with; `baseline` in millimetres, `ndisp` a bound of disparities."""
    height, width = pair.left.camera.size
    rows = "; ".join(" ".join(f"{number:.6g}" for number in row) for row in pair.left.camera.K)
    return "\n".join(
        [
            *(f"cam{number}=[{rows}]" for number in (0, 1)),
            "doffs=0",
            f"baseline={1000 * pair.baseline_m:.6g}",
            f"width={width}",
            f"height={height}",
            f"ndisp={int(np.ceil(pair.disparity_px.max())) + 1}",
            "",
        ]
    )
