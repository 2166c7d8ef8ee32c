"""Metrics of segmentation, compared with a confusion matrix made pixel by pixel."""

import time

import numpy as np
import pytest

from croco_bench.metrics.meter import bootstrap, stack
from croco_bench.metrics.segmentation import IGNORED, SegmentationMeter
from croco_bench.types import Array

NAMES = [metric.name for metric in SegmentationMeter.metrics]


def draw(rng: np.random.Generator, classes: int, shape: tuple[int, int]) -> tuple[Array, Array]:
    """A label map with holes, and a prediction that is right in about half of the pixels."""
    label = rng.integers(0, classes, shape)
    guess = np.where(rng.random(shape) < 0.5, label, rng.integers(0, classes, shape))
    label[rng.random(shape) < 0.2] = IGNORED
    return guess.astype(np.int64), label.astype(np.uint8)


def meter_of(classes: int) -> SegmentationMeter:
    return SegmentationMeter([f"class {number}" for number in range(classes)])


def by_confusion(pairs: list[tuple[Array, Array]], classes: int) -> dict[str, float]:
    """Pixel by pixel into one confusion matrix, then set arithmetic on it."""
    matrix = np.zeros((classes, classes), dtype=object)
    for guess, label in pairs:
        for place in np.ndindex(label.shape):
            if label[place] != 255:
                matrix[label[place], guess[place]] += 1
    ious, accuracies = [], []
    for one in range(classes):
        hit, labeled, guessed = matrix[one, one], sum(matrix[one, :]), sum(matrix[:, one])
        if labeled + guessed > 0:
            ious.append(hit / (labeled + guessed - hit))
        if labeled > 0:
            accuracies.append(hit / labeled)
    return {
        "miou": 100 * sum(ious) / len(ious),
        "macc": 100 * sum(accuracies) / len(accuracies),
        "aacc": 100 * sum(matrix[one, one] for one in range(classes)) / matrix.sum(),
        "classes": len(ious),
    }


@pytest.mark.parametrize("classes", [3, 12, 150])
def test_equals_a_confusion_matrix_made_pixel_by_pixel(classes: int) -> None:
    rng, meter = np.random.default_rng(classes), meter_of(classes)
    pairs = [draw(rng, classes, (int(rng.integers(5, 20)), 17)) for _ in range(6)]
    rows = [meter.measure(guess, {"label": label}) for guess, label in pairs]
    assert meter.reduce(stack(rows)) == pytest.approx(by_confusion(pairs, classes), rel=1e-12)
    for row, pair in zip(rows, pairs, strict=True):  # a row alone is the metric of its image
        assert {name: row[name] for name in NAMES} == pytest.approx(by_confusion([pair], classes), rel=1e-12)


def test_by_hand() -> None:
    """Truth 0 0 1 1 -, guess 0 1 1 2 0. IoU: 1/2, 1/3, 0/1; accuracy: 1/2, 1/2; class 3 is nowhere."""
    meter = meter_of(4)
    rows = stack([meter.measure(np.array([[0, 1, 1, 2, 0]]), {"label": np.array([[0, 0, 1, 1, 255]], np.uint8)})])
    assert rows["intersection"].tolist() == [[1, 1, 0, 0]]
    assert rows["union"].tolist() == [[2, 3, 1, 0]]
    assert rows["truth"].tolist() == [[2, 2, 0, 0]]
    lines = meter.breakdown(rows)
    assert [line["class"] for line in lines] == ["class 0", "class 1", "class 2", "class 3"]
    for column, values in {
        "iou": [50, 100 / 3, 0, np.nan],
        "accuracy": [50, 50, np.nan, np.nan],
        "labelled": [50.0, 50, 0, 0],
    }.items():
        np.testing.assert_allclose([float(line[column]) for line in lines], values)
    expected = {"miou": 100 * (1 / 2 + 1 / 3) / 3, "macc": 50.0, "aacc": 50.0, "classes": 3}
    assert meter.reduce(rows) == pytest.approx(expected)


def test_areas_are_summed_before_they_are_divided() -> None:
    """Class 0 fills one image and is a pixel of the other: the mean of the two images' numbers would be 50."""
    meter, large = meter_of(2), np.zeros((10, 10), np.uint8)
    small = np.full((10, 10), 255, np.uint8)
    small[0, 0] = 0
    rows = stack([meter.measure(large, {"label": large}), meter.measure(large + 1, {"label": small})])
    assert rows["aacc"].tolist() == [100, 0]
    assert meter.reduce(rows) == pytest.approx(
        {"miou": 100 * 100 / 101 / 2, "macc": 9900 / 101 + 100 / 101, "aacc": 10000 / 101, "classes": 2}
    )


def test_an_image_without_labels_changes_nothing() -> None:
    meter, rng = meter_of(5), np.random.default_rng(0)
    guess, label = draw(rng, 5, (8, 8))
    empty = meter.measure(guess, {"label": np.full((8, 8), 255, np.uint8)})
    assert all(np.isnan(empty[name]) for name in ("miou", "macc", "aacc")) and empty["classes"] == 0
    one = meter.measure(guess, {"label": label})
    assert meter.reduce(stack([one, empty])) == meter.reduce(stack([one]))
    assert np.isnan(meter.reduce(stack([empty]))["miou"])


def test_a_perfect_prediction_and_one_that_knows_no_class() -> None:
    label = np.arange(12, dtype=np.uint8).reshape(3, 4)
    meter = meter_of(12)
    assert meter.measure(label, {"label": label})["miou"] == 100
    beyond = meter.measure(label.astype(np.int64) + 12, {"label": label})
    assert (beyond["miou"], beyond["aacc"], beyond["classes"]) == (0, 0, 12)


def test_the_number_of_pixels_is_no_problem() -> None:
    """Areas of a whole validation set exceed what float32 counts."""
    row = {"intersection": np.array([2.0**24 + 1]), "union": np.array([2.0**25]), "truth": np.array([2.0**25])}
    rows = {key: np.stack([value] * 3) for key, value in row.items()}
    assert meter_of(1).reduce(rows)["miou"] == 100 * (2.0**24 + 1) / 2.0**25


def test_intervals_hold_the_value_and_take_seconds_at_most() -> None:
    """A tenth of the draws for a fifth of ADE20K's validation images, all 150 classes."""
    rng, meter = np.random.default_rng(1), meter_of(150)
    rows = stack(
        [meter.measure(guess, {"label": label}) for guess, label in (draw(rng, 150, (30, 30)) for _ in range(400))]
    )
    began = time.process_time()
    intervals = bootstrap(meter, rows, draws=100)
    assert time.process_time() - began < 1.5
    for name, value in meter.reduce(rows).items():
        interval = intervals[name]
        assert interval is not None and interval[0] <= value <= interval[1]
        assert name != "miou" or 0 < interval[1] - interval[0] < 5
