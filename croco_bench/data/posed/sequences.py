"""Finds posed RGB-D video: sequences of frames with image, depth and camera pose, of 7-Scenes, ScanNet and ScanNet++."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from croco_bench.data.formats.arrays import unreadable
from croco_bench.data.formats.layout import is_litter
from croco_bench.data.posed.matrices import read_intrinsics, read_named_matrix
from croco_bench.data.posed.reconstructed_scenes import open_reconstruction
from croco_bench.data.posed.video import PosedSequence, depth_size, paths_of
from croco_bench.errors import AbsentError, DataError
from croco_bench.types import Array, Size

SEVEN_SCENES_FOCAL = 525.0
_SEVEN_SCENES_SIZE = (480, 640)
_LAYOUTS = (
    "7-Scenes (<scene>/seq-01/frame-000000.color.png, .depth.png, .pose.txt) or "
    "ScanNet (<scene>/color/0.jpg or 000000.jpg, depth/0.png, pose/0.txt, intrinsic/intrinsic_depth.txt or "
    "intrinsics_depth.txt; or frame-000000.color.jpg, .depth.pgm, .pose.txt and _info.txt) or "
    "ScanNet++ (<scene>/dslr or iphone, with colmap/, images and depth maps)"
)
# The file in which ScanNet's C++ tool writes intrinsics.
_EXPORTED = "_info.txt"


def open_posed(root: str | Path, *, focal_px: float = SEVEN_SCENES_FOCAL) -> list[PosedSequence]:
    """All sequences at `root`, sorted by name: see `find_posed`."""
    return find_posed(root, focal_px=focal_px)[0]


def find_posed(
    root: str | Path, *, focal_px: float = SEVEN_SCENES_FOCAL
) -> tuple[list[PosedSequence], list[AbsentError]]:
    """All sequences at `root`, sorted by name, and why scans of other devices are left out.

    The layout is recognised from the names of files and folders. A scan of ScanNet++ without images, depth maps or a model is
    left out if there is any other sequence: its download has both cameras of a scene, of which users prepare one.

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
    unready: list[AbsentError] = []
    try:
        sequences = list(_find(root, focal_px, unready))
    except OSError as error:
        raise unreadable(
            Path(str(error.filename)), error, "unpack the rest of the sequence, or leave it out"
        ) from error
    if not sequences:
        raise unready[0] if unready else DataError(f"{root} holds no posed RGB-D video", f"expected {_LAYOUTS}")
    return sorted(sequences, key=lambda sequence: sequence.name), unready


def seven_scenes_intrinsics(size: Size, focal_px: float = SEVEN_SCENES_FOCAL) -> Array:
    """Intrinsics (3, 3) for images of `size`: focal length `focal_px`, principal point (320, 240) at 640x480, scaled.

    Coordinates (0, 0) are the centre of the first pixel, so the principal point scales about (-0.5, -0.5).
    """
    down, across = size[0] / _SEVEN_SCENES_SIZE[0], size[1] / _SEVEN_SCENES_SIZE[1]
    return np.array([[focal_px * across, 0, 320.5 * across - 0.5], [0, focal_px * down, 240.5 * down - 0.5], [0, 0, 1]])


def _find(root: Path, focal_px: float, unready: list[AbsentError]) -> Iterator[PosedSequence]:
    """The sequences below `root`; adds to `unready` what reconstructions lack."""
    for folder in _folders(root, 3):
        name = folder.relative_to(root).as_posix() if folder != root else root.resolve().name
        if (folder / "pose").is_dir() and (folder / "color").is_dir():
            yield _scannet(folder, name)
        elif (folder / _EXPORTED).is_file():
            yield _exported(folder, name)
        else:
            yield from _reconstructed(folder, name, unready) or _of_seven_scenes(folder, name, root, focal_px)


def _reconstructed(folder: Path, name: str, unready: list[AbsentError]) -> list[PosedSequence]:
    try:
        sequence = open_reconstruction(folder, name)
    except AbsentError as error:
        unready.append(error)
        return []
    return [sequence] if sequence else []


def _of_seven_scenes(folder: Path, name: str, root: Path, focal_px: float) -> Iterator[PosedSequence]:
    parts = sorted(part for part in folder.glob("seq-*") if part.is_dir())
    splits = _splits(folder) if parts else {}
    for part in parts:
        path = part.relative_to(root).as_posix()
        yield _seven_scenes(part, path, name, splits.get(_number(part.name)), focal_px)


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    """`folder` and its subfolders down to `depth` levels; folders inside a sequence are skipped."""
    yield folder
    if depth == 0 or (folder / "pose").is_dir() or (folder / _EXPORTED).is_file():
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
    size = depth_size(paths_of(folder, "ScanNet", numbered[0], ".png", digits)[1])
    return PosedSequence(folder, name, name, None, "ScanNet", numbered, ".png", K, size, digits)


def _digits(stems: Sequence[str]) -> int:
    """The length of all names if any has a leading zero: 000100; 0 for names such as 0 and 100."""
    return len(stems[0]) if any(stem[0] == "0" and len(stem) > 1 for stem in stems) else 0


def _exported(folder: Path, name: str) -> PosedSequence:
    """The files of ScanNet's C++ tool for `.sens` archives, and of 3RScan, which has them in folders called `sequence`."""
    numbers = _frame_numbers(folder, (".color.jpg", ".depth.pgm", ".depth.png", ".pose.txt"))
    ending = ".depth.pgm" if numbers[".depth.pgm"] else ".depth.png"
    numbered = _complete(
        folder, {"image": numbers[".color.jpg"], "depth map": numbers[ending], "pose": numbers[".pose.txt"]}
    )
    K = read_named_matrix(folder / _EXPORTED, "m_calibrationDepthIntrinsic")
    size = depth_size(paths_of(folder, "ScanNet", numbered[0], ending)[1])
    return PosedSequence(folder, name, name.removesuffix("/sequence"), None, "ScanNet", numbered, ending, K, size)


def _seven_scenes(
    folder: Path, name: str, scene: str, split: Literal["train", "test"] | None, focal_px: float
) -> PosedSequence:
    numbers = _frame_numbers(folder, (".color.png", ".depth.png", ".depth.proj.png", ".pose.txt"))
    ending = ".depth.proj.png" if numbers[".depth.proj.png"] else ".depth.png"
    kinds = {"image": numbers[".color.png"], "depth map": numbers[ending], "pose": numbers[".pose.txt"]}
    numbered = _complete(folder, kinds)
    size = depth_size(paths_of(folder, "7-Scenes", numbered[0], ending)[1])
    K = seven_scenes_intrinsics(size, focal_px)
    return PosedSequence(folder, name, scene, split, "7-Scenes", numbered, ending, K, size)


def _frame_numbers(folder: Path, endings: Sequence[str]) -> dict[str, set[int]]:
    """Ending -> numbers of the files `frame-000000` with this ending."""
    numbers: dict[str, set[int]] = {ending: set() for ending in endings}
    for path in folder.glob("frame-*"):
        match = re.fullmatch(r"frame-(\d{6})(\..+)", path.name)
        if match and match[2] in numbers:
            numbers[match[2]].add(int(match[1]))
    return numbers


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
                "unpack or export the rest, or move the files of these frames away",
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
