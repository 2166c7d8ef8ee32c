"""CroCo's Habitat pairs as pairs of known relative pose, from the cameras that its generator writes beside each image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from croco_bench.data.formats.images import read_rgb
from croco_bench.data.pairs import open_pairs
from croco_bench.data.posed.sequences import is_rigid
from croco_bench.errors import DataError
from croco_bench.types import Array

_KEYS = {"camera_intrinsics": (3, 3), "R_cam2world": (3, 3), "t_cam2world": (3,)}


class HabitatPoses:
    """The pairs that `pairs.txt` lists; a sample holds what one of `PoseReader` does. Cameras are read on demand.

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
        """Of the list."""
        return self._pairs.fingerprint()

    def __getitem__(self, index: int) -> dict[str, Any]:
        """See `PoseReader`.

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
        facts = json.loads(path.read_text(encoding="utf-8"))
        K, rotation, center = (np.array(facts[key], dtype=np.float64).reshape(shape) for key, shape in _KEYS.items())
    except FileNotFoundError as error:
        raise DataError(
            f"there is no {path}, which says where the camera of this image stood",
            "the release's own script renders both",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        expected = ", ".join(f"{key} {'x'.join(map(str, shape))}" for key, shape in _KEYS.items())
        raise DataError(f"{path} should hold {expected} as JSON ({type(error).__name__}: {error})") from error
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, center
    if not is_rigid(pose) or not np.isfinite(K).all() or min(K[0, 0], K[1, 1]) <= 0:
        raise DataError(f"{path} holds no pinhole camera with a rigid pose", "render the pair again")
    return K, pose
