"""Writes rectified pairs of views of rooms in the layout of CREStereo's training set."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import cv2

from croco_bench.data.datasets.matching.crestereo import KINDS
from croco_bench.data.formats.disparity import write_crestereo_disparity
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.stereo import make_stereo
from croco_bench.errors import DataError, UsageError
from croco_bench.seeding import derive, make_rng

# As the files of rooms' other JPEGs.
_QUALITY = 95


@dataclass(frozen=True)
class CREStereoMini:
    """How many pairs, each of a room of its own, and their size (pixels). The real one has 200,000 pairs of 1080x1920."""

    pairs: int = 1500
    height: int = 72
    width: int = 96

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 2:
            raise UsageError("crestereo: height and width must be at least 2 pixels")


Job = tuple[str, int, int, CREStereoMini]


def write_crestereo(
    folder: Path, spec: CREStereoMini, seed: int, pool: Executor, advance: Callable[[int], None]
) -> None:
    """Writes `<kind>/%06d_{left,right}.jpg` and `<kind>/%06d_left.disp.png`; the four kinds take turns, and mean nothing."""
    for kind in KINDS[: spec.pairs]:
        (folder / kind).mkdir()
    jobs: list[Job] = [
        (str(folder), number, derive(seed, "crestereo", number) % 2**32, spec) for number in range(spec.pairs)
    ]
    for _ in pool.map(_write_pair, jobs, chunksize=4):
        advance(1)


def _write_pair(job: Job) -> None:
    root, number, seed, spec = job
    stem = Path(root) / KINDS[number % len(KINDS)] / f"{number:06d}"
    pair = make_stereo(make_scene(seed), (spec.height, spec.width), make_rng(seed, "stereo"))
    for side, view in (("left", pair.left), ("right", pair.right)):
        path = stem.with_name(f"{stem.name}_{side}.jpg")
        if not cv2.imwrite(str(path), view.rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]):
            raise DataError(f"can't write {path}", "is the disk full?")
    write_crestereo_disparity(stem.with_name(f"{stem.name}_left.disp.png"), pair.disparity_px)
