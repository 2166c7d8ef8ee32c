"""Pictures of matches, and of the place where a point is looked for."""

from __future__ import annotations

import cv2
import numpy as np
from torch import Tensor

from croco_bench.data.transforms.color import to_uint8
from croco_bench.data.transforms.colormaps import colored
from croco_bench.tasks.correspondence.truth import sides_px
from croco_bench.types import Array, Sample

# Error (px) of the last color of the scale, and gray of points that view 2 doesn't show.
_WORST_PX, _HIDDEN = 20.0, (120, 120, 120)
_SHIFT = 4


def enlarged(image: Tensor) -> Array:
    """An image (3, h, w) in [0, 1] as (H, W, 3) uint8 with a shorter side of 256 pixels."""
    picture = to_uint8(image)
    height, width = sides_px((picture.shape[0], picture.shape[1]))
    return np.ascontiguousarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR))


def panels(sample: Sample, matches: Array, name: str) -> dict[str, Array]:
    """Points in view 1 and their matches (P, 2) in view 2, colored by error, with a line from each match to the truth."""
    one, two = enlarged(sample["image1"]), enlarged(sample["image2"])
    errors = np.linalg.norm(matches - sample["truth"], axis=1)
    colors = colored(np.nan_to_num(errors, nan=_WORST_PX)[None], (0.0, _WORST_PX), cv2.COLORMAP_TURBO, None)[0]
    for point, match, truth, color in zip(sample["points"], matches, sample["truth"], colors.tolist(), strict=True):
        if not np.isfinite(truth).all():
            _dot(one, point, _HIDDEN, 1)
            continue
        _dot(one, point, color, 3)
        if np.isfinite(match).all():
            cv2.line(two, _fixed(match), _fixed(truth), color, 1, cv2.LINE_AA, _SHIFT)
            _dot(two, match, color, 3)
    return {
        f"view 1: error of {name}, 0 to {_WORST_PX:g} px": one,
        "view 2: matches, with lines to the truth": two,
    }


def looked_for(sample: Sample, heat: Array, point: int, match: Array) -> Array:
    """View 2 under the similarity or attention (h, w) of a point, with its match (ring) and its truth (cross)."""
    picture = enlarged(sample["image2"])
    height, width = picture.shape[:2]
    low, high = float(heat.min()), float(heat.max())
    wide = cv2.resize(heat.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    shaded: Array = cv2.addWeighted(
        picture, 0.4, colored(wide, (low, max(high, low + 1e-9)), cv2.COLORMAP_INFERNO, None), 0.6, 0
    )
    if np.isfinite(match).all():
        cv2.circle(shaded, _fixed(match), 6 << _SHIFT, (60, 220, 255), 2, cv2.LINE_AA, _SHIFT)
    _cross(shaded, sample["truth"][point], 12)
    return shaded


def with_point(sample: Sample, point: int) -> Array:
    """View 1 with one point marked."""
    picture = enlarged(sample["image1"])
    _cross(picture, sample["points"][point], 16)
    return picture


def most_central(points: Array, truth: Array, middle: Array) -> int:
    """Index of the point (P, 2) nearest to the middle (2,) among those that view 2 shows; if it shows none, among all."""
    distances = np.linalg.norm(points - middle, axis=1)
    seen = np.isfinite(truth).all(axis=1)
    return int(np.nan_to_num(np.where(seen | ~seen.any(), distances, np.inf), nan=np.inf).argmin())


def _fixed(position: Array) -> tuple[int, int]:
    x, y = np.rint(np.clip(position - 0.5, -1e4, 1e4) * (1 << _SHIFT)).astype(int)
    return int(x), int(y)


def _cross(picture: Array, position: Array, side: int) -> None:
    if np.isfinite(position).all():
        x, y = (int(value) for value in position)
        cv2.drawMarker(picture, (x, y), (90, 255, 90), cv2.MARKER_CROSS, side, 2, cv2.LINE_AA)


def _dot(picture: Array, position: Array, color: tuple[int, int, int], radius: int) -> None:
    if np.isfinite(position).all():
        cv2.circle(picture, _fixed(position), radius << _SHIFT, color, -1, cv2.LINE_AA, _SHIFT)
