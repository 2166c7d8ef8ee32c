"""Writes images of rooms in the layout of ADE20K's scene parsing benchmark."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from croco_bench.data.formats.images import write_image
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.rooms.camera import sample_camera
from croco_bench.data.rooms.classes import CLASSES, ID
from croco_bench.data.rooms.generator import make_scene, room_seed
from croco_bench.data.rooms.render import View, render
from croco_bench.errors import UsageError
from croco_bench.seeding import make_rng
from croco_bench.types import Size

_LABELS = np.array([kind.ade20k for kind in CLASSES], dtype=np.uint8)
_SHELL = [ID["wall"], ID["floor"], ID["ceiling"]]


@dataclass(frozen=True)
class ADE20KMini:
    """Numbers of images, and their mean size in pixels. The release has 20,210 + 2,000 images of about 512x683."""

    train: int = 300
    val: int = 100
    height: int = 96
    width: int = 128

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 8:
            raise UsageError("ade20k: height and width must be at least 8 pixels")


@dataclass(frozen=True)
class _Job:
    """One image: `name` (without suffix) in the folder `split`."""

    base: Path
    split: str
    name: str
    seed: int
    spec: ADE20KMini


def write_ade20k(folder: Path, spec: ADE20KMini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes `ADEChallengeData2016/{images,annotations}/{training,validation}/ADE_{train,val}_%08d.{jpg,png}`.

    Each image shows another room. Annotations have the numbers of the 150 classes, and in a third of the images 0 on one
    piece of furniture, as objects of other classes in the release. A fifth of the images are upright.
    """
    base = folder / "ADEChallengeData2016"
    jobs = []
    for split, short, count in (("training", "train", spec.train), ("validation", "val", spec.val)):
        for kind in ("images", "annotations"):
            (base / kind / split).mkdir(parents=True)
        names = [f"ADE_{short}_{number:08d}" for number in range(1, count + 1)]
        jobs += [_Job(base, split, name, room_seed(seed, "ade20k", name), spec) for name in names]
    for _ in pool.map(_write_image, jobs, chunksize=4):
        advance(1)


def _write_image(job: _Job) -> None:
    rng = make_rng(job.seed, "photograph")
    scene = make_scene(job.seed)
    view = render(scene, sample_camera(scene, _size(job.spec, rng), rng))
    write_image(job.base / "images" / job.split / f"{job.name}.jpg", view.rgb)
    write_image(job.base / "annotations" / job.split / f"{job.name}.png", _annotation(view, rng))


def _size(spec: ADE20KMini, rng: np.random.Generator) -> Size:
    height, width = np.rint(rng.uniform(0.85, 1.2, 2) * (spec.height, spec.width)).astype(int)
    return (int(width), int(height)) if rng.random() < 0.2 else (int(height), int(width))


def _annotation(view: View, rng: np.random.Generator) -> NDArray[Any]:
    """Labels (H, W) uint8; in a third of the images one piece of furniture is unlabelled."""
    labels = _LABELS[view.semantic]
    furniture = np.unique(view.instance[~np.isin(view.semantic, _SHELL)])
    if furniture.size and rng.random() < 1 / 3:
        labels[view.instance == rng.choice(furniture)] = 0
    return labels


MINIATURE = Miniature(
    name="ade20k",
    write=write_ade20k,
    default=ADE20KMini(),
    tiny=ADE20KMini(train=10, val=4, height=40, width=56),
    count=lambda spec: spec.train + spec.val,
)
