"""Pairs of views whose relative pose is known, of whatever dataset. View 1 is the reference (the database's), 2 the query."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from croco_bench.data.formats.images import read_rgb
from croco_bench.errors import DataError
from croco_bench.types import Array


@dataclass(frozen=True)
class PosedViews:
    """Images with poses, n of them, as a table that many pairs point into.

    `names` are files relative to `root`, `scenes` what shares a world. `K` (n, 3, 3) belong to images of `sizes` (n, 2),
    (H, W) in pixels, to which files of another size are resized; 0 where files are taken as they are. `cam2world`
    (n, 4, 4) in metres, OpenCV axes; NaN where unknown.
    """

    root: Path
    names: tuple[str, ...]
    scenes: tuple[str, ...]
    K: Array
    sizes: Array
    cam2world: Array

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> NDArray[np.uint8]:
        """The image (H, W, 3), RGB, of the size that `K` is for.

        Raises:
            DataError: it is missing or can't be decoded.
        """
        image = read_rgb(self.root / self.names[index])
        height, width = (int(side) for side in self.sizes[index])
        if height == 0 or image.shape[:2] == (height, width):
            return image
        resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(resized, dtype=np.uint8)


class PoseReader:
    """Pairs of a table's views, or queries with K references each: a `croco_bench.contracts.Reader`.

    A sample of a pair has `image1` and `image2` (H, W, 3) uint8 RGB, `K1` and `K2` (3, 3), `cam2world1` and `cam2world2`
    (4, 4), and `relative` = inv(cam2world1) @ cam2world2 (4, 4), which maps points of camera 2 into camera 1, all float64;
    `scene` and `id`. In a sample of a query, `image1` (K, H, W, 3), `K1`, `cam2world1` and `relative` are stacks.

    Args:
        views: the table.
        references: its rows for view 1, (pairs,) or (queries, K).
        queries: its rows for view 2.
        dataset: the name of the place it comes from.
        split: which split.
        miniature: whether rooms drew it.
        notes: what a reader of a result must know of how the pairs came about.
    """

    def __init__(
        self,
        views: PosedViews,
        references: Array,
        queries: Array,
        *,
        dataset: str,
        split: str,
        miniature: bool = False,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.views, self.dataset, self.split, self.miniature, self.notes = views, dataset, split, miniature, notes
        self.references, self.queries = np.asarray(references, dtype=np.int32), np.asarray(queries, dtype=np.int32)
        self.available = len(self.queries)

    def __len__(self) -> int:
        return self.available

    @property
    def groups(self) -> Sequence[str]:
        """The scene of each item."""
        return [self.views.scenes[index] for index in self.queries]

    @property
    def scenes(self) -> tuple[str, ...]:
        """The scenes that occur, sorted."""
        return tuple(sorted(set(self.groups)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        views, query, references = self.views, int(self.queries[index]), self.references[index]
        poses1, pose2 = views.cam2world[references], views.cam2world[query]
        sample = {
            "image1": self._images(references, query),
            "image2": views.image(query),
            "K1": views.K[references],
            "K2": views.K[query],
            "cam2world1": poses1,
            "cam2world2": pose2,
            "relative": np.linalg.inv(poses1) @ pose2,
            "scene": views.scenes[query],
        }
        if references.ndim:
            return {**sample, "id": views.names[query]}
        return {**sample, "id": f"{views.names[references]} {views.names[query]}"}

    def _images(self, references: Array, query: int) -> NDArray[np.uint8]:
        if not references.ndim:
            return self.views.image(int(references))
        images = [self.views.image(int(reference)) for reference in references]
        if len({image.shape for image in images}) > 1:
            raise DataError(f"the references of {self.views.names[query]} differ in size", "they can't be one stack")
        return np.stack(images)

    def fingerprint(self) -> str:
        """Of the pairs, their poses and cameras, and the names of their images."""
        views, content = self.views, hashlib.sha256(f"{self.dataset}:{self.split}".encode())
        for numbers in (self.references, self.queries, views.cam2world, views.K, views.sizes):
            content.update(np.ascontiguousarray(numbers).tobytes())
        content.update("\n".join(views.names).encode())
        return content.hexdigest()[:16]
