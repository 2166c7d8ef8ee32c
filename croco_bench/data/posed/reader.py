"""Pairs of views with known relative pose, of any dataset. View 1 is the reference (database) image, view 2 the query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from croco_bench.data.formats.images import read_rgb
from croco_bench.data.posed.depth import read_depth_hdf5, read_depth_m
from croco_bench.errors import DataError
from croco_bench.files import fingerprint
from croco_bench.types import Array


@dataclass(frozen=True)
class PosedViews:
    """A table of n images with poses; pairs are rows of it.

    Attributes:
        root: folder of the images.
        names: image files relative to `root`.
        scenes: scene of each image; images of one scene share world coordinates.
        K: intrinsics (n, 3, 3) in pixels, for images of `sizes`.
        sizes: (n, 2), height and width in pixels to which images are resized; 0 keeps the size of the file.
        cam2world: poses (n, 4, 4) in metres or an unknown unit, OpenCV axes; NaN where unknown.
        depths: depth maps relative to `root`, for which `K` and `sizes` hold too; empty where there are none.
    """

    root: Path
    names: tuple[str, ...]
    scenes: tuple[str, ...]
    K: Array
    sizes: Array
    cam2world: Array
    depths: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Image `index` (H, W, 3), RGB, at the size for which `K` holds.

        Raises:
            DataError: the file is missing or can't be decoded.
        """
        image = read_rgb(self.root / self.names[index])
        height, width = (int(side) for side in self.sizes[index])
        if height == 0 or image.shape[:2] == (height, width):
            return image
        resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(resized, dtype=np.uint8)

    def depth_m(self, index: int) -> Array:
        """Depth (H, W) float32 of image `index` in the unit of its pose, NaN where unknown.

        Raises:
            DataError: the file is missing, damaged or of another size.
        """
        height, width = (int(side) for side in self.sizes[index])
        path = self.root / self.depths[index]
        read = read_depth_hdf5 if path.suffix == ".h5" else read_depth_m
        return read(path, (height, width), of="its camera has")


def has_meters(reader: object) -> bool:
    """Whether lengths are in metres, as in all readers but those with `meters` set to False."""
    return bool(getattr(reader, "meters", True))


class PoseReader:
    """Pairs of views, or queries with K references each: a `croco_bench.contracts.Reader`.

    A sample of a pair has `image1`, `image2` (H, W, 3) uint8 RGB, and in float64 `K1`, `K2` (3, 3), `cam2world1`,
    `cam2world2` (4, 4) and `relative` = inv(cam2world1) @ cam2world2 (4, 4), which maps points of camera 2 into camera 1;
    also `scene` and `id`, and with `depth` the maps `depth1_m` and `depth2_m` (H, W). In a sample of a query, `image1`, `K1`,
    `cam2world1` and `relative` are stacks of K, and there is no depth.

    Args:
        views: the table.
        references: rows of view 1, (pairs,) or (queries, K).
        queries: rows of view 2.
        dataset: name of the dataset.
        split: name of the split.
        miniature: whether the images are rendered rooms.
        notes: remarks on the choice of pairs, for the result file.
        available: number of items in the release; default: all that are given.
        depth: whether depth maps are read, too.
        meters: whether lengths are in metres; otherwise in an unknown unit of each scene.
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
        available: int | None = None,
        depth: bool = False,
        meters: bool = True,
    ) -> None:
        self.depth, self.meters = depth, meters
        self.views, self.dataset, self.split, self.miniature, self.notes = views, dataset, split, miniature, notes
        self.references, self.queries = np.asarray(references, dtype=np.int32), np.asarray(queries, dtype=np.int32)
        self.available = len(self.queries) if available is None else available

    def __len__(self) -> int:
        return len(self.queries)

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
        if self.depth:
            sample |= {"depth1_m": views.depth_m(int(references)), "depth2_m": views.depth_m(query)}
        return {**sample, "id": f"{views.names[references]} {views.names[query]}"}

    def _images(self, references: Array, query: int) -> NDArray[np.uint8]:
        if not references.ndim:
            return self.views.image(int(references))
        images = [self.views.image(int(reference)) for reference in references]
        if len({image.shape for image in images}) > 1:
            raise DataError(f"the references of {self.views.names[query]} differ in size", "they can't be one stack")
        return np.stack(images)

    def fingerprint(self) -> str:
        """Hash of the pairs, their poses and intrinsics, and the names of their images."""
        views = self.views
        arrays = (self.references, self.queries, views.cam2world, views.K, views.sizes)
        content = [np.ascontiguousarray(numbers).tobytes() for numbers in arrays]
        return fingerprint(f"{self.dataset}:{self.split}", *content, "\n".join(views.names))
