"""A query's pose from several relative ones: averages, lines, and medians by scene."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from croco_bench.data.miniatures.make import make_mini
from croco_bench.metrics.definitions import LOCALIZATION
from croco_bench.metrics.meter import Rows, bootstrap, stack
from croco_bench.metrics.pose import LocalizationMeter
from croco_bench.metrics.pose_averaging import geometric_median, locate, nearest_to_lines, rotation_median
from croco_bench.runs.runner import run
from croco_bench.types import Array


def poses(count: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    found = np.tile(np.eye(4), (count, 1, 1))
    found[:, :3, :3] = Rotation.random(count, rng).as_matrix()
    found[:, :3, 3] = rng.normal(0, 2, (count, 3))
    return found


def angle_deg(one: Array, two: Array) -> float:
    return math.degrees((Rotation.from_matrix(one).inv() * Rotation.from_matrix(two)).magnitude())


@pytest.mark.parametrize("seed", range(10))
def test_the_geometric_median_has_the_least_sum_of_distances(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 1, (rng.integers(1, 12), 3)) * 10 ** rng.uniform(-2, 2)
    if seed % 3 == 0:
        points[rng.integers(0, len(points), len(points) // 2)] = points[0]

    def total(point: Array) -> float:
        return float(np.linalg.norm(points - point, axis=1).sum())

    best = min(total(point) for point in points)
    solved = minimize(total, points.mean(axis=0), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    assert total(geometric_median(points)) <= min(best, float(solved.fun)) * (1 + 1e-6) + 1e-9


def test_medians_stay_where_most_are() -> None:
    points = np.array([[1.0, 2, 3]] * 6 + [[1e6, 0, 0]] * 5)
    assert geometric_median(points) == pytest.approx([1, 2, 3], abs=1e-6)
    right, wrong = poses(2, 0)[:, :3, :3]
    assert angle_deg(rotation_median(np.stack([right] * 6 + [wrong] * 5)), right) < 1e-4
    # The mean, which is where the search starts, is far away.
    assert angle_deg(Rotation.from_matrix(np.stack([right] * 6 + [wrong] * 5)).mean().as_matrix(), right) > 5


@pytest.mark.parametrize("seed", range(10))
def test_the_rotation_median_has_the_least_sum_of_angles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    center = Rotation.random(None, rng)
    given = center * Rotation.from_rotvec(rng.normal(0, 0.4, (rng.integers(1, 12), 3)))

    def total(vector: Array) -> float:
        return float((given.inv() * Rotation.from_rotvec(vector) * center).magnitude().sum())

    found = rotation_median(given.as_matrix())
    reached = float((given.inv() * Rotation.from_matrix(found)).magnitude().sum())
    start = (given.mean() * center.inv()).as_rotvec()
    solved = minimize(total, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    singles = min(float((given.inv() * one).magnitude().sum()) for one in given)
    assert reached <= min(float(solved.fun), singles) * (1 + 1e-6) + 1e-7
    turn = Rotation.random(None, rng)
    assert angle_deg(rotation_median((turn * given).as_matrix()), turn.as_matrix() @ found) < 1e-3


def test_signs_of_quaternions_do_not_matter() -> None:
    """Around half a turn quaternions come with either sign; the median of their components is then somewhere else."""
    turns = np.linspace(-0.09, 0.09, 10)
    given = Rotation.from_rotvec([0, 0, np.pi]) * Rotation.from_rotvec(turns[:, None] * [0, 0, 1])
    half = Rotation.from_rotvec([0, 0, np.pi]).as_matrix()
    assert angle_deg(rotation_median(given.as_matrix()), half) < 1
    components = Rotation.from_quat(np.median(given.as_quat(canonical=True), axis=0))
    assert angle_deg(components.as_matrix(), half) > 90


@pytest.mark.parametrize("seed", range(10))
def test_the_nearest_point_to_lines_equals_stacked_least_squares(seed: int) -> None:
    """As Reloc3r solves it: the rows of all (I - d dᵀ) x = (I - d dᵀ) c."""
    rng = np.random.default_rng(seed)
    centers, directions = rng.normal(0, 2, (2, rng.integers(2, 11), 3))
    units = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    across = np.eye(3) - units[:, :, None] * units[:, None]
    solved, *_ = np.linalg.lstsq(across.reshape(-1, 3), np.einsum("kij,kj->ki", across, centers).ravel(), rcond=None)
    assert nearest_to_lines(centers, directions) == pytest.approx(solved, abs=1e-9)


def test_lines_that_never_meet_and_lines_that_are_none() -> None:
    centers = np.array([[0.0, 0, 0], [0, 2, 4], [0, 4, 2]])
    parallel = np.array([[1.0, 0, 0], [-3, 0, 0], [1, 1e-4, 0]])
    # Across the common direction the middle; along it, nothing is known but where the centres are.
    assert nearest_to_lines(centers, parallel) == pytest.approx([0, 2, 2], abs=1e-3)
    assert nearest_to_lines(centers + np.array([7, 0, 0]), parallel) == pytest.approx([7, 2, 2], abs=1e-3)
    assert nearest_to_lines(centers[1:2], parallel[:1]) == pytest.approx([0, 2, 4])
    apart = np.array([[1.0, 0, 0], [1, 0, 0], [0, 1, 1]])
    assert nearest_to_lines(np.eye(3), apart) == pytest.approx(nearest_to_lines(np.eye(3), -5 * apart))
    void = np.array([[1.0, 0, 0], [0, 0, 0], [0, 1, 0]])
    assert nearest_to_lines(centers, void) == pytest.approx(nearest_to_lines(centers[[0, 2]], void[[0, 2]]))
    assert np.isnan(nearest_to_lines(centers, np.zeros((3, 3)))).all()


@pytest.mark.parametrize("meters", [True, False])
def test_true_relative_poses_give_the_true_pose(meters: bool) -> None:
    for seed in range(20):
        query, *known = poses(6, seed)
        relative = np.linalg.inv(np.stack(known)) @ query
        if not meters:
            relative[:, :3, 3] *= np.random.default_rng(seed).uniform(0.1, 9, (5, 1))
        relative[3] = np.nan
        assert locate(np.stack(known), relative, meters=meters) == pytest.approx(query, abs=1e-6)
        if meters:
            relative[4] = np.eye(4)
            assert locate(np.stack(known), relative, meters=True) == pytest.approx(query, abs=1e-6)


def test_nothing_known_is_nowhere() -> None:
    known = poses(3, 0)
    lost = np.full((3, 4, 4), np.nan)
    assert np.isnan(locate(known, lost, meters=True)[:3]).all()
    turned = np.linalg.inv(known) @ poses(1, 1)
    turned[:, :3, 3] = 0
    found = locate(known, turned, meters=False)
    assert np.isfinite(found[:3, :3]).all() and np.isnan(found[:3, 3]).all()
    assert np.isfinite(locate(known, turned, meters=True)).all()


def rows_of(meter: LocalizationMeter, moves_m: list[list[float]], lost: int = 0) -> Rows:
    """A query per number and scene, off by so many metres along x and ten times as many degrees; `lost` more fail."""
    rows, known = [], poses(4, 7)
    for scene, moves in zip(meter.scenes, moves_m, strict=True):
        for move in [*moves, *[math.nan] * lost]:
            query = poses(1, 8)[0]
            guess = query.copy()
            guess[0, 3] += move
            guess[:3, :3] @= Rotation.from_euler("x", 10 * (0 if math.isnan(move) else move), degrees=True).as_matrix()
            sample = {
                "relative": np.linalg.inv(known) @ query,
                "cam2world1": known,
                "cam2world2": query,
                "scene": scene,
            }
            rows.append(meter.measure(np.linalg.inv(known) @ guess, sample))
    return stack(rows)


def test_medians_are_within_scenes_and_means_over_scenes() -> None:
    meter = LocalizationMeter(["chess", "fire"], meters=True)
    rows = rows_of(meter, [[0.01, 0.02, 0.2, 0.3, 1.0], [0.04]])
    scores = meter.reduce(rows)
    chess, fire = meter.breakdown(rows)
    assert (chess["scene"], chess["queries"], fire["scene"], fire["queries"]) == ("chess", 5, "fire", 1)
    assert chess["translation_m"] == pytest.approx(0.2, abs=1e-6)
    assert fire["rotation_deg"] == pytest.approx(0.4, abs=1e-5)
    assert scores["translation_m"] == pytest.approx((0.2 + 0.04) / 2, abs=1e-6)
    assert scores["rotation_deg"] == pytest.approx((2 + 0.4) / 2, abs=1e-5)
    assert chess["success_5cm_5deg"] == pytest.approx(40) and scores["success_5cm_5deg"] == pytest.approx(70)
    assert scores["pair_rotation_deg"] == pytest.approx(1.2, abs=1e-5), "of 4 pairs of each of 6 queries"
    assert rows["pair_translation_m"].shape == (6, 4) and rows["scene"].tolist() == [0] * 5 + [1]
    assert sorted(scores) == sorted(metric.name for metric in meter.metrics)
    assert {metric.average for metric in LOCALIZATION} == {"scene"}


def test_success_needs_both() -> None:
    meter = LocalizationMeter(["a"], meters=True)
    rows = rows_of(meter, [[0.01, 0.01, 0.01]])
    rows["translation_m"][:] = 0.05, 0.0501, 0.01
    rows["rotation_deg"][:] = 5, 1, 5.01
    assert meter.reduce(rows)["success_5cm_5deg"] == pytest.approx(100 / 3)


def test_lost_queries_count_as_infinitely_wrong() -> None:
    meter = LocalizationMeter(["a", "b"], meters=True)
    some = meter.reduce(rows_of(meter, [[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]], lost=1))
    assert some["translation_m"] == pytest.approx(0.25, abs=1e-6) and some["failed_pairs"] == 25
    most = meter.reduce(rows_of(meter, [[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]], lost=4))
    assert most["translation_m"] == most["rotation_deg"] == math.inf
    assert most["success_5cm_5deg"] == 0 and most["rra15"] == pytest.approx(300 / 7)


def test_a_scene_that_a_resampling_lacks_leaves_its_mean() -> None:
    meter = LocalizationMeter(["a", "b"], meters=False)
    rows = rows_of(meter, [[0.1] * 9, [0.3]])
    without = {key: values[:9] for key, values in rows.items()}
    assert [line["scene"] for line in meter.breakdown(without)] == ["a"]
    assert meter.reduce(without)["translation_m"] == pytest.approx(meter.breakdown(without)[0]["translation_m"])
    assert "pair_translation_m" not in meter.reduce(rows)
    low, high = bootstrap(meter, rows, draws=50)["translation_m"] or (0, 0)
    assert low < meter.reduce(rows)["translation_m"] <= high


def test_directions_alone_locate_too() -> None:
    meter = LocalizationMeter(["a"], meters=False)
    known, query = poses(4, 7), poses(1, 8)[0]
    relative = np.linalg.inv(known) @ query
    guess = relative.copy()
    guess[:, :3, 3] /= np.linalg.norm(guess[:, :3, 3], axis=1, keepdims=True)
    row = meter.measure(guess, {"relative": relative, "cam2world1": known, "cam2world2": query, "scene": "a"})  # type: ignore[dict-item]
    assert row["translation_m"] == pytest.approx(0, abs=1e-6) and row["rotation_deg"] == pytest.approx(0, abs=1e-5)
    assert "pair_translation_m" not in row


@pytest.mark.slow
def test_a_method_that_fails_too_often_is_recorded_without_a_headline(tmp_path: Path) -> None:
    """On images of 24x32 SIFT finds next to nothing."""
    data, sizes = tmp_path / "data", ["7scenes.height=24", "7scenes.width=32"]
    make_mini(data, datasets=["7scenes"], changes=sizes, tiny=True, workers=1)
    result = run("relative-pose", "classical:sift-opencv", recipe="smoke", data_root=data, results=tmp_path)
    assert result is not None and result.metrics["failed_pairs"].value > 90
    assert "translation_m" not in result.metrics and result.metrics["success_5cm_5deg"].value < 10
    (why,) = [text for text in result.protocol.deviations if "translation_m" in text]
    assert why.endswith(" left out: too many predictions failed for a finite value")
    (slot,) = tmp_path.rglob("seed0.npz")
    rows = np.load(slot)
    assert np.isinf(rows["translation_m"]).mean() > 0.5 and not np.isnan(rows["translation_m"]).any()
