"""MegaDepth-1500: LoFTR's 1500 test pairs of two landmarks, of which poses and depth have a scale of their own.

Pairs, poses and cameras are in LoFTR's pickled lists; images are those that D2-Net undistorted, depth maps MegaDepth's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from croco_bench.data.checks.posed_pairs import look_at_files
from croco_bench.data.checks.run_check import Finding, run_check
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.arrays import read_small
from croco_bench.data.formats.images import read_rgb
from croco_bench.data.formats.layout import is_litter
from croco_bench.data.posed.matrices import is_rigid
from croco_bench.data.posed.pickles import RefusedError, load_bytes, numbers_of
from croco_bench.data.posed.reader import PosedViews, PoseReader
from croco_bench.errors import AbsentError, DataError
from croco_bench.types import Array

PAIRS = 1500
LISTS = "megadepth_test_1500_scene_info"
_GET = f"get LoFTR's {LISTS} (assets of its repository)"
_UNPACK = "unpack D2-Net's Undistorted_SfM (scenes 0015 and 0022) here"


@dataclass(frozen=True)
class _Frame:
    """An image of a list.

    Attributes:
        image: file relative to the dataset's folder, `Undistorted_SfM/<scene>/images/<name>`.
        depth: depth map relative to it.
        K: intrinsics (3, 3), the middle of the first pixel at (0.5, 0.5).
        world2cam: pose (4, 4).
    """

    image: str
    depth: str
    K: Array
    world2cam: Array


def open_megadepth1500(root: str | Path, *, depth: bool = False) -> PoseReader:
    """The pairs of all lists, by name of the list, with their depth maps if asked. Opens no image.

    Raises:
        DataError: there is no list, or one is damaged.
    """
    root = Path(root)
    listed = [pair for path in _lists(root) for pair in _read_list(path)]
    frames = {frame.image: frame for pair in listed for frame in pair}
    rows = {image: row for row, image in enumerate(frames)}
    pairs = np.array([[rows[frame.image] for frame in pair] for pair in listed])
    return PoseReader(
        _views(root, list(frames.values())),
        pairs[:, 0],
        pairs[:, 1],
        dataset="megadepth1500",
        split="test",
        miniature=is_miniature(root),
        depth=depth,
        meters=False,
    )


def _lists(root: Path) -> list[Path]:
    """The lists in their folder or beside the images."""
    for folder in (root / LISTS, root):
        found = sorted(path for path in folder.glob("*.npz") if not is_litter(path.name))
        if found:
            return found
    raise AbsentError(f"neither {root / LISTS} nor {root} holds a list of pairs (0015_0.1_0.3.npz, ...)", _GET)


def _views(root: Path, frames: list[_Frame]) -> PosedViews:
    """The table of all images. Principal points are their middles, which gives their sizes."""
    K = np.stack([frame.K for frame in frames])
    sizes = np.rint(2 * K[:, [1, 0], 2]).astype(np.int64)
    K[:, :2, 2] -= 0.5
    return PosedViews(
        root,
        tuple(frame.image for frame in frames),
        tuple(Path(frame.image).parts[1] for frame in frames),
        K,
        sizes,
        np.linalg.inv(np.stack([frame.world2cam for frame in frames])),
        tuple(frame.depth for frame in frames),
    )


def _read_list(path: Path) -> list[tuple[_Frame, _Frame]]:
    """The pairs of a list.

    Raises:
        DataError: it is missing, damaged, or lists none.
    """
    try:
        content = load_bytes(read_small(path))
        wanted = [tuple(int(i) for i in numbers_of(entry[0], (2,))) for entry in content["pair_infos"]]
        columns = [content[key].items for key in ("image_paths", "depth_paths", "intrinsics", "poses")]
        frames = {index: _frame([_at(column, index) for column in columns]) for pair in wanted for index in pair}
    except DataError:
        raise
    except RefusedError as error:
        raise DataError(f"{path} wants to run code on loading ({error}), which is refused", _GET) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(
            f"{path} is no list of LoFTR's MegaDepth-1500, or damaged ({type(error).__name__}: {error})", _GET
        ) from error
    if not wanted:
        raise DataError(f"{path} lists no pairs", _GET)
    return [(frames[first], frames[second]) for first, second in wanted]


def _at(column: list[Any], index: int) -> Any:
    if not 0 <= index < len(column):
        raise ValueError(f"a pair names image {index} of {len(column)}")
    return column[index]


def _frame(fields: list[Any]) -> _Frame:
    """Raises `ValueError` where the entry has no image, camera or pose."""
    image, depth, K, pose = fields
    if not isinstance(image, str) or not isinstance(depth, str) or len(Path(image).parts) < 3:
        raise ValueError(f"the path of an image is {str(image)[:80]!r}")
    camera, world2cam = numbers_of(K, (3, 3)), numbers_of(pose, (4, 4))
    if not np.isfinite(camera).all() or camera[[0, 1, 0, 1], [0, 1, 2, 2]].min() <= 0 or camera[:2, 2].max() > 1e5:
        raise ValueError(f"{image} has no pinhole camera")
    if not is_rigid(world2cam):
        raise ValueError(f"the pose of {image} isn't a rigid motion")
    return _Frame(image, depth, camera, world2cam)


def check(root: Path) -> list[Finding]:
    """Findings on the lists and all poses in them, on the presence of all images and depth maps, and on two pairs."""
    return run_check(root, _look)


def _look(root: Path) -> Iterator[Finding]:
    reader = open_megadepth1500(root)
    what = f"{len(reader)} pairs of scenes {', '.join(reader.scenes)}"
    yield Finding.count(reader.miniature or len(reader) == PAIRS, what, f"LoFTR's lists have {PAIRS}", reader)
    yield from look_at_files(reader.views, _UNPACK)
    for i in (0, len(reader) - 1):
        yield _look_at(reader, i)


def _look_at(reader: PoseReader, i: int) -> Finding:
    """Whether both images of a pair have the size of their cameras."""
    views, indices = reader.views, (int(reader.references[i]), int(reader.queries[i]))
    try:
        shapes = [read_rgb(views.root / views.names[index]).shape[:2] for index in indices]
    except DataError as error:
        return Finding.from_error(error, _UNPACK)
    expected = [tuple(views.sizes[index].tolist()) for index in indices]
    what = f"pair {i}: images of {shapes[0]} and {shapes[1]}"
    return Finding(shapes == expected, what, f"their cameras are of {expected[0]} and {expected[1]}", stops=False)
