"""The evaluation loop by itself, with a reader and a network made for it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from croco_bench.contracts import ClassicalMethod, Evaluation
from croco_bench.engine import devices
from croco_bench.engine.evaluate import ClassicalPredictor, EvalResult, NetworkPredictor, Predictor, evaluate
from croco_bench.errors import BenchError, DataError, DivergedError
from croco_bench.metrics import Metric
from croco_bench.metrics.definitions import DELTA1
from croco_bench.metrics.meter import Meter, bootstrap, stack
from croco_bench.records.schema import MetricValue
from croco_bench.runs.report import require_headline
from croco_bench.types import Array

VALUE = Metric("value", "value", "", "lower", "image", 3, "|p - t|")


class ErrorMeter(Meter):
    metrics: ClassVar[tuple[Metric, ...]] = (VALUE,)

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        return {"value": abs(float(prediction) - float(sample["target"]))}


MEDIAN = Metric("median", "median", "", "lower", "image", 3, "median |p - t|")
FAR = Metric("far", "far", "", "lower", "image", 3, "mean |p - t|, t > 4")


class FailureMeter(ErrorMeter):
    """What isn't finite is infinitely wrong."""

    metrics: ClassVar[tuple[Metric, ...]] = (MEDIAN, FAR)
    scores_failures = True

    def measure(self, prediction: Array, sample: Mapping[str, Array]) -> dict[str, float | Array]:
        error = abs(float(prediction) - float(sample["target"]))
        return {"error": error if np.isfinite(prediction) else np.inf, "target": float(sample["target"])}

    def reduce(self, rows: Mapping[str, Array]) -> dict[str, float]:
        far = rows["error"][rows["target"] > 4]
        return {"median": float(np.median(rows["error"])), "far": float(far.mean()) if far.size else float("nan")}


class Numbers:
    """Item i is an image of all i; targets are NaN for the items in `void`."""

    dataset, split, miniature = "numbers", "test", False

    def __init__(self, count: int, void: tuple[int, ...] = ()) -> None:
        self.count, self.void, self.available = count, void, count
        self.groups: Sequence[str] = [str(index) for index in range(count)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        target = np.nan if index in self.void else index + 1.0 + index % 3
        return {"image": torch.full((3, 2, 2), float(index)), "target": target}

    def fingerprint(self) -> str:
        return "numbers"


class PlusOne(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(1, 2, 3)) + 1


def scores(
    reader: Numbers,
    *,
    batch: int = 4,
    workers: int = 0,
    add: float = 0.0,
    meter: Meter | None = None,
    failing: tuple[int, ...] = (),
    classical: bool = False,
) -> Any:
    """`failing` are the items for which the prediction is NaN; `classical`: a classical method predicts, not a network."""

    def predict(items: dict[str, Any]) -> list[Array]:
        found = PlusOne()(items["image"]) + add
        return [np.where(index in failing, np.nan, one) for one, index in zip(found, items["index"], strict=True)]

    evaluation = Evaluation(
        prefix="",
        reader=reader,
        meter=meter or ErrorMeter(),
        prepare=dict,
        predict=lambda _, items: predict(items),
        batch_size=batch,
        citation="",
    )
    network: Any = PlusOne()
    predictor: Predictor = ClassicalPredictor(ClassicalMethod(predict)) if classical else NetworkPredictor(network)
    return evaluate(predictor, evaluation, devices.start("cpu", "fp32", 0), workers=workers)


def test_the_mean_is_over_images_whatever_the_batch() -> None:
    """Errors are 0, 1, 2, 0, 1, 2, 0: the mean of batch means of 4 and 3 would be 0.875."""
    for batch in (1, 2, 4, 7, 100):
        found = scores(Numbers(7), batch=batch)
        assert found.metrics == {"value": pytest.approx(6 / 7, rel=1e-12)}
        assert found.rows["index"].tolist() == list(range(7))
        assert found.images == 7


def test_images_without_a_target_leave_the_mean_but_not_the_rows() -> None:
    found = scores(Numbers(7, void=(2,)))
    assert found.metrics["value"] == pytest.approx(4 / 6)
    assert np.isnan(found.rows["value"]).sum() == 1
    with pytest.raises(DataError, match="none of the 3 images"):
        scores(Numbers(3, void=(0, 1, 2)))


def test_a_prediction_that_is_not_finite_stops_the_run() -> None:
    with pytest.raises(DivergedError, match="image 0 of the test split"):
        scores(Numbers(3), add=float("nan"))


def test_bootstrap_intervals_cover_and_repeat() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    rows = stack([{"value": float(value)} for value in values])
    low, high = bootstrap(ErrorMeter(), rows, seed=1)["value"] or (0, 0)
    # The standard error of the mean is 0.1: the interval is about 5 +- 0.2.
    assert low < values.mean() < high
    assert high - low == pytest.approx(4 * 0.1, rel=0.15)
    assert bootstrap(ErrorMeter(), rows, seed=1)["value"] == (low, high)
    assert bootstrap(ErrorMeter(), rows, seed=2)["value"] != (low, high)


def test_only_classical_methods_may_fail_and_only_where_failures_are_scored() -> None:
    """Errors are 0, failed, 2, 0, 1, 2, 0."""
    found = scores(Numbers(7), meter=FailureMeter(), failing=(1,), classical=True)
    assert found.metrics == {"median": 1.0, "far": pytest.approx(5 / 4)} and not found.missing
    assert np.isinf(found.rows["error"]).tolist() == [False, True, *[False] * 5]
    with pytest.raises(DivergedError, match="image 1 of the test split"):
        scores(Numbers(7), meter=FailureMeter(), failing=(1,))
    with pytest.raises(DivergedError, match="image 1 of the test split"):
        scores(Numbers(7), failing=(1,), classical=True)


def test_a_metric_without_a_value_is_left_out_and_explained() -> None:
    few = scores(Numbers(2), meter=FailureMeter())
    assert few.metrics == {"median": pytest.approx(0.5)}
    assert few.missing == {"far": "no image of the test split has what it needs"}
    assert few.value_of("median") == pytest.approx(0.5)
    with pytest.raises(
        DataError, match="far, which selects the weights, can't be computed: no image of the test split"
    ):
        few.value_of("far")
    failing = scores(Numbers(7), meter=FailureMeter(), failing=(0, 1, 3, 6), classical=True)
    assert failing.metrics == {}
    assert set(failing.missing.values()) == {"too many predictions failed for a finite value"}


def test_a_result_needs_its_headline() -> None:
    found = scores(Numbers(7), meter=FailureMeter(), failing=(0, 1, 3, 6), classical=True)
    renamed = replace(found, missing={"delta1": found.missing["median"]})
    depth, value = (DELTA1,), MetricValue(value=1, ci95=None, unit="", higher_is_better=True)
    require_headline("nyuv2-depth", depth, {"delta1": value, "rmse": value}, [])
    evaluation = Evaluation("", Numbers(7), FailureMeter(), dict, lambda network, items: [], 1, "")
    with pytest.raises(BenchError, match="nyuv2-depth has no delta1: too many predictions failed"):
        require_headline("nyuv2-depth", depth, {"rmse": value}, [EvalResult("selected", evaluation, renamed)])
    with pytest.raises(BenchError, match="has no delta1: no evaluation of the task gives it"):
        require_headline("nyuv2-depth", depth, {"last/delta1": value}, [])
