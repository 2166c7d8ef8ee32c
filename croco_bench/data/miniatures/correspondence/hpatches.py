"""Writes flat pictures of rooms, seen from six places or in six lights, in the layout of HPatches."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from croco_bench.data.datasets.correspondence.hpatches import IMAGES, LARGE
from croco_bench.data.formats.images import write_image
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.rooms.camera import sample_camera
from croco_bench.data.rooms.generator import make_scene, room_seed
from croco_bench.data.rooms.render import render
from croco_bench.errors import UsageError
from croco_bench.seeding import make_rng
from croco_bench.types import Array, Size

# Shift of a corner of the sixth image, as a share of its side; the second image has a fifth of it.
_SHIFT = 0.22
# The picture is this much larger than the image that shows its middle.
_MARGIN = 1.5


@dataclass(frozen=True)
class HPatchesMini:
    """Numbers of sequences of other viewpoint and of other light that are reported, and image size in pixels.

    Eight more have the names of the sequences of large images, for `measure` and `select`. The release has 56 and 52 beside
    these, most of about 700x1000 pixels.
    """

    viewpoints: int = 24
    lights: int = 12
    height: int = 120
    width: int = 160

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 8:
            raise UsageError("hpatches: height and width must be at least 8 pixels")


@dataclass(frozen=True)
class _Job:
    folder: Path
    seed: int
    size: Size


def write_hpatches(folder: Path, spec: HPatchesMini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes `<sequence>/{1..6}.ppm` and `H_1_{2..6}`; homographies are exact, and those of other lights the identity."""
    jobs = []
    for name in names_of(spec):
        (folder / name).mkdir()
        jobs.append(_Job(folder / name, room_seed(seed, "hpatches", name), (spec.height, spec.width)))
    for images in pool.map(_write_sequence, jobs):
        advance(images)


def names_of(spec: HPatchesMini) -> list[str]:
    """The names of all sequences."""
    return [
        *LARGE,
        *(f"v_room{i}" for i in range(spec.viewpoints)),
        *(f"i_room{i}" for i in range(spec.lights)),
    ]


def _write_sequence(job: _Job) -> int:
    rng, (height, width) = make_rng(job.seed, "sequence"), job.size
    scene = make_scene(job.seed)
    whole = (round(_MARGIN * height), round(_MARGIN * width))
    picture = render(scene, sample_camera(scene, whole, rng)).rgb
    middle = np.eye(3)
    middle[:2, 2] = (whole[1] - width) / 2, (whole[0] - height) / 2  # of pixels of image 1 to those of the picture
    for n in range(1, IMAGES + 1):
        homography, image = np.eye(3), _shown(picture, middle, job.size)
        if n > 1 and job.folder.name.startswith("v"):
            homography = _viewpoint(job.size, _SHIFT * (n - 1) / (IMAGES - 1), rng)
            image = _shown(picture, middle @ np.linalg.inv(homography), job.size)
        elif n > 1:
            image = _in_other_light(image, (n - 1) / (IMAGES - 1), rng)
        write_image(job.folder / f"{n}.ppm", image)
        if n > 1:
            np.savetxt(job.folder / f"H_1_{n}", homography, fmt="%.9g")
    return IMAGES


def _shown(picture: Array, to_picture: Array, size: Size) -> Array:
    """The picture (H, W, 3) uint8 as an image of `size`, whose pixels `to_picture` (3, 3) maps to those of the picture."""
    shown: Array = cv2.warpPerspective(
        picture,
        to_picture,
        size[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return shown


def _viewpoint(size: Size, shift: float, rng: np.random.Generator) -> Array:
    """A homography (3, 3) that moves each corner of an image by up to `shift` of its sides."""
    height, width = size
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float32)
    moved = corners + rng.uniform(-shift, shift, (4, 2)) * (width, height)
    found: Array = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    return found


def _in_other_light(image: Array, strength: float, rng: np.random.Generator) -> Array:
    """The image (H, W, 3) uint8 with another gamma, tint, and a shade across it."""
    gamma = float(np.exp(strength * rng.uniform(-1.0, 1.0)))
    tint = 1 + strength * rng.uniform(-0.4, 0.0, 3)
    shade = 1 - strength * rng.uniform(0.2, 0.7) * np.linspace(0, 1, image.shape[1])[None, :, None]
    return np.rint(255 * (image / 255) ** gamma * tint * shade).astype(np.uint8)


MINIATURE = Miniature(
    name="hpatches",
    write=write_hpatches,
    default=HPatchesMini(),
    tiny=HPatchesMini(viewpoints=1, lights=1, height=40, width=56),
    count=lambda spec: IMAGES * len(names_of(spec)),
)
