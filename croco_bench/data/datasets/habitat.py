"""CroCo's Habitat release: its list of pairs, and the pairs' relative poses from the cameras beside the images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from croco_bench.data.checks.run_check import Finding, run_check
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.images import read_rgb
from croco_bench.data.pairs import open_pairs
from croco_bench.data.posed.matrices import is_rigid
from croco_bench.data.splitting import spread_indices
from croco_bench.errors import DataError
from croco_bench.files import atomic, parse_json
from croco_bench.types import Array

PAIRS = 1_801_209
_PAIRS_LOOKED_AT = 5
_CAMERA_KEYS = {"camera_intrinsics": (3, 3), "R_cam2world": (3, 3), "t_cam2world": (3,)}


class HabitatPoses:
    """The pairs of `pairs.txt`; samples have the keys of a `PoseReader`'s pair. Images and cameras are read on demand.

    Raises:
        DataError: there is no list, or it lists nothing.
    """

    split = "train"

    def __init__(self, root: Path) -> None:
        self._root, self._pairs = root, open_pairs(root)
        self.dataset, self.miniature, self.available = self._pairs.dataset, self._pairs.miniature, len(self._pairs)

    def __len__(self) -> int:
        return self.available

    @property
    def groups(self) -> Sequence[str]:
        """The folder of each pair: its scene."""
        return self._pairs.groups

    def fingerprint(self) -> str:
        """Hash of the list."""
        return self._pairs.fingerprint()

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The sample of pair `index`.

        Raises:
            DataError: an image or a camera is missing or damaged.
        """
        names = self._pairs.names(index)
        (K1, pose1), (K2, pose2) = (read_camera(_camera_of(self._root / name)) for name in names)
        return {
            "image1": read_rgb(self._root / names[0]),
            "image2": read_rgb(self._root / names[1]),
            "K1": K1,
            "K2": K2,
            "cam2world1": pose1,
            "cam2world2": pose2,
            "relative": np.linalg.inv(pose1) @ pose2,
            "scene": names[0].rpartition("/")[0],
            "id": " ".join(names),
        }


def _camera_of(image: Path) -> Path:
    return image.with_name(f"{image.stem}_camera_params.json")


def read_camera(path: Path) -> tuple[Array, Array]:
    """K (3, 3) in pixels and cam2world (4, 4) in metres, OpenCV axes, of a `*_camera_params.json`.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        facts = parse_json(path.read_text(encoding="utf-8"))
        K, rotation, center = (
            np.array(facts[key], dtype=np.float64).reshape(shape) for key, shape in _CAMERA_KEYS.items()
        )
    except FileNotFoundError as error:
        raise DataError(
            f"there is no {path}, which says where the camera of this image stood",
            "the release's own script renders both",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        expected = ", ".join(f"{key} {'x'.join(map(str, shape))}" for key, shape in _CAMERA_KEYS.items())
        raise DataError(f"{path} should hold {expected} as JSON ({type(error).__name__}: {error})") from error
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, center
    if not is_rigid(pose) or not np.isfinite(K).all() or min(K[0, 0], K[1, 1]) <= 0:
        raise DataError(
            f"{path} holds no pinhole camera with a rigid pose", "render the pair again, or leave it out of pairs.txt"
        )
    return K, pose


def prepare(root: Path) -> str:
    """Writes `pairs.txt`: every `*_1.jpeg` with its `*_2.jpeg`. Returns its path and the number of pairs.

    Folders called `val` or `minival` are held out, as in the release. Only names below `root` are compared: the authors'
    script searches the whole path for these letters, and so lists nothing below `/data/eval`, for example.

    Raises:
        DataError: there are no pairs, or the list is there already.
    """
    listing = root / "pairs.txt"
    if listing.exists():
        raise DataError(f"{listing} is there already", "delete it to list the pairs again")
    lines = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in ("val", "minival"))
        there = set(files)
        for name in sorted(files):
            second = name.removesuffix("_1.jpeg") + "_2.jpeg"
            if name.endswith("_1.jpeg") and second in there:
                path = (Path(folder) / name).relative_to(root)
                lines.append(f"{path.as_posix()} {path.with_name(second).as_posix()}\n")
    if not lines:
        raise DataError(
            f"{root} holds no pairs 00000000_1.jpeg, 00000000_2.jpeg",
            "the release has cameras: render its pairs",
        )
    with atomic(listing) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
    return f"{listing} with {len(lines)} pairs"


def check(root: Path) -> list[Finding]:
    """Findings on `pairs.txt` and on the images of a few pairs."""
    return run_check(root, _look)


def _look(root: Path) -> Iterator[Finding]:
    listing = root / "pairs.txt"
    if not listing.is_file():
        raise DataError(f"there is no {listing}", "list one pair a line: two paths relative to this folder")
    pairs = [line.split() for line in listing.read_text("utf-8", "replace").splitlines() if line.strip()]
    wrong = [number for number, pair in enumerate(pairs, start=1) if len(pair) != 2]
    if wrong or not pairs:
        where = f"line {wrong[0]}" if wrong else "the file"
        raise DataError(f"{listing}: {where} should hold two paths", "one pair a line, separated by a space")
    as_released = is_miniature(root) or len(pairs) == PAIRS
    what = f"pairs.txt: {len(pairs)} pairs"
    yield Finding.count(as_released, what, f"the release has {PAIRS} for training", open_pairs(root))
    for i in spread_indices(len(pairs), _PAIRS_LOOKED_AT):
        yield _look_at(root, pairs[i])


def _look_at(root: Path, pair: Sequence[str]) -> Finding:
    try:
        sizes = [read_rgb(root / path).shape[:2] for path in pair]
    except DataError as error:
        return Finding.from_error(error, "render the pair again, or leave it out of pairs.txt")
    what = f"{pair[0]}: {sizes[0]} and {sizes[1]} pixels"
    return Finding(sizes[0] == sizes[1], what, "expected two equal sizes", stops=False)
