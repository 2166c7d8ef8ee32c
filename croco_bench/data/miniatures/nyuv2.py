"""Writes rooms in the layout of the labelled NYU Depth v2: a MATLAB 7.3 file (HDF5 with reversed axes) and splits."""

from __future__ import annotations

import io
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

from croco_bench.data.miniatures.miniature import Advance, Miniature
from croco_bench.data.rooms.camera import sample_camera
from croco_bench.data.rooms.classes import CLASSES
from croco_bench.data.rooms.generator import make_scene, room_seed
from croco_bench.data.rooms.render import View, render
from croco_bench.errors import UsageError
from croco_bench.seeding import derive, make_rng
from croco_bench.types import Array

_KINDS = ("bedroom", "living_room", "office", "dining_room", "study")
_HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 ."


@dataclass(frozen=True)
class NYUv2Mini:
    """Numbers of images, in all and per room of each split, and their size in pixels.

    The release has 795 + 654 images of 480x640. Test images of one room tell little more than one of them does.
    """

    train: int = 400
    test: int = 100
    views_per_scene: int = 5
    test_views_per_scene: int = 1
    height: int = 120
    width: int = 160

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 2:
            raise UsageError("nyuv2: height and width must be at least 2 pixels")
        if self.train + self.test > 65535:
            raise UsageError("nyuv2: train and test must be at most 65535 images together, which splits.mat can number")


@dataclass(frozen=True)
class RoomJob:
    """The views of one room, the scene `name` of the dataset."""

    name: str
    seed: int
    views: int
    spec: NYUv2Mini


def write_nyuv2(folder: Path, spec: NYUv2Mini, seed: int, pool: Executor, advance: Advance) -> None:
    """Writes `nyu_depth_v2_labeled.mat` and `splits.mat`. No room is in both splits.

    `rawDepths` has holes (0) as from a structured-light sensor: at depth edges, grazing angles and the border.
    """
    jobs = [job for split in ("train", "test") for job in room_jobs(spec, split, seed)]
    total, stream = spec.train + spec.test, io.BytesIO()
    # In memory: on a full disk HDF5 ends the process by a segmentation fault.
    with h5py.File(stream, "w", userblock_size=512) as file:
        maps = _create(file, total, spec)
        scenes: list[str] = []
        for job, views in zip(jobs, pool.map(_render_room, jobs), strict=True):
            for view in views:
                for key, value in view.items():
                    maps[key][len(scenes)] = value
                scenes.append(job.name)
            advance(len(views))
        _write_cells(file, "scenes", scenes)
        _write_cells(file, "sceneTypes", [name.rpartition("_")[0] for name in scenes])
        _write_cells(file, "names", [kind.name for kind in CLASSES[1:]])
    stream.getbuffer()[:128] = _HEADER.ljust(124) + b"\x00\x02IM"
    (folder / "nyu_depth_v2_labeled.mat").write_bytes(stream.getbuffer())
    numbers = np.arange(1, total + 1, dtype=np.uint16)[:, None]
    (folder / "splits.mat").write_bytes(_splits(numbers[: spec.train], numbers[spec.train :]))


def _splits(train: Array, test: Array) -> bytes:
    """A MATLAB 5 file. SciPy writes the time into its first 116 bytes, a free text."""
    stream: Any = io.BytesIO()  # scipy's types know paths alone
    scipy.io.savemat(stream, {"trainNdxs": train, "testNdxs": test})
    content: bytes = stream.getvalue()
    return b"MATLAB 5.0 MAT-file".ljust(116) + content[116:]


def room_jobs(spec: NYUv2Mini, split: str, seed: int) -> list[RoomJob]:
    """The jobs of all rooms of a split."""
    total, of_room = (spec.train, spec.views_per_scene) if split == "train" else (spec.test, spec.test_views_per_scene)
    jobs = []
    for number, first in enumerate(range(0, total, of_room)):
        kind = _KINDS[derive(seed, "kind", split, number) % len(_KINDS)]
        name = f"{kind}_{(0 if split == 'train' else max(5000, spec.train)) + number:04d}"
        views = min(of_room, total - first)
        jobs.append(RoomJob(name, room_seed(seed, "nyuv2", split, number), views, spec))
    return jobs


def room_views(job: RoomJob) -> list[tuple[View, Array]]:
    """The views of one room, each with the pixels (H, W) that a depth sensor doesn't measure."""
    scene, rng = make_scene(job.seed), make_rng(job.seed, "cameras")
    size = (job.spec.height, job.spec.width)
    views = [render(scene, sample_camera(scene, size, rng)) for _ in range(job.views)]
    return [(view, _holes(view, rng)) for view in views]


def _render_room(job: RoomJob) -> list[dict[str, Array]]:
    """The views of one room as entries of the file."""
    return [_entries(view, holes) for view, holes in room_views(job)]


def _entries(view: View, holes: Array) -> dict[str, Array]:
    """The arrays of a view, with the file's reversed axes."""
    depth = np.where(np.isfinite(view.depth_m), view.depth_m, 9.99)
    raw = np.where(holes, 0, depth)
    return {
        "images": view.rgb.transpose(2, 1, 0),
        "depths": depth.T.astype(np.float32),
        "rawDepths": raw.T.astype(np.float32),
        "labels": view.semantic.T.astype(np.uint16),
        "instances": view.instance.T.astype(np.uint8),
    }


def _holes(view: View, rng: np.random.Generator) -> Array:
    """Pixels (H, W) without a measurement of a depth sensor."""
    depth = view.depth_m
    rise, run = np.gradient(depth)
    edges = np.hypot(rise, run) > 0.08 * depth
    rays = view.camera.rays() @ view.camera.cam2world[:3, :3]
    directions = (rays / np.linalg.norm(rays, axis=1, keepdims=True)).reshape(view.normals.shape)
    cosine = -np.einsum("hwi,hwi->hw", view.normals, directions)
    border = np.ones_like(edges)
    width = max(round(0.012 * depth.shape[0]), 1)
    border[width:-width, width:-width] = False
    speckles = rng.random(depth.shape) < 0.005
    holes: Array = edges | (cosine < 0.12) | border | speckles | ~np.isfinite(depth)
    return holes


def _create(file: h5py.File, total: int, spec: NYUv2Mini) -> dict[str, h5py.Dataset]:
    """Creates the arrays of all images."""
    kinds = {"images": "uint8", "depths": "float32", "rawDepths": "float32", "labels": "uint16", "instances": "uint8"}
    maps = {}
    for key, kind in kinds.items():
        shape = (3, spec.width, spec.height) if key == "images" else (spec.width, spec.height)
        maps[key] = file.create_dataset(
            key, (total, *shape), kind, chunks=(1, *shape), compression="gzip", compression_opts=1
        )
        maps[key].attrs["MATLAB_class"] = np.bytes_("single" if kind == "float32" else kind)
    return maps


def _write_cells(file: h5py.File, key: str, texts: list[str]) -> None:
    """Writes a MATLAB cell array of strings: references to columns of UTF-16 characters."""
    store = file.require_group("#refs#")
    known: dict[str, h5py.Reference] = {}
    for text in texts:
        if text not in known:
            letters = store.create_dataset(
                f"{key}_{len(known)}", data=np.array([[ord(letter)] for letter in text], dtype=np.uint16)
            )
            letters.attrs["MATLAB_class"] = np.bytes_("char")
            known[text] = letters.ref
    cells = file.create_dataset(key, (1, len(texts)), h5py.ref_dtype)
    cells[0] = [known[text] for text in texts]
    cells.attrs["MATLAB_class"] = np.bytes_("cell")


MINIATURE = Miniature(
    name="nyuv2",
    write=write_nyuv2,
    default=NYUv2Mini(),
    tiny=NYUv2Mini(train=12, test=6, views_per_scene=3, test_views_per_scene=3, height=48, width=64),
    count=lambda spec: spec.train + spec.test,
)
