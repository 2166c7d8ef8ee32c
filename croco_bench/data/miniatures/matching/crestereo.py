"""Writes rectified pairs of views of rooms in the layout of CREStereo's training set."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from croco_bench.data.datasets.matching.crestereo import KINDS
from croco_bench.data.formats.disparity import write_crestereo_disparity
from croco_bench.data.formats.images import write_image
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.rooms.generator import make_scene, room_seed
from croco_bench.data.rooms.stereo import make_stereo
from croco_bench.errors import UsageError
from croco_bench.seeding import make_rng


@dataclass(frozen=True)
class CREStereoMini:
    """Number of pairs, each of its own room, and their size in pixels. The release has 200,000 pairs of 1080x1920."""

    pairs: int = 1500
    height: int = 72
    width: int = 96

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 2:
            raise UsageError("crestereo: height and width must be at least 2 pixels")


@dataclass(frozen=True)
class _Job:
    """One pair; its files' names begin with `stem`."""

    stem: Path
    seed: int
    spec: CREStereoMini


def write_crestereo(folder: Path, spec: CREStereoMini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes `<kind>/%06d_{left,right}.jpg` and `<kind>/%06d_left.disp.png`; pairs take the four kinds in turn."""
    for kind in KINDS[: spec.pairs]:
        (folder / kind).mkdir()
    jobs = [
        _Job(folder / KINDS[number % len(KINDS)] / f"{number:06d}", room_seed(seed, "crestereo", number), spec)
        for number in range(spec.pairs)
    ]
    for _ in pool.map(_write_pair, jobs, chunksize=4):
        advance(1)


def _write_pair(job: _Job) -> None:
    pair = make_stereo(make_scene(job.seed), (job.spec.height, job.spec.width), make_rng(job.seed, "stereo"))
    for side, view in (("left", pair.left), ("right", pair.right)):
        write_image(job.stem.with_name(f"{job.stem.name}_{side}.jpg"), view.rgb)
    write_crestereo_disparity(job.stem.with_name(f"{job.stem.name}_left.disp.png"), pair.disparity_px)


MINIATURE = Miniature(
    name="crestereo",
    write=write_crestereo,
    default=CREStereoMini(),
    tiny=CREStereoMini(pairs=8, height=40, width=56),
    count=lambda spec: spec.pairs,
)
