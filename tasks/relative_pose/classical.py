"""Classical methods for relative pose: no motion; SIFT matches, five-point RANSAC and refinement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import poselib

from croco_bench.data.transforms.color import to_uint8
from croco_bench.types import Array, Batch

# (points of image 1 (n, 2), of image 2 (n, 2), K1, K2) -> [R | t] (3, 4) that maps camera 2 into camera 1; None: failed.
Estimator = Callable[[Array, Array, Array, Array], Array | None]
Features = tuple[Array, Array]
# Lowe's ratio of the distances to the nearest and the second nearest descriptor.
_RATIO = 0.8
# RANSAC: inlier distance from the epipolar line in pixels, confidence, number of trials.
_INLIER_PX, _CONFIDENCE, _TRIALS = 1.0, 0.9999, 10_000
# Any five matches fit some essential matrix, so a pose needs more inliers.
_MIN_INLIERS = 8


@dataclass(frozen=True)
class PoseMethod:
    """A classical method for relative pose.

    Attributes:
        predict: a prepared batch -> motions (4, 4) per pair, or (K, 4, 4) per query and its K database views.
        meters: translations have a length; otherwise only a direction.
        native: works on images at their native size.
    """

    predict: Callable[[Batch], list[Array]]
    meters: bool
    native: bool


def identity(batch: Batch) -> list[Array]:
    """No motion."""
    return [np.broadcast_to(np.eye(4), relative.shape) for relative in batch["relative"]]


def by_sift(estimate: Estimator, batch: Batch) -> list[Array]:
    """Motions from SIFT matches; NaN where there are too few."""
    poses = []
    keys = ("image1", "image2", "K1", "K2")
    for references, query, K1, K2 in zip(*(batch[key] for key in keys), strict=True):
        images = [to_uint8(image) for image in references.reshape(-1, *references.shape[-3:])]
        found = relative_poses(images, to_uint8(query), K1.reshape(-1, 3, 3), K2, estimate)
        poses.append(found.reshape(*K1.shape[:-2], 4, 4))
    return poses


def relative_poses(reference: Sequence[Array], query: Array, K1: Array, K2: Array, estimate: Estimator) -> Array:
    """Poses (K, 4, 4) of a query in the frames of K reference views: rotations, and translations of length 1.

    Args:
        reference: images (h, w, 3) uint8.
        query: image (h, w, 3) uint8.
        K1: intrinsics (K, 3, 3) of the reference views.
        K2: intrinsics (3, 3) of the query.
        estimate: matches -> pose.

    Returns:
        NaN where there are too few matches or too few inliers.
    """
    of_query = sift(query)
    poses = np.full((len(reference), 4, 4), np.nan)
    for index, image in enumerate(reference):
        points1, points2 = match(sift(image), of_query)
        found = estimate(points1, points2, K1[index], K2) if len(points1) >= _MIN_INLIERS else None
        if found is not None and np.isfinite(found).all():
            poses[index] = np.vstack([found, (0, 0, 0, 1)])
    return poses


def sift(image: Array) -> Features:
    """Keypoints (n, 2) in pixels (pixel centres are integers) and their descriptors (n, 128)."""
    found, descriptors = cv2.SIFT.create().detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
    points = np.array([point.pt for point in found], dtype=np.float64).reshape(-1, 2)
    return points, np.zeros((0, 128), np.float32) if descriptors is None else descriptors


def match(one: Features, two: Features) -> tuple[Array, Array]:
    """Points (n, 2) of both images that are mutual nearest neighbours and pass Lowe's ratio test in `two`."""
    if len(one[1]) < 2 or len(two[1]) < 2:
        return np.zeros((0, 2)), np.zeros((0, 2))
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    back = {best.queryIdx: best.trainIdx for (best,) in matcher.knnMatch(two[1], one[1], k=1)}
    pairs = [
        (*one[0][best.queryIdx], *two[0][best.trainIdx])
        for best, second in matcher.knnMatch(one[1], two[1], k=2)
        if best.distance < _RATIO * second.distance and back[best.trainIdx] == best.queryIdx
    ]
    # Keypoints with two orientations occur twice; each match counts once.
    found = np.unique(np.array(pairs).reshape(-1, 4), axis=0)
    return found[:, :2], found[:, 2:]


def by_poselib(
    points1: Array, points2: Array, K1: Array, K2: Array, *, inlier_px: float = _INLIER_PX, trials: int = _TRIALS
) -> Array | None:
    """LO-RANSAC and refinement of PoseLib, from a fixed seed."""
    pose, info = poselib.estimate_relative_pose(
        points2,
        points1,
        _camera(points2, K2),
        _camera(points1, K1),
        {"max_epipolar_error": inlier_px, "success_prob": _CONFIDENCE, "max_iterations": trials, "seed": 0},
        {},
    )
    return _unit(pose.R, pose.t) if info["num_inliers"] >= _MIN_INLIERS else None


def by_opencv(points1: Array, points2: Array, K1: Array, K2: Array) -> Array | None:
    """`findEssentialMat` (RANSAC with a fixed seed) and `recoverPose`."""
    rays1, rays2 = (_normalized(points, K) for points, K in ((points1, K1), (points2, K2)))
    threshold = _INLIER_PX / float(np.mean([K1[0, 0], K1[1, 1], K2[0, 0], K2[1, 1]]))
    eye = np.eye(3)
    essential, inside = cv2.findEssentialMat(
        rays2, rays1, eye, method=cv2.RANSAC, prob=_CONFIDENCE, threshold=threshold, maxIters=_TRIALS
    )
    if essential is None or essential.shape[0] % 3 or not essential.size:
        return None
    # Several matrices may fit equally well: take the one with most points in front of both cameras.
    candidates = [
        cv2.recoverPose(one, rays2, rays1, eye, mask=inside.copy()) for one in np.split(essential, len(essential) // 3)
    ]
    count, rotation, translation, _ = max(candidates, key=lambda found: found[0])
    return _unit(rotation, translation) if count >= _MIN_INLIERS else None


def _camera(points: Array, K: Array) -> dict[str, object]:
    """A pinhole camera in PoseLib's format; it only uses focal lengths and principal point."""
    width, height = (int(side) + 1 for side in points.max(axis=0))
    return {"model": "PINHOLE", "width": width, "height": height, "params": [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]}


def _normalized(points: Array, K: Array) -> Array:
    """Pixels (n, 2) -> x/z and y/z (n, 2)."""
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    rays: Array = homogeneous @ np.linalg.inv(K).T
    return rays[:, :2] / rays[:, 2:]


def _unit(rotation: Array, translation: Array) -> Array | None:
    """[R | t / |t|] (3, 4); None without a translation."""
    length = float(np.linalg.norm(translation))
    return np.hstack([rotation, translation.reshape(3, 1) / length]) if length > 0 else None


METHODS = {
    "identity": PoseMethod(identity, meters=True, native=False),
    "sift-opencv": PoseMethod(partial(by_sift, by_opencv), meters=False, native=True),
    "sift-poselib": PoseMethod(partial(by_sift, by_poselib), meters=False, native=True),
}
