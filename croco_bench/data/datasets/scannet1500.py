"""ScanNet-1500: the test pairs on which SuperGlue and LoFTR evaluate relative poses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from croco_bench.data.checks.posed_pairs import look_at_files
from croco_bench.data.checks.run_check import Finding, run_check
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.images import read_rgb
from croco_bench.data.posed.matrices import read_intrinsics, read_pose
from croco_bench.data.posed.reader import PosedViews, PoseReader
from croco_bench.errors import DataError
from croco_bench.files import check_unpacked_size
from croco_bench.types import Array

PAIRS, SCENES = 1500, 100
# Size of the depth maps. Color images have the same field of view: they are resized to it, and depth's intrinsics are used.
SIZE = (480, 640)


def open_scannet1500(root: str | Path, *, depth: bool = False) -> PoseReader:
    """The pairs listed in `test.npz`, in order, with their depth maps if asked. Reads poses and intrinsics, but no image.

    Raises:
        DataError: the list is missing or damaged, or a pose or camera is.
    """
    root = Path(root)
    frames: dict[tuple[str, int], int] = {}
    pairs = np.array(
        [
            [frames.setdefault((f"scene{scene:04d}_{part:02d}", frame), len(frames)) for frame in (first, second)]
            for scene, part, first, second in _listed(root / "test.npz").tolist()
        ]
    )
    folders = {scene: f"scannet_test_1500/{scene}" for scene, _ in frames}
    cameras = {scene: read_intrinsics(root / path / "intrinsic/intrinsic_depth.txt") for scene, path in folders.items()}
    views = PosedViews(
        root,
        tuple(f"{folders[scene]}/color/{frame}.jpg" for scene, frame in frames),
        tuple(scene for scene, _ in frames),
        np.stack([cameras[scene] for scene, _ in frames]),
        np.tile(SIZE, (len(frames), 1)),
        np.stack([_pose(root / folders[scene] / f"pose/{frame}.txt") for scene, frame in frames]),
        tuple(f"{folders[scene]}/depth/{frame}.png" for scene, frame in frames),
    )
    mini = is_miniature(root)
    return PoseReader(views, pairs[:, 0], pairs[:, 1], dataset="scannet1500", split="test", miniature=mini, depth=depth)


def _listed(path: Path) -> Array:
    """(pairs, 4): scene, part, frame 1, frame 2."""
    try:
        check_unpacked_size(path)
        with np.load(path, allow_pickle=False) as content:
            names = np.asarray(content["name"])
    except FileNotFoundError as error:
        raise DataError(f"there is no {path}, which lists the pairs", "get LoFTR's test.npz of ScanNet") from error
    except KeyError as error:
        raise DataError(
            f"{path} has no array called name, which lists the pairs", "it isn't LoFTR's test.npz of ScanNet: get that"
        ) from error
    except Exception as error:  # NumPy and zipfile raise all kinds of errors for damaged files
        raise DataError(f"{path} can't be read ({error})", "get LoFTR's test.npz again") from error
    if names.ndim != 2 or names.shape[1] != 4 or names.dtype.kind not in "iu" or not len(names):
        raise DataError(
            f"{path}: name should be whole numbers (pairs, 4): scene, part and two frames",
            f"found {names.dtype} {names.shape}",
        )
    return names


def _pose(path: Path) -> Array:
    pose = read_pose(path, may_be_lost=True)
    if pose is None:
        raise DataError(
            f"{path} says that tracking was lost (-inf), so it can't be in a pair",
            "leave the pair out of the list: LoFTR's own has only frames with a pose",
        )
    return pose


def check(root: Path) -> list[Finding]:
    """Findings on the list, on all poses, on the presence of all images and depth maps, and on two pairs."""
    return run_check(root, _look)


def _look(root: Path) -> Iterator[Finding]:
    try:
        reader = open_scannet1500(root)
    except DataError as error:
        yield Finding.from_error(error, "unpack LoFTR's scannet_test_1500 beside its test.npz")
        return
    scenes = len(reader.scenes)
    as_listed = reader.miniature or len(reader) == PAIRS
    yield Finding.count(as_listed, f"test.npz: {len(reader)} pairs", f"LoFTR's list has {PAIRS}", reader)
    yield Finding.count(reader.miniature or scenes == SCENES, f"{scenes} scenes", f"LoFTR's list has {SCENES}")
    yield from look_at_files(reader.views, "unpack the rest of LoFTR's scannet_test_1500")
    for i in (0, len(reader) - 1):
        yield _look_at(root, reader, i)


def _look_at(root: Path, reader: PoseReader, i: int) -> Finding:
    try:
        shapes = [read_rgb(root / name).shape for name in reader[i]["id"].split()]
    except DataError as error:
        return Finding.from_error(error, "unpack these images of LoFTR's scannet_test_1500 anew")
    # 1296x968 and 640x480 are about 4 to 3.
    expected = all(abs(width * 3 - height * 4) <= 16 for height, width, _ in shapes)
    what = f"pair {i}: images of {shapes[0]} and {shapes[1]}"
    return Finding(expected, what, "ScanNet's own are as 4 to 3", stops=False)
