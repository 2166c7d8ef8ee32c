"""Metrics of relative pose, compared with evo and brute force; failures and zero baselines."""

import math

import numpy as np
import pytest
from evo.core.metrics import APE, RPE, PoseRelation, Unit
from evo.core.trajectory import PosePath3D
from scipy.integrate import trapezoid
from scipy.spatial.transform import Rotation

from croco_bench.errors import BenchError
from croco_bench.metrics.meter import Rows, bootstrap, stack
from croco_bench.metrics.pose import RelativePoseMeter, auc, mean_accuracy, pair_scores
from croco_bench.metrics.pose_errors import (
    direction_error_deg,
    folded,
    rotation_error_deg,
    translation_error_m,
)
from croco_bench.types import Array


def poses(count: int, seed: int, *, turn: float = 3.0, move: float = 1.0) -> Array:
    """(count, 4, 4): rotations by normal vectors of `turn` radians, translations of `move` metres."""
    rng = np.random.default_rng(seed)
    found = np.tile(np.eye(4), (count, 1, 1))
    found[:, :3, :3] = Rotation.from_rotvec(rng.normal(0, turn, (count, 3))).as_matrix()
    found[:, :3, 3] = rng.normal(0, move, (count, 3))
    return found


def measured(predicted: Array, truth: Array, *, meters: bool = True) -> Rows:
    meter = RelativePoseMeter(meters=meters)
    return stack([meter.measure(one, {"relative": other}) for one, other in zip(predicted, truth, strict=True)])


def test_errors_are_those_of_evo() -> None:
    """Absolute errors of a trajectory, and relative errors of its consecutive frames, frame by frame."""
    truth, guess = poses(200, 0), poses(200, 1)
    guess[:100] = truth[:100] @ poses(100, 2, turn=0.01, move=0.01)
    paths = PosePath3D(poses_se3=list(truth)), PosePath3D(poses_se3=list(guess))
    for relation, name in (
        (PoseRelation.rotation_angle_deg, "rotation"),
        (PoseRelation.translation_part, "translation"),
    ):
        absolute, relative = APE(relation), RPE(relation, delta=1, delta_unit=Unit.frames)
        absolute.process_data(paths)
        relative.process_data(paths)
        steps, guessed = (np.linalg.inv(path[:-1]) @ path[1:] for path in (truth, guess))
        for one, two, expected in ((guess, truth, absolute.error), (guessed, steps, relative.error)):
            found = (
                rotation_error_deg(one[:, :3, :3], two[:, :3, :3])
                if name == "rotation"
                else translation_error_m(one[:, :3, 3], two[:, :3, 3])
            )
            assert len(found) == len(expected) and np.allclose(found, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("degrees", [0, 1e-7, 1e-4, 1, 90, 179, 179.9999, 180])
def test_angles_are_exact_near_none_and_half_a_turn(degrees: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        axis, start = rng.normal(size=3), Rotation.random(None, rng)
        axis /= np.linalg.norm(axis)
        turned = (start * Rotation.from_rotvec(np.radians(degrees) * axis)).as_matrix()
        assert rotation_error_deg(turned, start.as_matrix()) == pytest.approx(degrees, abs=2e-8)
        across = np.cross(axis, rng.normal(size=3))
        across *= rng.uniform(0.1, 10) / np.linalg.norm(across)
        beside = 3 * Rotation.from_rotvec(np.radians(degrees) * axis).apply(across)
        assert direction_error_deg(beside, across) == pytest.approx(degrees, abs=2e-8)
        assert folded(direction_error_deg(beside, across)) == pytest.approx(min(degrees, 180 - degrees), abs=2e-8)


def test_half_precision_is_no_obstacle() -> None:
    truth = poses(50, 3)
    guess = (truth @ poses(50, 4, turn=0.1)).astype(np.float32)
    exact = measured(guess.astype(np.float64), truth)
    for key, values in measured(guess, truth).items():
        assert values.dtype == np.float64 and np.allclose(values, exact[key], atol=1e-4)
    assert (
        np.abs(measured(guess.astype(np.float16), truth)["pair_rotation_deg"] - exact["pair_rotation_deg"]).max() < 0.2
    )


def test_failures_are_infinite_and_stay() -> None:
    truth = poses(6, 5)
    guess = truth.copy()
    guess[0, 0, 3] = np.nan  # a translation
    guess[1, 1, 1] = np.inf  # a rotation
    guess[2] = np.nan
    guess[3, :3, 3] = 0  # no direction
    rows = measured(guess, truth)
    for values in rows.values():
        assert np.isinf(values[:3]).all() and (values[:3] > 0).all()
    assert np.isinf(rows["pair_direction_deg"][3]) and rows["pair_rotation_deg"][3] == pytest.approx(0, abs=1e-6)
    assert rows["pair_translation_m"][3] == pytest.approx(np.linalg.norm(truth[3, :3, 3]))
    scores = RelativePoseMeter(meters=True).reduce(rows)
    assert scores["failed_pairs"] == pytest.approx(50)
    assert scores["rra15"] == pytest.approx(50) and scores["rta15"] == scores["rta15_folded"] == pytest.approx(100 / 3)
    assert scores["auc5"] == scores["auc5_folded"] == pytest.approx(100 / 3)
    assert math.isinf(scores["pair_direction_deg"]) and math.isinf(scores["pair_rotation_deg"])


def test_zero_baselines_are_scored_by_rotation_and_counted() -> None:
    truth, turn = poses(4, 6), poses(4, 7, turn=0.02, move=0)
    truth[:2, :3, 3] = [[0, 0, 0], [0, 1e-7, 0]]
    guess = truth @ turn
    guess[:2, :3, 3] = 5, 5, 5
    guess[2, :3, 3] *= -1
    scores = pair_scores(rows := measured(guess, truth))
    assert np.isnan(rows["pair_direction_deg"]).tolist() == [True, True, False, False]
    assert scores["zero_baselines"] == 2 and scores["rta15"] == 50 and scores["rta15_folded"] == 100
    expected = np.fmax(rows["pair_rotation_deg"], [0, 0, 180, 0])
    assert scores["auc10"] == pytest.approx(100 * by_trapezoids(expected, 10))
    still = pair_scores(measured(guess[:2], truth[:2]))
    assert math.isnan(still["rta15"]) and math.isnan(still["pair_direction_deg"]) and still["rra15"] == 100
    guess[0] = np.nan
    assert pair_scores(measured(guess, truth))["failed_pairs"] == 25


def by_trapezoids(errors: Array, limit: float) -> float:
    """As SuperGlue, LoFTR and Reloc3r compute it: the polygon of (error, recall), cut at the limit."""
    x = np.concatenate([[0.0], np.sort(errors)])
    y = np.linspace(0, 1, len(x))
    last = int(np.searchsorted(x, limit))
    return float(trapezoid([*y[:last], y[last - 1]], [*x[:last], limit]) / limit)


def by_thresholds(errors: Array, limit: int) -> float:
    """As Reloc3r computes mAA: a histogram of degrees, summed up; its last bin holds the limit itself."""
    counts, _ = np.histogram(errors[np.isfinite(errors)], bins=np.arange(limit + 1))
    return float(np.cumsum(counts / len(errors)).mean())


@pytest.mark.parametrize("seed", range(20))
def test_areas_equal_brute_force(seed: int) -> None:
    """With failures, ties, zeros, and errors that are exactly a limit."""
    rng = np.random.default_rng(seed)
    errors = rng.gamma(1, 10, rng.integers(1, 300))
    for value in (np.inf, 0.0, 5.0, 10.0, 29.0, 30.0, float(errors[0])):
        errors[rng.random(len(errors)) < 0.05] = value
    if seed == 0:
        errors[:] = np.inf
    for limit in (5, 10, 20, 30):
        assert auc(errors, limit) == pytest.approx(by_trapezoids(errors, limit), rel=1e-12, abs=1e-15)
        assert mean_accuracy(errors, limit) == pytest.approx(by_thresholds(errors, limit), rel=1e-12, abs=1e-15)


def test_by_hand() -> None:
    """Errors of 1, 3 and 20 degrees: at 10, the polygon (0, 0), (1, 1/3), (3, 2/3), (10, 2/3)."""
    truth = np.tile(np.eye(4), (3, 1, 1))
    truth[:, :3, 3] = 1, 0, 0
    guess = truth.copy()
    for pose, degrees in zip(guess, (1, 3, 20), strict=True):
        pose[:3, :3] = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    guess[1, :3, 3] = -2, 0, 0
    scores = pair_scores(measured(guess, truth))
    assert scores["auc10_folded"] == pytest.approx(100 * (1 / 6 + 1 + 7 * 2 / 3) / 10)
    assert scores["auc10"] == pytest.approx(100 * (1 / 6 + 9 / 3) / 10)
    # Below 2, 3, ..., 20 degrees there is one of three, above 20 another.
    assert scores["maa30"] == pytest.approx(100 * (19 + 2 * 10) / 90)
    assert scores["rra15"] == pytest.approx(200 / 3) and scores["rta15"] == pytest.approx(200 / 3)
    assert scores["pair_rotation_deg"] == pytest.approx(3) and scores["pair_direction_deg"] == pytest.approx(
        0, abs=1e-6
    )
    assert scores["pair_translation_m"] == pytest.approx(0, abs=1e-12) and scores["rta15_folded"] == 100


def test_pairs_near_in_both_rotation_and_position_by_hand() -> None:
    """Of four pairs one is within 10 degrees and 0.25 m, one within 0.5 m, one within 1 m; the last one is turned by 12."""
    truth = np.tile(np.eye(4), (4, 1, 1))
    truth[:, :3, 3] = 1, 0, 0
    guess = truth.copy()
    guess[:, 1, 3] = 0.2, 0.4, 0.9, 0.1
    guess[3, :3, :3] = Rotation.from_euler("z", 12, degrees=True).as_matrix()
    scores = pair_scores(measured(guess, truth))
    assert [scores[f"recall_10deg_{limit}"] for limit in ("25cm", "50cm", "1m")] == [25, 50, 75]


@pytest.mark.parametrize("meters", [True, False])
def test_metrics_are_what_is_declared(meters: bool) -> None:
    meter = RelativePoseMeter(meters=meters)
    scores = meter.reduce(measured(poses(9, 8), poses(9, 9), meters=meters))
    assert sorted(metric.name for metric in meter.metrics) == sorted(scores)
    assert ("pair_translation_m" in scores) == meters
    first = meter.metrics[0]
    assert first.name in measured(poses(1, 0), poses(1, 1)), "pictures show the first metric of each pair"


def test_intervals_are_left_out_where_failures_reach_the_middle() -> None:
    truth = poses(60, 10)
    guess = truth @ poses(60, 11, turn=0.05, move=0.01)
    guess[:28] = np.nan
    meter, rows = RelativePoseMeter(meters=True), measured(guess, truth)
    assert np.isfinite(list(meter.reduce(rows).values())).all()
    intervals = bootstrap(meter, rows, draws=200)
    assert intervals["pair_rotation_deg"] is None
    low, high = intervals["rra15"] or (0, 0)
    assert low < meter.reduce(rows)["rra15"] < high


@pytest.mark.parametrize("damage", [2.0, -1.0])
def test_what_is_no_rotation_is_a_mistake_in_the_head(damage: float) -> None:
    truth = poses(1, 12)
    guess = truth[0].copy()
    guess[:3, :3] *= damage
    with pytest.raises(BenchError, match="holds no rotation"):
        RelativePoseMeter(meters=True).measure(guess, {"relative": truth[0]})
