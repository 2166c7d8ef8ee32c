"""Writes seven kinds of furniture of various proportions in the layout of SPair-71k."""

from __future__ import annotations

import json
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from croco_bench.data.datasets.correspondence.spair71k import FILES, Split
from croco_bench.data.formats.images import write_image
from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.rooms.generator import room_seed
from croco_bench.data.rooms.objects import SHAPES, around, make_object_scene
from croco_bench.data.rooms.render import render
from croco_bench.errors import UsageError
from croco_bench.seeding import make_rng
from croco_bench.types import Array, Size

# Changes of azimuth in degrees up to which a pair is easy, or medium.
_EASY_DEG, _MEDIUM_DEG = 30, 75


@dataclass(frozen=True)
class SPairMini:
    """Numbers of images per class, and of pairs per class, of each split; image size in pixels.

    The release has 18 classes of 100 images, and 53,340, 5,384 and 12,234 pairs.
    """

    train_images: int = 8
    select_images: int = 8
    test_images: int = 16
    train_pairs: int = 20
    select_pairs: int = 15
    test_pairs: int = 45
    height: int = 120
    width: int = 160

    def __post_init__(self) -> None:
        for split in FILES:
            if self.images(split) < 2:
                raise UsageError(f"spair71k: {split}_images must be at least 2, as pairs are of two")
        if min(self.height, self.width) < 16:
            raise UsageError("spair71k: height and width must be at least 16 pixels")

    def images(self, split: Split) -> int:
        """Images per class of a split."""
        return int(getattr(self, f"{split}_images"))

    def pairs(self, split: Split) -> int:
        """Pairs per class of a split, if there are as many."""
        return int(getattr(self, f"{split}_pairs"))


@dataclass(frozen=True)
class _Job:
    path: Path
    shape: str
    seed: int
    size: Size


@dataclass(frozen=True)
class _Annotation:
    """An image's name, its keypoints (K, 2) in pixels, NaN where hidden, the object's box, and the azimuth in degrees."""

    name: str
    keypoints: Array
    box: tuple[int, ...]
    azimuth_deg: float


def write_spair71k(folder: Path, spec: SPairMini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes images, lists of pairs, and annotations; no object is in two splits."""
    (folder / "Layout/large").mkdir(parents=True)
    for shape in SHAPES:
        (folder / "JPEGImages" / shape).mkdir(parents=True)
    for split in FILES:
        (folder / "PairAnnotation" / FILES[split]).mkdir(parents=True)
        listed: list[str] = []
        for shape in SHAPES:
            jobs = [
                _Job(
                    folder / "JPEGImages" / shape / f"{split}_{number:06d}.jpg",
                    shape,
                    room_seed(seed, "spair71k", split, shape, number),
                    (spec.height, spec.width),
                )
                for number in range(spec.images(split))
            ]
            annotations = []
            for annotation in pool.map(_write_image, jobs, chunksize=4):
                annotations.append(annotation)
                advance(1)
            rng = make_rng(seed, "spair71k pairs", split, shape)
            listed += _write_pairs(folder, split, shape, annotations, spec, len(listed), rng)
        (folder / f"Layout/large/{FILES[split]}.txt").write_text("\n".join(listed) + "\n", encoding="utf-8")


def _write_image(job: _Job) -> _Annotation:
    """Renders an object, of which at least four named points are seen."""
    rng = make_rng(job.seed, "view")
    scene = make_object_scene(job.shape, job.seed, job.seed + 1)
    while True:
        distance, azimuth = rng.uniform(1.4, 2.1), rng.uniform(0, 2 * np.pi)
        camera = around(scene, job.size, distance, azimuth, np.radians(rng.uniform(10, 50)), rng)
        keypoints = scene.seen(camera)
        if np.isfinite(keypoints).all(axis=1).sum() >= 4:
            break
    view = render(scene.scene, camera)
    write_image(job.path, view.rgb)
    rows, columns = np.nonzero(scene.mask(view))
    box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    return _Annotation(job.path.stem, keypoints, box, float(np.degrees(azimuth)))


def _write_pairs(
    folder: Path,
    split: Split,
    shape: str,
    annotations: list[_Annotation],
    spec: SPairMini,
    before: int,
    rng: np.random.Generator,
) -> list[str]:
    """Writes annotations of random pairs with common keypoints; returns their names."""
    couples = [pair for pair in permutations(annotations, 2) if _common(*pair).any()]
    chosen = rng.permutation(len(couples))[: spec.pairs(split)]
    names: list[str] = []
    for one, two in (couples[index] for index in chosen):
        name = f"{before + len(names):06d}-{one.name}-{two.name}:{shape}"
        content = _content(one, two, shape, (spec.width, spec.height, 3))
        (folder / "PairAnnotation" / FILES[split] / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        names.append(name)
    return names


def _common(one: _Annotation, two: _Annotation) -> Array:
    """Which keypoints both images show: (K,) bool."""
    return np.asarray(np.isfinite([one.keypoints, two.keypoints]).all(axis=(0, 2)))


def _content(one: _Annotation, two: _Annotation, shape: str, size: tuple[int, ...]) -> dict[str, Any]:
    common = _common(one, two)
    turned = abs((two.azimuth_deg - one.azimuth_deg + 180) % 360 - 180)
    return {
        "category": shape,
        "src_imname": f"{one.name}.jpg",
        "trg_imname": f"{two.name}.jpg",
        "src_imsize": size,
        "trg_imsize": size,
        "src_bndbox": one.box,
        "trg_bndbox": two.box,
        "kps_ids": [str(index) for index in np.flatnonzero(common)],
        "src_kps": np.rint(one.keypoints[common]).astype(int).tolist(),
        "trg_kps": np.rint(two.keypoints[common]).astype(int).tolist(),
        "viewpoint_variation": 0 if turned <= _EASY_DEG else 1 if turned <= _MEDIUM_DEG else 2,
    }


MINIATURE = Miniature(
    name="spair71k",
    write=write_spair71k,
    default=SPairMini(),
    tiny=SPairMini(3, 3, 3, 3, 3, 4, height=40, width=56),
    count=lambda spec: len(SHAPES) * sum(spec.images(split) for split in FILES),
    version=2,
)
