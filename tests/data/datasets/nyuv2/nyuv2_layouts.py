"""NYUv2 in its layouts, small, with known pixels."""

from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import numpy as np
import scipy.io

from croco_bench.data.datasets.nyuv2_mat import MAT, SPLITS
from croco_bench.data.folders import MARKER
from croco_bench.types import Array

COUNT, HEIGHT, WIDTH = 24, 12, 16
TRAIN = np.array([n for n in range(1, COUNT + 1) if n % 3], dtype=np.uint16)[:, None]
TEST = np.array([n for n in range(1, COUNT + 1) if n % 3 == 0], dtype=np.uint16)[:, None]
SCENES = [f"{'kitchen' if n < 12 else 'office'}_{n // 4:04d}{'ab'[n // 2 % 2]}" for n in range(COUNT)]


def image_of(number: int) -> Array:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    image: Array = np.stack([10 * rows, 10 * columns, np.full_like(rows, number)], axis=2).astype(np.uint8)
    return image


def depth_of(number: int) -> Array:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    depth: Array = (1 + 0.1 * rows + 0.01 * columns + 0.001 * number).astype(np.float32)
    return depth


def raw_of(number: int) -> Array:
    raw = depth_of(number)
    raw[2, 5] = raw[7, :3] = 0
    return raw


def write_cells(file: h5py.File, key: str, texts: list[str]) -> None:
    cells = file.create_dataset(key, (1, len(texts)), h5py.ref_dtype)
    for place, text in enumerate(texts):
        letters = np.array([[ord(letter)] for letter in text], dtype=np.uint16)
        cells[0, place] = file.create_dataset(f"#refs#/{key}{place}", data=letters).ref


def write_official(root: Path) -> Path:
    """MATLAB 7.3: axes reversed, so that HDF5 sees (n, 3, W, H) and (n, W, H)."""
    with h5py.File(root / MAT, "w", userblock_size=512) as file:
        for key, maps in (("images", image_of), ("depths", depth_of), ("rawDepths", raw_of)):
            file.create_dataset(key, data=np.stack([maps(number).T for number in range(COUNT)]))
        write_cells(file, "scenes", SCENES)
        write_cells(file, "sceneTypes", [scene.partition("_")[0] for scene in SCENES])
    scipy.io.savemat(root / SPLITS, {"trainNdxs": TRAIN, "testNdxs": TEST})
    (root / MARKER).write_text("{}")
    return root


def write_folders(root: Path, *, masks: bool = True) -> Path:
    for split, numbers in (("train", TRAIN), ("test", TEST)):
        for number in (numbers.ravel() - 1).tolist():
            maps = {"rgb": image_of(number)[:, :, ::-1], "depth": (raw_of(number) * 6553.6).astype(np.uint16)}
            if masks:
                maps["mask_valid"] = (255 * (depth_of(number) > 1.5)).astype(np.uint8)
            for name, values in maps.items():
                path = root / split / name / "data" / f"{number:04d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), values)
    (root / MARKER).write_text("{}")
    return root


def write_bts(root: Path) -> Path:
    for split, numbers in (("train", TRAIN), ("test", TEST)):
        lines = []
        for number in (numbers.ravel() - 1).tolist():
            folder = root / SCENES[number]
            folder.mkdir(exist_ok=True)
            cv2.imwrite(str(folder / f"rgb_{number:05d}.png"), image_of(number)[:, :, ::-1])
            cv2.imwrite(str(folder / f"sync_depth_{number:05d}.png"), (raw_of(number) * 1000).round().astype(np.uint16))
            lines.append(f"/{SCENES[number]}/rgb_{number:05d}.png /{SCENES[number]}/sync_depth_{number:05d}.png 518.85")
        (root / f"nyu_{split}.txt").write_text("\n".join([*lines, "/x/rgb.png None 518.85", ""]))
    (root / MARKER).write_text("{}")
    return root


WRITERS: dict[str, Callable[[Path], Path]] = {"mat": write_official, "folders": write_folders, "bts": write_bts}
