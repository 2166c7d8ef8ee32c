"""Metrics of point matches, and those that each set of pairs has. Imports no numpy.

Pixels are those of an image with a shorter side of 256: errors e = ‖p - t‖₂ of points that both views show, mean over a
pair's points, then over pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from croco_bench.metrics import Metric
from croco_bench.metrics.definitions import AUC5, AUC10, AUC20, FAILED

MATCH_THRESHOLDS_PX = (1, 3, 5, 10)
MATCH_SHARES = (0.05, 0.1)
_RECALL_AT = 10
# Lower edges of bins: angle of the relative rotation, distance of the cameras, and length of a point's true motion.
ANGLE_EDGES_DEG = (0, 30, 60, 90)
ANGLE_BINS = ("0-30deg", "30-60deg", "60-90deg", "90-180deg")
BASELINE_EDGES_CM = (0, 25, 50, 100)
DISPLACEMENT_EDGES_PX = (0, 10, 30, 80)


def _recall(name: str, label: str, when: str, of: str = "") -> Metric:
    return Metric(name, label, "%", "higher", "pair", 1, f"100 * mean[{when}]{of and f', {of}'}")


def _recall_bins(bins: tuple[str, ...], what: str) -> tuple[Metric, ...]:
    """Recall at 10 px in bins of `what`."""
    at = f"recall{_RECALL_AT}"
    return tuple(
        _recall(f"{at}_{one}", f"R@{_RECALL_AT} {one}", f"e < {_RECALL_AT} px", f"{what} in {one}") for one in bins
    )


RECALL_PX = tuple(_recall(f"recall{limit}", f"R@{limit}", f"e < {limit} px") for limit in MATCH_THRESHOLDS_PX)
RECALL10 = RECALL_PX[-1]
# No motion scores 0.
RECALL10_MOVED = _recall("recall10_moved", "R@10 moved", "e < 10 px", "points with ‖t - x‖ >= 10 px")
PCK = tuple(_recall(f"pck{100 * share:02.0f}", f"PCK@{share:g}", f"e < {share:g} max(H, W)") for share in MATCH_SHARES)
MATCH_ERROR_PX = Metric("match_error_px", "error", "px", "lower", "pair", 2, "mean[e], points with an answer")
MATCH_ERROR_M = Metric(
    "match_error_m", "3D error", "m", "lower", "pair", 3, "mean ‖P - T‖, surface points of view 2 with known depth"
)
RECALL_ANGLE = _recall_bins(ANGLE_BINS, "∠R between the views")
RECALL_BASELINE = _recall_bins(("0-25cm", "25-50cm", "50-100cm", "100+cm"), "distance of the cameras")
RECALL_DISPLACEMENT = _recall_bins(("0-10px", "10-30px", "30-80px", "80+px"), "‖t - x‖")
MATCHES = (
    RECALL10,
    RECALL10_MOVED,
    *RECALL_PX[:-1],
    *PCK,
    MATCH_ERROR_PX,
    MATCH_ERROR_M,
    *RECALL_ANGLE,
    *RECALL_BASELINE,
    *RECALL_DISPLACEMENT,
)
MATCHED_POSES = (AUC5, AUC10, AUC20, FAILED)

# HPatches: planar scenes, of which the homography is known.
KINDS = ("viewpoint", "illumination")
RECALL_KIND = _recall_bins(KINDS, "sequences of other")
ERROR_VIEWPOINT_PX = Metric(
    "match_error_px_viewpoint", "error, viewpoint", "px", "lower", "pair", 2, "mean[e] in sequences of other viewpoint"
)

# SPair-71k: keypoints of two objects of one class. PCK as in its paper: a share of the larger side of the object's box in view 2.
BOX_SHARES = (0.1, 0.05)
DIFFICULTIES = ("easy", "medium", "hard")
_BOX = "e < {share:g} max(w, h) of the object's box"


def _pck_box(share: float, suffix: str = "", of: str = "", label: str = "") -> Metric:
    named = _recall(f"pck{100 * share:02.0f}_box{suffix}", f"PCK@{share:g}{label}", _BOX.format(share=share), of)
    return replace(named, average="point") if suffix == "_points" else named


PCK_BOX = tuple(_pck_box(share) for share in BOX_SHARES)
PCK_BOX_POINTS = tuple(_pck_box(share, "_points", "all points of all pairs", " per point") for share in BOX_SHARES)
PCK_BOX_VIEWPOINT = tuple(
    _pck_box(BOX_SHARES[0], f"_{one}", f"pairs whose change of viewpoint is {one}", f" {one}") for one in DIFFICULTIES
)

# NAVI: an object in front of two cameras, of which the surface is known.
DISTANCES_CM = (2, 1, 5)
RECALL_CM = tuple(_recall(f"recall{cm}cm", f"R@{cm} cm", f"‖P - T‖ < {cm} cm") for cm in DISTANCES_CM)
RECALL_CM_ANGLE = tuple(
    _recall(f"recall2cm_{one}", f"R@2 cm {one}", "‖P - T‖ < 2 cm", f"∠R between the views in {one}")
    for one in ANGLE_BINS
)


@dataclass(frozen=True)
class MatchScores:
    """The metrics of a set of pairs.

    Attributes:
        shown: of each read-out that is reported.
        swept: of every read-out.
        choice: the one of `swept` by which read-outs are chosen.
    """

    shown: tuple[Metric, ...]
    swept: tuple[Metric, ...]
    choice: Metric


_SWEPT = (*RECALL_PX, RECALL10_MOVED, MATCH_ERROR_PX)
SCENES = MatchScores(MATCHES, _SWEPT, RECALL10_MOVED)
PLANES = MatchScores(
    (
        RECALL10,
        RECALL10_MOVED,
        *RECALL_PX[:-1],
        *PCK,
        MATCH_ERROR_PX,
        ERROR_VIEWPOINT_PX,
        *RECALL_KIND,
        *RECALL_DISPLACEMENT,
    ),
    _SWEPT,
    RECALL10_MOVED,
)
KEYPOINTS = MatchScores((*PCK_BOX, *PCK_BOX_POINTS, *PCK_BOX_VIEWPOINT), PCK_BOX, PCK_BOX[0])
OBJECTS = MatchScores(
    (*RECALL_CM, RECALL10, RECALL10_MOVED, MATCH_ERROR_PX, MATCH_ERROR_M, *RECALL_CM_ANGLE, *RECALL_DISPLACEMENT),
    (*RECALL_CM, *_SWEPT),
    RECALL_CM[0],
)
# All of them by name.
BY_NAME = {metric.name: metric for scores in (SCENES, PLANES, KEYPOINTS, OBJECTS) for metric in scores.shown}
