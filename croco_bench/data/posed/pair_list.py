"""Text files that list image pairs with ground truth, in the format of SuperGlue.

A line holds 38 words: `path0 path1 rot0 rot1 K0 (9 numbers) K1 (9) T_0to1 (16)`. Paths are relative to the file's folder
unless a root is given. `rot0` and `rot1` count quarter turns of the images and must be 0. Matrices are in row-major order.
`T_0to1` maps points of camera 0 into camera 1. Image 0 becomes view 1, the reference.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from croco_bench.data.posed.matrices import is_rigid
from croco_bench.data.posed.reader import PosedViews, PoseReader
from croco_bench.errors import DataError
from croco_bench.types import Array

_WORDS = 38


def open_pair_list(listing: str | Path, root: str | Path | None = None) -> PoseReader:
    """The pairs of a list, in order. The scene of a pair is the folder of its first image. No image is opened.

    Raises:
        DataError: the list is missing, empty, or has a damaged line.
    """
    listing = Path(listing)
    try:
        lines = listing.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{listing} can't be read as a list of pairs ({error})") from error
    parsed = [
        _parse(line.split(), f"{listing}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.startswith("#")
    ]
    if not parsed:
        raise DataError(f"{listing} lists no pairs", "expected one a line: path0 path1 rot0 rot1 K0 K1 T_0to1")
    names = [name for pair, _, _ in parsed for name in pair]
    views = PosedViews(
        root=Path(root) if root is not None else listing.parent,
        names=tuple(names),
        scenes=tuple(first.rpartition("/")[0] for (first, _), _, _ in parsed for _ in range(2)),
        K=np.concatenate([K for _, K, _ in parsed]),
        sizes=np.zeros((len(names), 2), dtype=np.int64),
        cam2world=np.concatenate([poses for _, _, poses in parsed]),
    )
    rows = np.arange(len(names))
    return PoseReader(views, rows[::2], rows[1::2], dataset=listing.stem, split="test")


def _parse(words: list[str], where: str) -> tuple[tuple[str, str], Array, Array]:
    """Both paths, K (2, 3, 3), and poses (2, 4, 4) in the world of camera 0."""
    if len(words) != _WORDS:
        raise DataError(f"{where} holds {len(words)} words", f"expected {_WORDS}: path0 path1 rot0 rot1 K0 K1 T_0to1")
    try:
        numbers = np.array([float(word) for word in words[2:]])
    except ValueError as error:
        raise DataError(f"{where}: {error}", "expected numbers after the two paths") from error
    turns, K, motion = numbers[:2], numbers[2:20].reshape(2, 3, 3), numbers[20:].reshape(4, 4)
    if turns.any():
        raise DataError(
            f"{where}: an image should be turned (rot0 rot1 = {words[2]} {words[3]})", "turn the file, K and T first"
        )
    if not np.isfinite(K).all() or K[:, [0, 1], [0, 1]].min() <= 0:
        raise DataError(f"{where} holds no pinhole camera (focal lengths {K[0, 0, 0]:g} and {K[1, 0, 0]:g})")
    if not is_rigid(motion):
        raise DataError(f"{where}: T_0to1 isn't a rigid motion (rotation, translation, last row 0 0 0 1)")
    return (words[0], words[1]), K, np.stack([np.eye(4), np.linalg.inv(motion)])
