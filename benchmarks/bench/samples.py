"""Raw samples of every dataset's size and content, made of noise, in memory or as files that are decoded like the real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from croco_bench import registry
from croco_bench.data.datasets.taskonomy import DOMAINS
from croco_bench.data.formats.images import read_rgb, write_image
from croco_bench.types import Array, Sample, Size


class MemoryReader:
    """`count` items, which are `samples` in turn. With a folder, images are JPEG files that are decoded at each access."""

    dataset, split, miniature = "noise", "noise", False

    def __init__(self, samples: Sequence[Sample], count: int, folder: Path | None = None) -> None:
        self._samples, self._count, self.available = list(samples), count, count
        if folder is not None:
            self._samples = [_stored(sample, folder / str(number)) for number, sample in enumerate(samples)]

    @property
    def groups(self) -> Sequence[str]:
        """Each item is its own."""
        return [str(index) for index in range(self._count)]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return {key: _read(value) for key, value in self._samples[index % len(self._samples)].items()}

    def fingerprint(self) -> str:
        """Of no content."""
        return "noise"


def _stored(sample: Sample, folder: Path) -> Sample:
    """The sample with its images (H, W, 3) as the paths of JPEG files."""
    folder.mkdir(parents=True)
    kept = dict(sample)
    for key, value in sample.items():
        if key.startswith("image") and isinstance(value, np.ndarray) and value.ndim == 3:
            kept[key] = folder / f"{key}.jpg"
            write_image(kept[key], value, jpeg_quality=90)
    return kept


def _read(value: Any) -> Any:
    return read_rgb(value) if isinstance(value, Path) else value


def _texture(rng: np.random.Generator, size: Size, channels: int = 3) -> Array:
    """Values in [0, 1] (H, W, channels): smooth noise with some fine noise, about as hard to compress as a photograph."""
    coarse = rng.random((size[0] // 16 + 2, size[1] // 16 + 2, channels), dtype=np.float32)
    smooth = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC).reshape(*size, channels)
    fine = rng.normal(0.0, 0.02, (*size, channels)).astype(np.float32)
    values: Array = np.clip(smooth + fine, 0, 1)
    return values


def _image(rng: np.random.Generator, size: Size) -> Array:
    return (_texture(rng, size) * 255).astype(np.uint8)


def _ones(size: Size) -> Array:
    return np.ones(size, dtype=np.bool_)


def _depth(rng: np.random.Generator, size: Size) -> Array:
    depth: Array = 1 + 4 * _texture(rng, size, 1)[..., 0]
    return depth


def _nyuv2(rng: np.random.Generator, size: Size) -> Sample:
    return {"image": _image(rng, size), "depth_m": _depth(rng, size), "valid": _ones(size), "id": "noise"}


def _normals(rng: np.random.Generator, size: Size) -> Sample:
    slopes = np.concatenate([_texture(rng, size, 2) - 0.5, np.ones((*size, 1), dtype=np.float32)], axis=-1)
    normals = (slopes / np.linalg.norm(slopes, axis=-1, keepdims=True)).astype(np.float32)
    return {"image": _image(rng, size), "normals": normals, "valid": _ones(size), "id": "noise"}


def _ade20k(rng: np.random.Generator, size: Size) -> Sample:
    label = (_texture(rng, size, 1)[..., 0] * 149).astype(np.uint8)
    return {"image": _image(rng, size), "label": label, "id": "noise"}


def _taskonomy(rng: np.random.Generator, size: Size) -> Sample:
    return {"image": _image(rng, size), "target": _texture(rng, size, 3), "valid": _ones(size), "id": "noise"}


def _imagenet(rng: np.random.Generator, size: Size) -> Sample:
    return {"image": _image(rng, size), "label": int(rng.integers(1000)), "id": "noise"}


def _pair(rng: np.random.Generator, size: Size) -> tuple[Array, Array]:
    image = _image(rng, size)
    return image, np.roll(image, 3, axis=1)


def _flow(rng: np.random.Generator, size: Size) -> Sample:
    one, two = _pair(rng, size)
    flow = np.zeros((*size, 2), dtype=np.float32) + np.array([3, 0], dtype=np.float32)
    known = {"flow_px": flow, "valid": _ones(size), "occluded": ~_ones(size), "invalid": ~_ones(size)}
    return {"image1": one, "image2": two, **known, "id": "noise", "passes": {"clean": (one, two), "final": (one, two)}}


def _stereo(rng: np.random.Generator, size: Size) -> Sample:
    one, two = _pair(rng, size)
    disparity = np.full(size, 3, dtype=np.float32)
    return {"image1": one, "image2": two, "disparity_px": disparity, "valid": _ones(size), "id": "noise"}


def _pose(rng: np.random.Generator, size: Size) -> Sample:
    one, two = _pair(rng, size)
    K = np.array([[size[1], 0, size[1] / 2], [0, size[1], size[0] / 2], [0, 0, 1.0]])
    relative = np.eye(4)
    relative[0, 3] = 0.2
    return {
        "image1": one,
        "image2": two,
        "K1": K,
        "K2": K,
        "relative": relative,
        "cam2world1": np.eye(4),
        "cam2world2": relative,
        "scene": "noise",
        "id": "noise",
        "depth1_m": _depth(rng, size),
        "depth2_m": _depth(rng, size),
    }


def _query(rng: np.random.Generator, size: Size) -> Sample:
    """A query with ten database views."""
    pair = _pose(rng, size)
    stacked = {key: np.stack([pair[key]] * 10) for key in ("image1", "K1", "relative", "cam2world1")}
    return {**pair, **stacked, "scene": "0"}


def _object(rng: np.random.Generator, size: Size) -> Sample:
    """A flat surface a metre away."""
    depth = np.ones(size, dtype=np.float32)
    return {**_pose(rng, size), "depth1_m": depth, "depth2_m": depth}


def _plane(rng: np.random.Generator, size: Size) -> Sample:
    """Two images of a flat scene."""
    one, two = _pair(rng, size)
    homography = np.array([[1, 0, 3], [0, 1, 0], [0, 0, 1.0]])
    return {
        "image1": one,
        "image2": two,
        "homography": homography,
        "kind": "viewpoint",
        "scene": "noise",
        "id": "noise",
    }


def _keypoints(rng: np.random.Generator, size: Size) -> Sample:
    """Two images with ten keypoints."""
    one, two = _pair(rng, size)
    first = rng.uniform(0.1, 0.8, (10, 2)) * size[::-1]
    known = {"keypoints1": first, "keypoints2": first + np.array([3, 0]), "box2": np.array([0.0, 0, size[1], size[0]])}
    return {"image1": one, "image2": two, **known, "difficulty": 0, "scene": "cat", "id": "noise"}


Maker = Callable[[np.random.Generator, Size], Sample]
# By task or group of tasks: makers of training and of test samples, and the size of the dataset's images. Middlebury's full size
# takes 1,600 windows a pair: a quarter of its width and height stands for it. Sizes in HPatches, SPair-71k and NAVI vary.
_MAKERS: dict[str, tuple[Maker, Maker, Size]] = {
    "nyuv2-depth": (_nyuv2, _nyuv2, (480, 640)),
    "ade20k-seg": (_ade20k, _ade20k, (512, 683)),
    "taskonomy": (_taskonomy, _taskonomy, (256, 256)),
    "imagenet-linear": (_imagenet, _imagenet, (375, 500)),
    "sintel-flow": (_flow, _flow, (436, 1024)),
    "stereo": (_stereo, _stereo, (500, 740)),
    "relative-pose": (_pose, _query, (480, 640)),
    "correspondence": (_pose, _pose, (480, 640)),
    "correspondence-hpatches": (_plane, _plane, (600, 800)),
    "correspondence-spair71k": (_keypoints, _keypoints, (375, 500)),
    "correspondence-navi": (_object, _object, (1024, 768)),
    "nyuv2-normals": (_normals, _normals, (480, 640)),
    "kitti-depth": (_nyuv2, _nyuv2, (375, 1242)),
}


def _key(task: str) -> str:
    return registry.tasks()[task].card.group or task


def known(task: str) -> bool:
    """Whether samples of this task can be made."""
    return _key(task) in _MAKERS


def size_of(task: str) -> Size:
    """Size (H, W) of the images of a task's dataset."""
    return _MAKERS[_key(task)][2]


def raw_samples(task: str, *, test: bool, size: Size | None = None, count: int = 4) -> list[Sample]:
    """Different samples of a task's dataset; `size` replaces that of its images."""
    train, tested, usual = _MAKERS[_key(task)]
    maker = tested if test else train
    made = [maker(np.random.default_rng(seed), size or usual) for seed in range(count)]
    if _key(task) != "taskonomy":
        return made
    channels = DOMAINS[task.removeprefix("taskonomy-")].channels
    return [{**sample, "target": sample["target"][..., :channels]} for sample in made]


def view_pairs(size: Size, count: int = 4) -> list[Sample]:
    """Pairs for pre-training."""
    rngs = [np.random.default_rng(seed) for seed in range(count)]
    return [dict(zip(("image1", "image2"), _pair(rng, size), strict=True)) for rng in rngs]
