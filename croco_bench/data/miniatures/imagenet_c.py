"""Writes the validation images of ImageNet's miniature under a few corruptions, in ImageNet-C's folders."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from croco_bench.data.formats.images import write_image
from croco_bench.data.miniatures.imagenet import WNIDS, picture
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.rooms.generator import room_seed
from croco_bench.errors import UsageError
from croco_bench.seeding import make_rng

_SEVERITIES = (1, 2, 3, 4, 5)
Image = NDArray[Any]


@dataclass(frozen=True)
class ImageNetCMini:
    """Number of classes, of validation images per class, and their side in pixels, as in ImageNet's miniature."""

    classes: int = 12
    val: int = 20
    side: int = 80

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= len(WNIDS) or self.side < 16:
            raise UsageError(f"imagenet_c: classes must be 2 to {len(WNIDS)}, and side at least 16 pixels")


@dataclass(frozen=True)
class _Job:
    """One validation image, of a class in `WNIDS`, and where its corruptions go."""

    folder: Path
    class_name: str
    number: int
    seed: int
    side: int


def _noise(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Gaussian noise with a deviation of 0.08 to 0.38, as in ImageNet-C."""
    deviation = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    return _clipped(image / 255 + rng.normal(0, deviation, image.shape))


def _brightness(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """A tenth of the range brighter per severity, added to all channels."""
    return _clipped(image / 255 + 0.1 * severity)


def _contrast(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Less contrast around each channel's mean, by 0.4 to 0.05, as in ImageNet-C."""
    mean = (image / 255).mean(axis=(0, 1))
    return _clipped((image / 255 - mean) * (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1] + mean)


def _pixelate(image: Image, severity: int, rng: np.random.Generator) -> Image:
    """Shrunk to 0.6 to 0.25 of the size, and enlarged again, as in ImageNet-C."""
    height, width = image.shape[:2]
    scale = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    small = cv2.resize(image, (int(scale * width), int(scale * height)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST))


_APPLIED: dict[str, Callable[[Image, int, np.random.Generator], Image]] = {
    "gaussian_noise": _noise,
    "brightness": _brightness,
    "contrast": _contrast,
    "pixelate": _pixelate,
}


def _clipped(values: Image) -> Image:
    return np.asarray((values.clip(0, 1) * 255).round().astype(np.uint8))


def write_imagenet_c(folder: Path, spec: ImageNetCMini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes `<corruption>/<severity>/<wnid>/<wnid>_<number>.JPEG`: 4 of the 15 corruptions, without frost, fog and the like."""
    names = sorted(WNIDS, key=WNIDS.__getitem__)[: spec.classes]
    for name in names:
        for corruption in _APPLIED:
            for severity in _SEVERITIES:
                (folder / corruption / str(severity) / WNIDS[name]).mkdir(parents=True)
    jobs = [
        _Job(folder, name, number, room_seed(seed, "imagenet", "val", name, number), spec.side)
        for name in names
        for number in range(spec.val)
    ]
    for _ in pool.map(_write, jobs, chunksize=4):
        advance(1)


def _write(job: _Job) -> None:
    image, wnid = picture(job.class_name, job.seed, job.side), WNIDS[job.class_name]
    for corruption, change in _APPLIED.items():
        for severity in _SEVERITIES:
            changed = change(image, severity, make_rng(job.seed, corruption, severity))
            write_image(job.folder / corruption / str(severity) / wnid / f"{wnid}_{job.number}.JPEG", changed)


MINIATURE = Miniature(
    name="imagenet_c",
    write=write_imagenet_c,
    default=ImageNetCMini(),
    tiny=ImageNetCMini(classes=3, val=4, side=40),
    count=lambda spec: spec.classes * spec.val,
)
