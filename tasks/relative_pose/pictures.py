"""Pictures of poses: cameras seen from above, and epipolar lines."""

from __future__ import annotations

import cv2
import numpy as np

from croco_bench.data.transforms.color import to_uint8
from croco_bench.metrics.pose_averaging import locate
from croco_bench.types import Array, Sample

_DATABASE, _TRUTH, _PREDICTION = (150, 150, 150), (40, 150, 70), (210, 50, 40)
_POINTS = ((228, 26, 28), (55, 126, 184), (255, 127, 0), (152, 78, 163), (255, 217, 47), (77, 175, 74))
# Minimum width of the drawing from above, and its margin as a share of the cameras' extent.
_MIN_WIDTH_M, _MARGIN = 1.0, 0.3
# OpenCV draws on a grid of 1/16 pixel.
_SHIFT = 4


def from_above(database: Array, truth: Array, prediction: Array, size: tuple[int, int]) -> tuple[Array, float]:
    """Draws cameras from above, gray for the database, green for the truth, red for the prediction.

    The vertical is the mean upward direction of the cameras. Predictions that aren't finite are left out; distant ones are
    moved to the edge.

    Args:
        database: camera to world (K, 4, 4).
        truth: camera to world (4, 4).
        prediction: camera to world (4, 4).
        size: of the drawing.

    Returns:
        The drawing (H, W, 3) uint8, and its width in metres.
    """
    known = np.concatenate([database, truth[None]])
    right, ahead = _ground(known)
    ground = np.stack([right, ahead], axis=1)
    positions = (known[:, :3, 3] - truth[:3, 3]) @ ground
    lower, upper = positions.min(axis=0), positions.max(axis=0)
    height, width = size
    width_m = max(_MIN_WIDTH_M, *((upper - lower) * (1, width / height))) * (1 + 2 * _MARGIN)
    scale, middle = width / width_m, (lower + upper) / 2
    picture = np.full((height, width, 3), 255, np.uint8)
    cameras = [(pose, _DATABASE) for pose in database] + [(truth, _TRUTH)]
    if np.isfinite(prediction).all():
        cameras.append((prediction, _PREDICTION))
    for pose, color in cameras:
        position = ((pose[:3, 3] - truth[:3, 3]) @ ground - middle) * scale
        _draw_camera(picture, position, pose[:3, 2] @ ground, color)
    return picture, width_m


def _ground(poses: Array) -> tuple[Array, Array]:
    """Horizontal unit vectors (3,) to the right and ahead of the mean viewing direction."""
    up, ahead = -poses[:, :3, 1].mean(axis=0), poses[:, :3, 2].mean(axis=0)
    up /= max(float(np.linalg.norm(up)), 1e-9)
    ahead = ahead - (ahead @ up) * up
    ahead /= max(float(np.linalg.norm(ahead)), 1e-9)
    return np.cross(ahead, up), ahead


def _draw_camera(picture: Array, position: Array, direction: Array, color: tuple[int, int, int]) -> None:
    """Draws a triangle that opens in viewing direction; `position` (right, ahead) in pixels from the middle."""
    height, width = picture.shape[:2]
    length = 0.09 * min(height, width)
    half = np.array([width, height]) / 2 - 1
    apex = np.clip(position, -half, half)
    across = np.array([direction[1], -direction[0]])
    corners = np.stack([apex, apex + length * (direction + 0.5 * across), apex + length * (direction - 0.5 * across)])
    pixels = np.stack([corners[:, 0] + width / 2, height / 2 - corners[:, 1]], axis=1)
    fixed = np.rint(pixels * (1 << _SHIFT)).astype(np.int32)
    line = max(round(min(height, width) / 150), 1)
    cv2.polylines(picture, [fixed.reshape(-1, 1, 2)], True, color, line, cv2.LINE_AA, _SHIFT)
    cv2.circle(picture, fixed[0].tolist(), (2 * line) << _SHIFT, color, -1, cv2.LINE_AA, _SHIFT)


def epipolar(images: tuple[Array, Array], K1: Array, K2: Array, prediction: Array, truth: Array) -> tuple[Array, Array]:
    """Draws six points into view 1 and their epipolar lines into view 2: predicted ones in color, true ones white.

    Args:
        images: of view 1 and 2, (H, W, 3) uint8.
        K1: intrinsics (3, 3) of view 1.
        K2: intrinsics (3, 3) of view 2.
        prediction: camera 2 to camera 1 (4, 4).
        truth: camera 2 to camera 1 (4, 4).
    """
    one, two = (image.copy() for image in images)
    height, width = one.shape[:2]
    for index, color in enumerate(_POINTS):
        point = np.array([(index % 3 + 1) * width / 4, (index // 3 + 1) * height / 3, 1.0])
        cv2.circle(one, (round(point[0]), round(point[1])), max(round(height / 60), 2), color, -1, cv2.LINE_AA)
        for motion, shade, thick in ((truth, (255, 255, 255), 1), (prediction, color, max(round(height / 150), 1))):
            if np.isfinite(motion).all():
                _line(two, _epipolar_line(point, motion, K1, K2), shade, thick)
    return one, two


def _epipolar_line(point: Array, motion: Array, K1: Array, K2: Array) -> Array:
    """(a, b, c) of the line a x + b y + c = 0 in view 2, the image of the ray of a homogeneous point in view 1."""
    rotation, translation = motion[:3, :3], motion[:3, 3]
    normal = rotation.T @ np.cross(translation, np.linalg.inv(K1) @ point)
    line: Array = np.linalg.inv(K2).T @ normal
    return line


def _line(picture: Array, line: Array, color: tuple[int, int, int], thick: int) -> None:
    """Draws the line a x + b y + c = 0, if it crosses the picture."""
    normal, offset = line[:2], line[2]
    length = float(np.linalg.norm(normal))
    if not length > 1e-12:
        return
    foot, along = -offset * normal / length**2, np.array([-normal[1], normal[0]]) / length
    middle = np.array(picture.shape[1::-1]) / 2
    center = foot + ((middle - foot) @ along) * along
    diagonal = float(np.hypot(*picture.shape[:2]))
    if np.linalg.norm(center - middle) > diagonal:
        return
    fixed = (
        np.rint(np.stack([center - diagonal * along, center + diagonal * along]) * (1 << _SHIFT)).astype(int).tolist()
    )
    cv2.line(picture, fixed[0], fixed[1], color, thick, cv2.LINE_AA, _SHIFT)


def panels_of_query(sample: Sample, prediction: Array) -> dict[str, Array]:
    """The query, its first database view, and all cameras from above."""
    database, query = to_uint8(sample["image1"][0]), to_uint8(sample["image2"])
    pose = locate(sample["cam2world1"], prediction, meters=sample["metres"])
    drawing, width_m = from_above(sample["cam2world1"], sample["cam2world2"], pose, query.shape[:2])
    title = f"from above, {width_m:.1f} m: database grey, truth green, prediction red"
    return {f"{sample['scene']}: nearest database view": database, "query": query, title: drawing}


def panels_of_pair(sample: Sample, prediction: Array) -> dict[str, Array]:
    """Both views, with points in the first one and their epipolar lines in the second."""
    images = to_uint8(sample["image1"]), to_uint8(sample["image2"])
    one, two = epipolar(images, sample["K1"], sample["K2"], prediction, sample["relative"])
    return {"view 1": one, "view 2: predicted lines in colour, true ones white": two}
