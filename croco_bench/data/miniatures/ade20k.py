"""Writes photographs of rooms in the official layout of ADE20K's scene parsing benchmark."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from croco_bench.data.miniatures.habitat import write_image
from croco_bench.data.rooms.camera import sample_camera
from croco_bench.data.rooms.classes import ID, THINGS
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.render import View, render
from croco_bench.errors import UsageError
from croco_bench.seeding import derive, make_rng

_NUMBERS = np.array([thing.ade20k for thing in THINGS], dtype=np.uint8)
_SHELL = [ID["wall"], ID["floor"], ID["ceiling"]]


@dataclass(frozen=True)
class ADE20KMini:
    """How many photographs, and the size (pixels) about which theirs vary. The real one has 20,210 + 2,000 of some 512x683."""

    train: int = 300
    val: int = 100
    height: int = 96
    width: int = 128

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 8:
            raise UsageError("ade20k: height and width must be at least 8 pixels")


Job = tuple[str, str, str, int, ADE20KMini]


def write_ade20k(folder: Path, spec: ADE20KMini, seed: int, pool: Executor, advance: Callable[[int], None]) -> None:
    """Writes `ADEChallengeData2016/{images,annotations}/{training,validation}/ADE_{train,val}_%08d.{jpg,png}`.

    Each photograph shows another room. Annotations have the 150 classes' numbers, and 0 on a piece of furniture here and
    there, as in the real ones, which leave out what is none of the 150. A fifth of the photographs are upright.
    """
    jobs: list[Job] = []
    for part, short, count in (("training", "train", spec.train), ("validation", "val", spec.val)):
        for kind in ("images", "annotations"):
            (folder / "ADEChallengeData2016" / kind / part).mkdir(parents=True)
        for number in range(1, count + 1):
            name = f"ADE_{short}_{number:08d}"
            jobs.append((str(folder), part, name, derive(seed, "ade20k", name) % 2**32, spec))
    for _ in pool.map(_write_photograph, jobs, chunksize=4):
        advance(1)


def _write_photograph(job: Job) -> None:
    root, part, name, seed, spec = job
    base, rng = Path(root) / "ADEChallengeData2016", make_rng(seed, "photograph")
    scene = make_scene(seed)
    view = render(scene, sample_camera(scene, _size(spec, rng), rng))
    write_image(base / "images" / part / f"{name}.jpg", view.rgb[:, :, ::-1])
    write_image(base / "annotations" / part / f"{name}.png", _annotation(view, rng))


def _size(spec: ADE20KMini, rng: np.random.Generator) -> tuple[int, int]:
    height, width = np.rint(rng.uniform(0.85, 1.2, 2) * (spec.height, spec.width)).astype(int)
    return (int(width), int(height)) if rng.random() < 0.2 else (int(height), int(width))


def _annotation(view: View, rng: np.random.Generator) -> NDArray[Any]:
    """(H, W) uint8; in a third of the photographs one piece of furniture is unlabelled."""
    numbers = _NUMBERS[view.semantic]
    furniture = np.unique(view.instance[~np.isin(view.semantic, _SHELL)])
    if furniture.size and rng.random() < 1 / 3:
        numbers[view.instance == rng.choice(furniture)] = 0
    return numbers
