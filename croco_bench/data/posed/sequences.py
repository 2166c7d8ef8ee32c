"""Posed RGB-D video: sequences of frames with image, depth and camera pose, in the layouts of 7-Scenes and ScanNet."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from croco_bench.data.formats.arrays import unreadable
from croco_bench.data.formats.images import read_gray
from croco_bench.data.formats.layout import is_litter
from croco_bench.errors import DataError
from croco_bench.files import fingerprint
from croco_bench.types import Array, Size

SEVEN_SCENES_FOCAL = 525.0
_SEVEN_SCENES_SIZE = (480, 640)
_LAYOUTS = (
    "7-Scenes (<scene>/seq-01/frame-000000.color.png, .depth.png, .pose.txt) or "
    "ScanNet (<scene>/color/0.jpg or 000000.jpg, depth/0.png, pose/0.txt, intrinsic/intrinsic_depth.txt or "
    "intrinsics_depth.txt)"
)


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
        millimeters = read_gray(self.depth, np.uint16)
        if millimeters.shape != self.size:
            raise DataError(
                f"{self.depth} has {millimeters.shape[1]}x{millimeters.shape[0]} pixels, but its sequence began with "
                f"{self.size[1]}x{self.size[0]}",
                "get the sequence again",
            )
        unknown = (millimeters == 0) | (millimeters == 65535)
        return np.where(unknown, np.float32(np.nan), millimeters.astype(np.float32) / 1000)


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
    layout: Literal["7-Scenes", "ScanNet"]
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
        return _paths(self.folder, self.layout, self.numbers[index], self.depth_ending, self.digits)

    def fingerprint(self) -> str:
        """Hash of name, split, frame numbers, size and intrinsics; no image or pose is read."""
        return fingerprint(f"{self.name}:{self.split}:{self.depth_ending}:{self.size}:{self.K.tolist()}:{self.numbers}")


def open_posed(root: str | Path, *, focal_px: float = SEVEN_SCENES_FOCAL) -> list[PosedSequence]:
    """All sequences at `root`, sorted by name. The layout is recognised from the names of files and folders.

    Only folder listings, split lists and one image header per sequence are read.

    Args:
        root: a dataset, a folder of datasets, or one scene.
        focal_px: focal length of 7-Scenes at 640x480, which comes without intrinsics. 525 is the focal length of the colour
            camera, to which `frame-*.depth.proj.png` is registered; it is usually taken for the unregistered depths too.

    Raises:
        DataError: there is no sequence, or a sequence lacks files.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}", f"give the one that holds {_LAYOUTS}")
    try:
        sequences = _find(root, focal_px)
    except OSError as error:
        raise unreadable(Path(str(error.filename)), error, "the sequence is incomplete") from error
    if not sequences:
        raise DataError(f"{root} holds no posed RGB-D video", f"expected {_LAYOUTS}")
    return sorted(sequences, key=lambda sequence: sequence.name)


def seven_scenes_intrinsics(size: Size, focal_px: float = SEVEN_SCENES_FOCAL) -> Array:
    """Intrinsics (3, 3) for images of `size`: focal length `focal_px`, principal point (320, 240) at 640x480, scaled.

    Coordinates (0, 0) are the centre of the first pixel, so the principal point scales about (-0.5, -0.5).
    """
    down, across = size[0] / _SEVEN_SCENES_SIZE[0], size[1] / _SEVEN_SCENES_SIZE[1]
    return np.array([[focal_px * across, 0, 320.5 * across - 0.5], [0, focal_px * down, 240.5 * down - 0.5], [0, 0, 1]])


def _find(root: Path, focal_px: float) -> list[PosedSequence]:
    sequences: list[PosedSequence] = []
    for folder in _folders(root, 2):
        name = folder.relative_to(root).as_posix() if folder != root else root.resolve().name
        if (folder / "pose").is_dir() and (folder / "color").is_dir():
            sequences.append(_scannet(folder, name))
        else:
            parts = sorted(part for part in folder.glob("seq-*") if part.is_dir())
            splits = _splits(folder) if parts else {}
            for part in parts:
                path = part.relative_to(root).as_posix()
                sequences.append(_seven_scenes(part, path, name, splits.get(_number(part.name)), focal_px))
    return sequences


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    """`folder` and its subfolders down to `depth` levels; folders inside a sequence are skipped."""
    yield folder
    if depth == 0 or (folder / "pose").is_dir():
        return
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith("seq-") and not is_litter(child.name):
            yield from _folders(child, depth - 1)


# Where exporters of ScanNet put the depth camera's intrinsics: the second is that of scannet_frames_25k.
_INTRINSICS = ("intrinsic/intrinsic_depth.txt", "intrinsics_depth.txt", "intrinsic_depth.txt")


def _scannet(folder: Path, name: str) -> PosedSequence:
    kinds = {"image": ("color", ".jpg"), "depth map": ("depth", ".png"), "pose": ("pose", ".txt")}
    stems = {
        kind: [path.stem for path in (folder / subfolder).glob(f"*{ending}") if path.stem.isdecimal()]
        for kind, (subfolder, ending) in kinds.items()
    }
    numbered = _complete(folder, {kind: {int(stem) for stem in names} for kind, names in stems.items()})
    digits = _digits(stems["image"])
    found = next((folder / path for path in _INTRINSICS if (folder / path).is_file()), folder / _INTRINSICS[0])
    K = read_intrinsics(found)
    size = _png_size(_paths(folder, "ScanNet", numbered[0], ".png", digits)[1])
    return PosedSequence(folder, name, name, None, "ScanNet", numbered, ".png", K, size, digits)


def _digits(stems: Sequence[str]) -> int:
    """The length of all names if any has a leading zero: 000100; 0 for names such as 0 and 100."""
    return len(stems[0]) if any(stem[0] == "0" and len(stem) > 1 for stem in stems) else 0


def _seven_scenes(
    folder: Path, name: str, scene: str, split: Literal["train", "test"] | None, focal_px: float
) -> PosedSequence:
    numbers: dict[str, set[int]] = {
        ".color.png": set(),
        ".depth.png": set(),
        ".depth.proj.png": set(),
        ".pose.txt": set(),
    }
    for path in folder.glob("frame-*"):
        match = re.fullmatch(r"frame-(\d{6})(\..+)", path.name)
        if match and match[2] in numbers:
            numbers[match[2]].add(int(match[1]))
    ending = ".depth.proj.png" if numbers[".depth.proj.png"] else ".depth.png"
    kinds = {"image": numbers[".color.png"], "depth map": numbers[ending], "pose": numbers[".pose.txt"]}
    numbered = _complete(folder, kinds)
    size = _png_size(_paths(folder, "7-Scenes", numbered[0], ending)[1])
    K = seven_scenes_intrinsics(size, focal_px)
    return PosedSequence(folder, name, scene, split, "7-Scenes", numbered, ending, K, size)


def _paths(folder: Path, layout: str, number: int, depth_ending: str, digits: int = 0) -> tuple[Path, Path, Path]:
    """Image, depth map and pose of one frame."""
    if layout == "ScanNet":
        stem = f"{number:0{digits}d}"
        return folder / f"color/{stem}.jpg", folder / f"depth/{stem}.png", folder / f"pose/{stem}.txt"
    stem = f"frame-{number:06d}"
    return folder / f"{stem}.color.png", folder / f"{stem}{depth_ending}", folder / f"{stem}.pose.txt"


def _complete(folder: Path, numbers: dict[str, set[int]]) -> tuple[int, ...]:
    """All frame numbers, ascending; an error unless every frame has all its files."""
    everything = set().union(*numbers.values())
    if not everything:
        raise DataError(f"{folder} holds no frames", f"expected {_LAYOUTS}")
    for kind, present in numbers.items():
        missing = sorted(everything - present)
        if missing:
            raise DataError(
                f"{folder}: frame {missing[0]} has no {kind} ({len(missing)} of {len(everything)} frames lack one)",
                "unpack the sequence again",
            )
    return tuple(sorted(everything))


def _splits(scene: Path) -> dict[int, Literal["train", "test"]]:
    """Sequence number -> split, from `TrainSplit.txt` and `TestSplit.txt` with lines such as `sequence1`."""
    splits: dict[int, Literal["train", "test"]] = {}
    for split, name in (("train", "TrainSplit.txt"), ("test", "TestSplit.txt")):
        if (scene / name).is_file():
            for line in (scene / name).read_text("utf-8", "replace").split():
                splits[_number(line)] = "train" if split == "train" else "test"
    return splits


def _number(name: str) -> int:
    match = re.search(r"\d+$", name)
    return int(match[0]) if match else -1


def _png_size(path: Path) -> Size:
    """(H, W) from the header."""
    with path.open("rb") as stream:
        head = stream.read(24)
    if len(head) < 24 or head[:8] != b"\x89PNG\r\n\x1a\n":
        raise DataError(f"{path} isn't a PNG image ({path.stat().st_size} bytes)", "it is truncated or damaged")
    width, height = struct.unpack(">II", head[16:24])
    return int(height), int(width)


def read_intrinsics(path: Path) -> Array:
    """Intrinsics (3, 3) from a 4x4 matrix in a text file of ScanNet.

    Raises:
        DataError: the file is missing, or doesn't hold the matrix of a pinhole camera.
    """
    K = read_matrix(path, "intrinsic matrix")[:3, :3]
    if not np.isfinite(K).all() or min(K[0, 0], K[1, 1]) <= 0:
        raise DataError(f"{path} holds no pinhole camera (focal lengths {K[0, 0]:g} and {K[1, 1]:g})")
    return K


def read_pose(path: Path, *, may_be_lost: bool) -> Array | None:
    """A camera-to-world pose (4, 4). With `may_be_lost`, None for a file with -inf: lost tracking in ScanNet.

    Raises:
        DataError: the file is missing, or doesn't hold a rigid motion.
    """
    pose = read_matrix(path, "camera-to-world pose")
    if may_be_lost and np.isneginf(pose).any():
        return None
    if not np.isfinite(pose).all():
        raise DataError(f"{path} holds a pose that isn't finite", "get it again, or remove this frame's files")
    if not is_rigid(pose):
        raise DataError(f"{path} isn't a rigid motion (rotation, translation, last row 0 0 0 1)", "it is damaged")
    return pose


def read_matrix(path: Path, what: str) -> Array:
    """A 4x4 matrix from a text file; infinities and NaN are accepted.

    Raises:
        DataError: the file is missing, or doesn't hold 16 numbers.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = np.array([float(word) for word in text.split()])
    except OSError as error:
        raise DataError(f"there is no readable {path} ({error.strerror})", "the sequence is incomplete") from error
    except ValueError as error:
        raise DataError(f"{path} should hold a {what} of 4x4 numbers, but holds something else") from error
    if values.size != 16:
        raise DataError(f"{path} should hold a {what} of 4x4 numbers, but holds {values.size}", "it is damaged")
    return values.reshape(4, 4)


def is_rigid(poses: Array) -> Array:
    """Which matrices (..., 4, 4) are finite, have a rotation of determinant 1, and a last row 0 0 0 1: (...) bool."""
    finite = np.asarray(np.isfinite(poses).all(axis=(-2, -1)))
    poses = np.where(finite[..., None, None], poses, 0)
    rotations = poses[..., :3, :3]
    deviation = np.abs(rotations @ rotations.swapaxes(-1, -2) - np.eye(3)).max(axis=(-2, -1))
    last_row = np.abs(poses[..., 3, :] - [0, 0, 0, 1]).max(axis=-1)
    rigid: Array = finite & (deviation <= 0.01) & (np.linalg.det(rotations) > 0) & (last_row <= 1e-4)
    return rigid
