"""Writes images of single pieces of furniture in ImageNet's folders."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from croco_bench.data.formats.images import write_image
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.rooms.camera import Camera, intrinsics, sample_camera
from croco_bench.data.rooms.classes import ID
from croco_bench.data.rooms.generator import make_scene, room_seed
from croco_bench.data.rooms.render import View, render
from croco_bench.data.rooms.scene import Scene
from croco_bench.errors import DataError, UsageError
from croco_bench.seeding import make_rng

# WordNet ids of the classes; folders sort as the labels.
WNIDS = {
    "ball": "n02778669",
    "bed": "n02818832",
    "box": "n02883344",
    "cabinet": "n02933112",
    "chair": "n03001627",
    "column": "n03073977",
    "door": "n03221720",
    "lamp": "n03636248",
    "picture": "n03931044",
    "sofa": "n04256520",
    "table": "n04379243",
    "window": "n04587648",
}
_RENDERED = (120, 160)
# Minimum area of the piece in the rendered view, in pixels, and the margin around it, as a share of its size.
_MIN_AREA, _MARGIN = 300, 0.15
_ATTEMPTS = 400


@dataclass(frozen=True)
class ImageNetMini:
    """Number of classes, of images per class, and their side in pixels. The release has 1000 classes of about 1300."""

    classes: int = 12
    train: int = 60
    val: int = 60
    side: int = 80

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= len(WNIDS) or self.side < 16:
            raise UsageError(f"imagenet: classes must be 2 to {len(WNIDS)}, and side at least 16 pixels")


@dataclass(frozen=True)
class _Job:
    """One image of a class, a key of `WNIDS`."""

    path: Path
    class_name: str
    seed: int
    side: int


def write_imagenet(folder: Path, spec: ImageNetMini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes `{train,val}/<wnid>/<wnid>_<number>.JPEG` and `LOC_synset_mapping.txt`.

    Each image is a crop around one piece of furniture of its own room; other pieces may be visible.
    """
    names = sorted(WNIDS, key=WNIDS.__getitem__)[: spec.classes]
    lines = [f"{WNIDS[name]} {name}" for name in names]
    (folder / "LOC_synset_mapping.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    jobs = []
    for split, count in (("train", spec.train), ("val", spec.val)):
        for name in names:
            of_class = folder / split / WNIDS[name]
            of_class.mkdir(parents=True)
            for number in range(count):
                path = of_class / f"{WNIDS[name]}_{number}.JPEG"
                jobs.append(_Job(path, name, room_seed(seed, "imagenet", split, name, number), spec.side))
    for _ in pool.map(_write_image, jobs, chunksize=4):
        advance(1)


def _write_image(job: _Job) -> None:
    write_image(job.path, picture(job.class_name, job.seed, job.side))


def picture(class_name: str, seed: int, side: int) -> NDArray[Any]:
    """An image (side, side, 3) uint8 around a piece of the class; rooms are tried until one shows it large enough."""
    rng = make_rng(seed, "picture")
    for attempt in range(_ATTEMPTS):
        scene = make_scene(room_seed(seed, attempt))
        if ID[class_name] not in scene.semantic:
            continue
        for _ in range(4):
            camera = sample_camera(scene, _RENDERED, rng)
            if not _shows(scene, camera, class_name):
                continue
            square = _crop_around(render(scene, camera), class_name, rng)
            if square is not None:
                image: NDArray[Any] = cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)
                return image
    raise DataError(f"no picture of a {class_name} was found in {_ATTEMPTS} rooms")


def _shows(scene: Scene, camera: Camera, class_name: str) -> bool:
    """Whether enough rays hit a class, one per 5x5 pixels: a cheap test that saves rendering most views."""
    size = (_RENDERED[0] // 5, _RENDERED[1] // 5)
    rays = Camera(intrinsics(size), camera.cam2world, size).rays()
    _, triangle = scene.cast(np.broadcast_to(camera.center, rays.shape), rays)
    return int((scene.semantic[scene.owner_of(triangle)] == ID[class_name]).sum()) >= _MIN_AREA // 25


def _crop_around(view: View, class_name: str, rng: np.random.Generator) -> NDArray[Any] | None:
    """A square crop of the view around a random piece of the class; None if no piece is large enough."""
    pieces, areas = np.unique(view.instance[view.semantic == ID[class_name]], return_counts=True)
    large = pieces[areas >= _MIN_AREA]
    if not large.size:
        return None
    rows, columns = np.nonzero(view.instance == rng.choice(large))
    middle = np.array([rows.min() + rows.max(), columns.min() + columns.max()]) / 2
    wanted = max(np.ptp(rows), np.ptp(columns)) * (1 + 2 * _MARGIN) * rng.uniform(1.0, 1.3)
    height, width = view.rgb.shape[:2]
    span = int(min(max(wanted, 24), height, width))
    corner = np.rint(middle + rng.normal(0, 0.04 * span, 2) - span / 2).astype(int)
    top, left = np.clip(corner, 0, np.array([height, width]) - span)
    return view.rgb[top : top + span, left : left + span]


MINIATURE = Miniature(
    name="imagenet",
    write=write_imagenet,
    default=ImageNetMini(),
    tiny=ImageNetMini(classes=3, train=8, val=4, side=40),
    count=lambda spec: spec.classes * (spec.train + spec.val),
)
