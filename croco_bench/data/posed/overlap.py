"""Training pairs of posed views, chosen from poses and intrinsics alone: no image is opened.

Checked against depth on 1500 pairs from eight rooms of the miniature (reach 100 %, four sequences each) with the default
criteria. The smaller share of co-visible pixels per pair: mean 58 %, first quartile 47 %, first percentile 31 %, minimum 10 %.
Speed: 26,000 training frames of 7-Scenes take 3 s on one core.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from croco_bench.data.posed.reader import PosedViews
from croco_bench.types import Array

# Rows compared at once: the products then stay in the cache, and in one thread.
_CHUNK = 16


@dataclass(frozen=True)
class OverlapCriteria:
    """When two views are assumed to overlap.

    Attributes:
        distance_m: range of the distance between the camera centres. Below it, the direction of the translation is
            mostly noise: poses from depth sensors have errors of one or two centimetres.
        angle_deg: maximum angle between the viewing directions.
        depth_m: the point at this depth on each view's optical axis must project into the other image.
    """

    distance_m: tuple[float, float] = (0.05, 1.5)
    angle_deg: float = 45.0
    depth_m: float = 2.0


def sample_pairs(
    views: PosedViews, rows: Array, overlap: OverlapCriteria, per_frame: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Samples up to `per_frame` references for each query, uniformly from all overlapping views.

    Args:
        views: the table of views.
        rows: its rows (n,) for one scene; every row is a query, and a reference of others, across sequences.
        overlap: when two views overlap.
        per_frame: maximum number of references per query.
        rng: source of randomness.

    Returns:
        Rows (m,) of the references and of the queries.
    """
    test = OverlapTest(views, rows, overlap)
    references, queries = [], []
    for first in range(0, len(rows), _CHUNK):
        fits = test.overlapping(np.arange(first, min(first + _CHUNK, len(rows))))
        # A uniform random key per candidate; the smallest `per_frame` keys win, others get a key above all.
        keys = np.where(fits, rng.random(fits.shape, dtype=np.float32), np.float32(2))
        count = min(per_frame, len(rows))
        drawn = np.argpartition(keys, count - 1, axis=1)[:, :count] if count < len(rows) else np.argsort(keys, axis=1)
        drawn = np.sort(drawn, axis=1)
        kept = np.take_along_axis(fits, drawn, axis=1)
        references.append(rows[drawn[kept]])
        queries.append(np.repeat(rows[first : first + len(drawn)], kept.sum(axis=1)))
    return np.concatenate(references), np.concatenate(queries)


class OverlapTest:
    """Tests blocks of views of one scene against all others, by matrix products in float32."""

    def __init__(self, views: PosedViews, rows: Array, overlap: OverlapCriteria) -> None:
        self._overlap = overlap
        poses, K, sizes = views.cam2world[rows], views.K[rows], views.sizes[rows]
        rotations, centers = poses[:, :3, :3], poses[:, :3, 3] - poses[:, :3, 3].mean(axis=0)
        # With the origin of pixels in the upper left corner of the image, not in the centre of the first pixel.
        cameras = K.copy()
        cameras[:, :2, 2] += 0.5
        project = cameras @ rotations.swapaxes(1, 2)
        shift = np.einsum("nij,nj->ni", project, centers)
        self._directions = rotations[:, :, 2].astype(np.float32)
        self._centers = centers.astype(np.float32)
        self._ahead = (centers + overlap.depth_m * rotations[:, :, 2]).astype(np.float32)
        self._project, self._shift = project.astype(np.float32), shift.astype(np.float32)
        self._sizes = sizes.astype(np.float32)

    def overlapping(self, block: Array) -> Array:
        """Which of all n views overlap those of `block`: (len(block), n) bool, False for a view and itself."""
        min_m, max_m = self._overlap.distance_m
        square = (self._centers**2).sum(axis=1)
        distance = square[block, None] + square - 2 * self._centers[block] @ self._centers.T
        fits: Array = (distance >= min_m**2) & (distance <= max_m**2)
        fits &= self._directions[block] @ self._directions.T >= np.cos(np.radians(self._overlap.angle_deg))
        everyone = np.arange(len(self._centers))
        fits &= self._inside(block, everyone)
        fits &= self._inside(everyone, block).T
        fits[np.arange(len(block)), block] = False
        return fits

    def _inside(self, points_of: Array, images_of: Array) -> Array:
        """Whether the point ahead of each view of `points_of` is in each image of `images_of`: (n, m) bool."""
        x, y, depth = (
            self._ahead[points_of] @ self._project[images_of, axis].T - self._shift[images_of, axis]
            for axis in range(3)
        )
        height, width = self._sizes[images_of].T
        inside: Array = (x > 0) & (x < width * depth) & (y > 0) & (y < height * depth)
        return inside
