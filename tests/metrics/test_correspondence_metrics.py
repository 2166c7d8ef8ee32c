"""Recall, errors and poses of matches, against values that can be counted by hand."""

from typing import Any

import numpy as np
import pytest

from croco_bench.metrics.correspondence import CorrespondenceMeter, SweepMeter, reduce_matches
from croco_bench.metrics.match_definitions import KEYPOINTS, OBJECTS, PLANES
from croco_bench.metrics.meter import stack
from croco_bench.types import Array

POINTS = np.array([[10.0, 10.0], [20.0, 10.0], [30.0, 10.0], [40.0, 10.0]])
# Moved by 0, 12, 40 px; the last one isn't visible.
TRUTH = np.array([[10.0, 10.0], [32.0, 10.0], [30.0, 50.0], [np.nan, np.nan]])
MOTION = np.array([[0.8, 0, 0.6, 0.1], [0, 1, 0, 0.2], [-0.6, 0, 0.8, 0], [0, 0, 0, 1]])


def sample(**more: Any) -> dict[str, Any]:
    plain = {"points": POINTS, "truth": TRUTH, "long_side_px": 300.0, "angle_deg": 36.9, "baseline_m": 0.22}
    return {**plain, **more}


def scores(prediction: Array, **more: Any) -> dict[str, float]:
    meter = CorrespondenceMeter({"": 0}, ["one"])
    return meter.reduce(stack([meter.measure(prediction[None], sample(**more))]))


def test_no_motion_finds_only_what_did_not_move() -> None:
    found = scores(POINTS)
    assert found["recall10"] == pytest.approx(100 / 3) and found["recall10_moved"] == 0
    assert found["recall10_0-10px"] == 100 and found["recall10_10-30px"] == found["recall10_30-80px"] == 0
    assert found["match_error_px"] == pytest.approx((0 + 12 + 40) / 3)
    assert found["pck05"] == pytest.approx(200 / 3), "12 px are less than a twentieth of 300"
    assert np.isnan(found["recall10_80+px"])


def test_thresholds_are_strict_and_pairs_fall_into_one_bin() -> None:
    found = scores(TRUTH + np.array([5, 0]))
    assert found["recall3"] == found["recall5"] == 0 and found["recall10"] == 100
    assert found["recall10_30-60deg"] == found["recall10_0-25cm"] == 100
    assert np.isnan(found["recall10_0-30deg"]) and np.isnan(found["recall10_25-50cm"])


def test_no_answer_is_wrong_but_has_no_error() -> None:
    found = scores(np.where([[False], [True], [False], [True]], np.nan, TRUTH))
    assert found["recall10"] == pytest.approx(200 / 3) and found["match_error_px"] == 0


def test_errors_in_metres_are_between_surface_points() -> None:
    K = np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    depth_m = np.full((100, 100), 2.0)
    surface = np.concatenate([TRUTH, np.ones((4, 1))], axis=1) @ np.linalg.inv(K).T * 2
    more = {"K1_px": K, "K2_px": K, "depth2_m": depth_m, "surface2_m": surface, "relative": MOTION}
    assert scores(TRUTH + np.array([10, 0]), **more)["match_error_m"] == pytest.approx(
        0.2
    )  # 10 px at 2 m and a focal length of 100
    depth_m[:] = np.nan
    assert np.isnan(scores(TRUTH, **more)["match_error_m"])


def test_poses_count_by_the_larger_angle() -> None:
    geometry = {"K1_px": np.eye(3), "K2_px": np.eye(3), "relative": MOTION}
    answers = iter([MOTION[:3], None])
    meter = CorrespondenceMeter({"": 0, "encoder": 0}, ["one"], estimate=lambda *_: next(answers))
    rows = stack([meter.measure(POINTS[None], sample(**geometry)) for _ in range(2)])
    found = meter.reduce(rows)
    assert found["auc5"] == found["encoder/auc5"] == pytest.approx(50, abs=0.1) and found["failed_pairs"] == 50
    assert reduce_matches(rows) == pytest.approx(found, nan_ok=True)
    assert set(found) == {metric.name for metric in meter.metrics}


def test_the_sweep_reports_the_reading_that_finds_most_of_what_moved() -> None:
    meter = SweepMeter()
    rows = stack([meter.measure(np.stack([POINTS, np.where(POINTS[:, :1] < 25, TRUTH, POINTS)]), sample())])
    assert rows["recall10_moved"].shape == (1, 2)
    assert meter.reduce(rows)["recall10_moved"] == pytest.approx(50)


def test_breakdown_has_a_line_per_reading() -> None:
    meter = CorrespondenceMeter({"": 1}, ["encoder 1", "encoder 2"])
    lines = meter.breakdown(stack([meter.measure(np.stack([POINTS, TRUTH]), sample())]))
    assert [line["read_out"] for line in lines] == ["encoder 1", "encoder 2"]
    assert [line["recall10_moved"] for line in lines] == [0, 100]


def test_flat_scenes_are_scored_by_what_changes() -> None:
    meter = CorrespondenceMeter({"": 0}, ["one"], scores=PLANES)
    plain: dict[str, Any] = {"points": POINTS, "truth": TRUTH, "long_side_px": 256.0}
    samples: list[Any] = [{**plain, "kind": kind} for kind in ("viewpoint", "illumination")]
    rows = stack([meter.measure(POINTS[None], one) for one in samples])
    found = meter.reduce(rows)
    assert set(found) == {metric.name for metric in PLANES.shown}
    assert found["recall10_viewpoint"] == found["recall10_illumination"] == found["recall10"] == pytest.approx(100 / 3)
    assert found["match_error_px_viewpoint"] == pytest.approx(52 / 3)


def test_keypoints_count_by_the_objects_box_per_pair_and_per_point() -> None:
    """Three points of which two are within a tenth of 200 px, then one that isn't."""
    meter = CorrespondenceMeter({"": 0, "encoder": 1}, ["one", "two"], scores=KEYPOINTS)
    first: dict[str, Any] = {"points": POINTS, "truth": TRUTH, "long_side_px": 256.0, "box_px": 200.0, "difficulty": 0}
    alone = np.where([[False], [False], [True], [False]], TRUTH, np.nan)
    second = {**first, "truth": alone, "difficulty": 2}
    rows = stack([meter.measure(np.stack([POINTS, TRUTH]), sample) for sample in (first, second)])
    found = meter.reduce(rows)
    assert found["pck10_box"] == pytest.approx((200 / 3 + 0) / 2) and found["pck10_box_points"] == pytest.approx(50)
    assert found["pck05_box"] == pytest.approx((100 / 3 + 0) / 2) and found["encoder/pck05_box"] == 100
    assert found["pck10_box_easy"] == pytest.approx(200 / 3) and found["pck10_box_hard"] == 0
    assert np.isnan(found["pck10_box_medium"])
    assert reduce_matches(rows) == pytest.approx(found, nan_ok=True)
    assert set(found) == {metric.name for metric in meter.metrics}


def test_objects_count_by_distances_of_their_surface() -> None:
    """Matches 1.5 and 3 cm off, and one beside the object, which has no depth."""
    K = np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    truth = np.array([[10.0, 10.0], [20.0, 20.0], [30.0, 30.0], [np.nan, np.nan]])
    depth_m = np.full((100, 100), 1.0)
    depth_m[:, 60:] = np.nan
    surface = np.concatenate([truth, np.ones((4, 1))], axis=1) @ np.linalg.inv(K).T
    matches = truth + np.array([[1.5, 0], [3.0, 0], [40, 0], [0, 0]])
    more = {"K1_px": K, "K2_px": K, "depth2_m": depth_m, "surface2_m": surface, "relative": MOTION, "truth": truth}
    meter = CorrespondenceMeter({"": 0}, ["one"], scores=OBJECTS)
    found = meter.reduce(stack([meter.measure(matches[None], sample(**more))]))
    assert (found["recall1cm"], found["recall2cm"], found["recall5cm"]) == pytest.approx((0, 100 / 3, 200 / 3))
    assert found["recall2cm_30-60deg"] == pytest.approx(100 / 3) and np.isnan(found["recall2cm_0-30deg"])
    assert found["match_error_m"] == pytest.approx(0.0225)
