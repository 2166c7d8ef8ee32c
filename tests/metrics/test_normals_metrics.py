"""Angles of normals, compared with all angles of the set at once, as DSINE's evaluation takes them."""

import numpy as np
import pytest

from croco_bench.metrics.dense import NormalsMeter, angles_deg
from croco_bench.metrics.meter import stack
from croco_bench.types import Array, Sample

NAMES = [metric.name for metric in NormalsMeter.metrics]


def unit(vectors: Array) -> Array:
    normed: Array = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return normed


def drawn(seed: int, noise: float) -> tuple[Array, Sample]:
    """A prediction of any length around a truth, of which some pixels are valid; the others are NaN."""
    rng = np.random.default_rng(seed)
    truth = unit(rng.normal(size=(30, 40, 3)))
    valid = rng.random((30, 40)) < 0.1 + 0.2 * seed
    prediction = (truth + noise * rng.normal(size=truth.shape)) * rng.uniform(0.5, 3, (30, 40, 1))
    return np.where(valid[:, :, None], prediction, np.nan), {"normals": truth, "valid": valid}


def test_all_pixels_of_the_set_count_alike() -> None:
    pairs = [drawn(seed, 0.2 * (seed + 1)) for seed in range(4)]
    scores = NormalsMeter().reduce(stack([NormalsMeter().measure(*pair) for pair in pairs]))
    errors = []
    for prediction, sample in pairs:
        for place in zip(*np.nonzero(sample["valid"]), strict=True):
            cosine = unit(prediction[place]) @ sample["normals"][place]
            errors.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    everything = np.array(errors)
    assert scores["mean_deg"] == pytest.approx(everything.mean())
    assert scores["rmse_deg"] == pytest.approx(np.sqrt((everything**2).mean()))
    assert scores["median_deg"] == pytest.approx(np.median(everything), abs=0.125)
    for degrees in (5, 7.5, 11.25, 22.5, 30):
        assert scores[f"within{degrees:g}"] == pytest.approx(100 * (everything < degrees).mean())
    assert list(scores) == NAMES


@pytest.mark.parametrize(("degrees", "within"), [(11.26, 0), (11.2499, 100), (180, 0), (0, 100)])
def test_a_share_is_of_angles_below_its_threshold(degrees: float, within: float) -> None:
    angle = np.radians(degrees)
    prediction = np.array([[[np.sin(angle), 0, np.cos(angle)]]])
    sample = {"normals": np.array([[[0.0, 0, 1]]]), "valid": np.array([[True]])}
    row = NormalsMeter().measure(prediction, sample)
    assert row["mean_deg"] == pytest.approx(degrees, abs=1e-6)
    assert row["within11.25"] == within
    assert row["median_deg"] == pytest.approx(degrees, abs=0.125)


def test_one_image_without_a_valid_pixel_changes_nothing() -> None:
    meter, pair = NormalsMeter(), drawn(1, 0.3)
    none = {**pair[1], "valid": np.zeros_like(pair[1]["valid"])}
    alone = meter.measure(pair[0], none)
    assert all(np.isnan(alone[name]) for name in NAMES)
    assert meter.reduce(stack([meter.measure(*pair), alone])) == meter.reduce(stack([meter.measure(*pair)]))
    assert all(np.isnan(value) for value in meter.reduce(stack([alone])).values())


def test_vectors_without_length_are_at_right_angles() -> None:
    assert angles_deg(np.zeros((1, 3)), np.array([[0.0, 0, 1]])).tolist() == [90]
