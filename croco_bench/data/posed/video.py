"""A posed RGB-D video: frames with image, depth map and camera pose."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from croco_bench.data.posed.depth import read_depth_m
from croco_bench.data.posed.matrices import is_rigid, read_pose
from croco_bench.errors import DataError
from croco_bench.files import fingerprint
from croco_bench.types import Array, Size

Layout = Literal["7-Scenes", "ScanNet", "COLMAP"]


@dataclass(frozen=True)
class PosedFrame:
    """One frame: files of image and depth map, pose and intrinsics.

    `K` (3, 3), in pixels, and `size` (H, W) belong to the depth map. ScanNet's images are larger, with the same field of
    view to within two pixels. `cam2world` (4, 4) in metres, OpenCV axes.
    """

    image: Path
    depth: Path
    K: Array
    cam2world: Array
    size: Size

    def depth_m(self) -> Array:
        """Depth (H, W) float32 in metres along the optical axis, NaN where unknown; reads the file at every call.

        Raises:
            DataError: the file is missing, damaged, not 16-bit, or differs in size from the first one of its sequence.
        """
        return read_depth_m(
            self.depth,
            self.size,
            of="its sequence began with",
            advice="all depth maps of a sequence should be of one size: was one resized?",
        )


@dataclass(frozen=True)
class PosedSequence:
    """One continuous video.

    Attributes:
        folder: the folder of its files.
        name: `folder` relative to the root.
        scene: its scene. In 7-Scenes, sequences of one scene share world coordinates.
        split: split according to the scene's own lists; None without a list.
        layout: layout of its files.
        numbers: frame numbers in the file names, ascending.
        depth_ending: ending of the names of depth maps.
        K: intrinsics (3, 3) of all depth maps.
        size: (H, W) of all depth maps.
        digits: digits of the numbers in ScanNet's file names; 0 if they have no leading zeros.
    """

    folder: Path
    name: str
    scene: str
    split: Literal["train", "test"] | None
    layout: Layout
    numbers: tuple[int, ...]
    depth_ending: str
    K: Array
    size: Size
    digits: int = 0

    def __len__(self) -> int:
        return len(self.numbers)

    def frame(self, index: int) -> PosedFrame | None:
        """Frame `index` (counted from 0); None where tracking was lost (-inf in ScanNet's pose file).

        Raises:
            DataError: the pose is missing or isn't a rigid motion.
        """
        image, depth, pose = self._paths(index)
        cam2world = read_pose(pose, may_be_lost=self.layout == "ScanNet")
        return None if cam2world is None else PosedFrame(image, depth, self.K, cam2world, self.size)

    def image(self, index: int) -> Path:
        """Path of the image of frame `index`."""
        return self._paths(index)[0]

    def depth(self, index: int) -> Path:
        """Path of the depth map of frame `index`."""
        return self._paths(index)[1]

    def poses(self) -> Array:
        """Reads and checks the camera-to-world poses (n, 4, 4) of all frames; NaN where tracking was lost.

        Raises:
            DataError: a pose is missing or isn't a rigid motion.
        """
        paths = [self._paths(index)[2] for index in range(len(self))]
        try:
            words = [path.read_bytes().split() for path in paths]
            poses: Array = np.array(words, dtype=np.float64).reshape(-1, 4, 4)
        except (OSError, ValueError):
            poses = np.empty((0, 4, 4))
        if len(poses) == len(self) and is_rigid(poses).all():
            return poses
        # A pose is damaged or lost: reading one file at a time tells which.
        single = [read_pose(path, may_be_lost=self.layout == "ScanNet") for path in paths]
        return np.stack([np.full((4, 4), np.nan) if pose is None else pose for pose in single])

    def _paths(self, index: int) -> tuple[Path, Path, Path]:
        return paths_of(self.folder, self.layout, self.numbers[index], self.depth_ending, self.digits)

    def fingerprint(self) -> str:
        """Hash of name, split, frame numbers, size and intrinsics; no image or pose is read."""
        return fingerprint(f"{self.name}:{self.split}:{self.depth_ending}:{self.size}:{self.K.tolist()}:{self.numbers}")


@dataclass(frozen=True)
class ListedSequence(PosedSequence):
    """A sequence whose poses are in one file: its frames are known. `K` and `size` of the sequence are those of the first."""

    frames: tuple[PosedFrame, ...] = ()

    def frame(self, index: int) -> PosedFrame:
        """Frame `index` (counted from 0)."""
        return self.frames[index]

    def poses(self) -> Array:
        """The camera-to-world poses (n, 4, 4) of all frames."""
        return np.stack([frame.cam2world for frame in self.frames])

    def _paths(self, index: int) -> tuple[Path, Path, Path]:
        return self.frames[index].image, self.frames[index].depth, self.folder

    def fingerprint(self) -> str:
        """Hash of the frames' names, sizes, intrinsics and poses; no image is read."""
        facts = (f"{one.image.name}:{one.size}:{one.K.tolist()}:{one.cam2world.tolist()}" for one in self.frames)
        return fingerprint(f"{self.name}:{self.layout}", *facts)


def paths_of(folder: Path, layout: str, number: int, depth_ending: str, digits: int = 0) -> tuple[Path, Path, Path]:
    """Image, depth map and pose of one frame."""
    if layout == "ScanNet" and depth_ending == ".png":
        stem = f"{number:0{digits}d}"
        return folder / f"color/{stem}.jpg", folder / f"depth/{stem}.png", folder / f"pose/{stem}.txt"
    stem, color = f"frame-{number:06d}", ".color.jpg" if layout == "ScanNet" else ".color.png"
    return folder / f"{stem}{color}", folder / f"{stem}{depth_ending}", folder / f"{stem}.pose.txt"


def depth_size(path: Path) -> Size:
    """(H, W) from the header of a PNG or PGM.

    Raises:
        DataError: it is neither.
    """
    with path.open("rb") as stream:
        head = stream.read(512)
    if len(head) >= 24 and head[:8] == b"\x89PNG\r\n\x1a\n":
        width, height = struct.unpack(">II", head[16:24])
    elif match := re.match(rb"P5\s+(?:#.*\n)*(\d+)\s+(\d+)\s", head):
        width, height = match.groups()
    else:
        kind = "PGM" if path.suffix == ".pgm" else "PNG"
        raise DataError(
            f"{path} isn't a {kind} image ({path.stat().st_size} bytes)", "it is cut off, or of another format"
        )
    return int(height), int(width)
