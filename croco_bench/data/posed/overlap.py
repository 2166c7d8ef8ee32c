"""Which views to pair for training, judged from poses alone: no image is opened.

Measured against depth on 1500 pairs of eight rooms of the miniature at full reach, four walks each, with the defaults: of
the less seen view, the other one sees 58 % in the mean, 47 % or more in three of four pairs, 31 % or more in 99 of 100, and
never less than 10 %. All of 7-Scenes, 26,000 training frames, takes 3 s on one core.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from croco_bench.data.posed.reader import PosedViews
from croco_bench.types import Array

# Rows compared at once: so few that products stay in the cache, and in one thread.
_CHUNK = 16


@dataclass(frozen=True)
class OverlapCriteria:
    """When two views are taken to see enough of the same.

    Attributes:
        distance_m: least and most distance between the centres. Closer together, the direction of the translation is
            mostly noise: poses from depth sensors are off by a centimetre or two.
        angle_deg: most angle between the viewing directions.
        depth_m: the point that lies so far ahead of each view must be inside the other one's image.
    """

    distance_m: tuple[float, float] = (0.05, 1.5)
    angle_deg: float = 45.0
    depth_m: float = 2.0


def sample_pairs(
    views: PosedViews, rows: Array, overlap: OverlapCriteria, per_frame: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """References and queries (m,): each row of `rows`, views of one scene, is a query at most `per_frame` times.

    Its references are drawn from all that overlap, each as likely as any other, from its own sequence or another.
    """
    near = OverlapTest(views, rows, overlap)
    references, queries = [], []
    for first in range(0, len(rows), _CHUNK):
        fits = near.overlapping(np.arange(first, min(first + _CHUNK, len(rows))))
        lots = np.where(fits, rng.random(fits.shape, dtype=np.float32), np.float32(2))
        count = min(per_frame, len(rows))
        drawn = np.argpartition(lots, count - 1, axis=1)[:, :count] if count < len(rows) else np.argsort(lots, axis=1)
        drawn = np.sort(drawn, axis=1)
        kept = np.take_along_axis(fits, drawn, axis=1)
        references.append(rows[drawn[kept]])
        queries.append(np.repeat(rows[first : first + len(drawn)], kept.sum(axis=1)))
    return np.concatenate(references), np.concatenate(queries)


class OverlapTest:
    """Compares all views of a scene, a block of rows at a time, by matrix products in float32."""

    def __init__(self, views: PosedViews, rows: Array, overlap: OverlapCriteria) -> None:
        self._overlap = overlap
        poses, K, sizes = views.cam2world[rows], views.K[rows], views.sizes[rows]
        rotations, centers = poses[:, :3, :3], poses[:, :3, 3] - poses[:, :3, 3].mean(axis=0)
        # Pixels from the upper left corner, times depth.
        cameras = K.copy()
        cameras[:, :2, 2] += 0.5
        project = cameras @ rotations.swapaxes(1, 2)
        shift = np.einsum("nij,nj->ni", project, centers)
        self._towards = rotations[:, :, 2].astype(np.float32)
        self._centers = centers.astype(np.float32)
        self._ahead = (centers + overlap.depth_m * rotations[:, :, 2]).astype(np.float32)
        self._project, self._shift = project.astype(np.float32), shift.astype(np.float32)
        self._sizes = sizes.astype(np.float32)

    def overlapping(self, block: Array) -> Array:
        """(len(block), n) bool."""
        low, high = self._overlap.distance_m
        square = (self._centers**2).sum(axis=1)
        distance = square[block, None] + square - 2 * self._centers[block] @ self._centers.T
        fits: Array = (distance >= low**2) & (distance <= high**2)
        fits &= self._towards[block] @ self._towards.T >= np.cos(np.radians(self._overlap.angle_deg))
        everyone = np.arange(len(self._centers))
        fits &= self._inside(block, everyone)
        fits &= self._inside(everyone, block).T
        fits[np.arange(len(block)), block] = False
        return fits

    def _inside(self, seen: Array, by: Array) -> Array:
        """(len(seen), len(by)) bool: whether the points ahead of views `seen` are in the images of `by`."""
        x, y, depth = (self._ahead[seen] @ self._project[by, axis].T - self._shift[by, axis] for axis in range(3))
        height, width = self._sizes[by].T
        found: Array = (x > 0) & (x < width * depth) & (y > 0) & (y < height * depth)
        return found
