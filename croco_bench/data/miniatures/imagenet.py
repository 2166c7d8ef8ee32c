"""Writes pictures of single pieces of furniture in ImageNet's folders."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from croco_bench.data.rooms.camera import Camera, intrinsics, sample_camera
from croco_bench.data.rooms.classes import ID
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.render import View, render
from croco_bench.data.rooms.scene import Scene
from croco_bench.errors import DataError, UsageError
from croco_bench.seeding import derive, make_rng

# WordNet's numbers of what rooms hold; folders sort as the labels do.
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
# A picture shows a piece of at least so many pixels, with so much around it.
_LEAST, _MARGIN = 300, 0.15
_TRIES = 400


@dataclass(frozen=True)
class ImageNetMini:
    """How many of the twelve classes, how many pictures of each, their side (pixels). The real one has 1000 of some 1300."""

    classes: int = 12
    train: int = 60
    val: int = 20
    side: int = 80

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= len(WNIDS) or self.side < 16:
            raise UsageError(f"imagenet: classes must be 2 to {len(WNIDS)}, and side at least 16 pixels")


Job = tuple[str, str, str, int, int, int]


def write_imagenet(folder: Path, spec: ImageNetMini, seed: int, pool: Executor, advance: Callable[[int], None]) -> None:
    """Writes `{train,val}/<wnid>/<wnid>_<number>.JPEG` and `LOC_synset_mapping.txt`.

    Each picture is cut out around one piece of furniture, of a room of its own; other pieces may be seen beside it.
    """
    names = sorted(WNIDS, key=WNIDS.__getitem__)[: spec.classes]
    lines = [f"{WNIDS[name]} {name}" for name in names]
    (folder / "LOC_synset_mapping.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    jobs: list[Job] = []
    for part, count in (("train", spec.train), ("val", spec.val)):
        for name in names:
            (folder / part / WNIDS[name]).mkdir(parents=True)
            for number in range(count):
                place = derive(seed, "imagenet", part, name, number) % 2**32
                jobs.append((str(folder), part, name, number, place, spec.side))
    for _ in pool.map(_write_picture, jobs, chunksize=4):
        advance(1)


def _write_picture(job: Job) -> None:
    root, part, name, number, seed, side = job
    path = Path(root) / part / WNIDS[name] / f"{WNIDS[name]}_{number}.JPEG"
    picture = _picture(name, seed, side)[:, :, ::-1]
    done, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert done
    path.write_bytes(content.tobytes())


def _picture(name: str, seed: int, side: int) -> NDArray[Any]:
    """(side, side, 3) uint8 around a piece of this class; rooms are tried until one shows it large enough."""
    rng = make_rng(seed, "picture")
    for attempt in range(_TRIES):
        scene = make_scene(derive(seed, attempt) % 2**32)
        if ID[name] not in scene.semantic:
            continue
        for _ in range(4):
            camera = sample_camera(scene, _RENDERED, rng)
            if not _shows(scene, camera, name):
                continue
            square = _around(render(scene, camera), name, rng)
            if square is not None:
                picture: NDArray[Any] = cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)
                return picture
    raise DataError(f"no picture of a {name} was found in {_TRIES} rooms")


def _shows(scene: Scene, camera: Camera, name: str) -> bool:
    """Whether a coarse look, one ray for 25 pixels, meets enough of a class: most cameras needn't be rendered."""
    size = (_RENDERED[0] // 5, _RENDERED[1] // 5)
    rays = Camera(intrinsics(size), camera.cam2world, size).rays()
    _, triangle = scene.cast(np.broadcast_to(camera.center, rays.shape), rays)
    return int((scene.semantic[scene.owner_of(triangle)] == ID[name]).sum()) >= _LEAST // 25


def _around(view: View, name: str, rng: np.random.Generator) -> NDArray[Any] | None:
    """A square of the view around one piece of this class, or None where none is large and whole enough."""
    pieces, areas = np.unique(view.instance[view.semantic == ID[name]], return_counts=True)
    large = pieces[areas >= _LEAST]
    if not large.size:
        return None
    rows, columns = np.nonzero(view.instance == rng.choice(large))
    middle = np.array([rows.min() + rows.max(), columns.min() + columns.max()]) / 2
    wanted = max(np.ptp(rows), np.ptp(columns)) * (1 + 2 * _MARGIN) * rng.uniform(1.0, 1.3)
    span = int(min(max(wanted, 24), *view.rgb.shape[:2]))
    corner = np.rint(middle + rng.normal(0, 0.04 * span, 2) - span / 2).astype(int)
    top, left = np.clip(corner, 0, np.array(view.rgb.shape[:2]) - span)
    return view.rgb[top : top + span, left : left + span]
