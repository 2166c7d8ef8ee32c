"""Evaluations whose answers stay on the device: the CPU stands for one."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.bench import training
from benchmarks.bench.samples import MemoryReader, raw_samples
from croco_bench import tiling
from croco_bench.contracts import Evaluation, TensorPredict
from croco_bench.engine import evaluate as evaluating
from croco_bench.engine.evaluate import Scores, evaluate
from croco_bench.errors import DivergedError

TASKS = [
    "ade20k-seg",
    "correspondence",
    "imagenet-linear",
    "nyuv2-depth",
    "relative-pose",
    "sintel-flow",
    "stereo",
    "taskonomy-normals",
]
IMAGES = 5


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: metrics are summed there, and tiles of several images go through the network together."""
    monkeypatch.setattr(evaluating, "stays_on", lambda device: True)
    monkeypatch.setattr(tiling, "_tiles_at_once", lambda tile, device: 3)


@cache
def evaluations_of(task: str) -> tuple[training.Subject, list[Evaluation]]:
    subject = training.subject_of(task, "smoke", "random:mini-croco", (), (64, 96))
    # Images of two sizes, where those of one evaluation may differ.
    samples = [raw_samples(task, test=True, size=size, count=2) for size in ((64, 96), (64, 80))]
    mixed = [sample for pair in zip(*samples, strict=True) for sample in pair]
    found = []
    for evaluation in subject.evaluations():
        alone = evaluation.batch_size == 1
        found.append(replace(evaluation, reader=MemoryReader(mixed if alone else samples[0], IMAGES)))
    return subject, found


def score(subject: training.Subject, evaluation: Evaluation) -> Scores:
    accelerator = training.start("cpu", "fp32")
    subject.predictor.prepare(accelerator)
    return evaluate(subject.predictor, evaluation, accelerator, workers=0)


def same(one: Scores, other: Scores, rtol: float) -> None:
    assert one.rows.keys() == other.rows.keys() and one.missing == other.missing
    for name, values in one.rows.items():
        np.testing.assert_allclose(other.rows[name], values, rtol=rtol, atol=1e-9, equal_nan=True, err_msg=name)
    assert other.metrics == pytest.approx(one.metrics, rel=rtol, abs=1e-9)


@pytest.mark.parametrize("task", TASKS)
def test_scores_are_those_of_the_host(task: str, request: pytest.FixtureRequest) -> None:
    subject, evaluations = evaluations_of(task)
    wanted = [score(subject, evaluation) for evaluation in evaluations]
    request.getfixturevalue("on_device")
    for evaluation, expected in zip(evaluations, wanted, strict=True):
        assert isinstance(evaluation.predict, TensorPredict)
        # Other numbers of images in a forward pass are other float32 products.
        same(expected, score(subject, evaluation), rtol=1e-3)


def test_with_equal_predictions_rows_are_equal_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, (evaluation, _, *_) = evaluations_of("nyuv2-depth")
    expected = score(subject, evaluation)
    monkeypatch.setattr(evaluating, "stays_on", lambda device: True)
    same(expected, score(subject, evaluation), rtol=1e-12)


@pytest.mark.usefixtures("on_device")
@pytest.mark.parametrize("task", ["nyuv2-depth", "relative-pose", "ade20k-seg"])
def test_an_answer_that_is_not_finite_stops_the_run_a_little_later(task: str) -> None:
    subject, (evaluation, *_) = evaluations_of(task)
    predict, seen = evaluation.predict, 0
    assert isinstance(predict, TensorPredict)

    def broken(network: Any, batch: Any) -> list[Tensor]:
        nonlocal seen
        found = [one.clone() for one in predict.tensors(network, batch)]
        for one in found:
            if seen == 3:
                one.flatten()[-1] = float("nan") if one.is_floating_point() else -1
            seen += 1
        return found

    bad = replace(evaluation, predict=TensorPredict(broken, predict.together), batch_size=1)
    with pytest.raises(DivergedError, match="image 3 of the noise split"):
        score(subject, bad)


@pytest.mark.usefixtures("on_device")
def test_batches_are_as_large_as_the_evaluation_says(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, evaluations = evaluations_of("ade20k-seg")
    sizes = []
    for evaluation in evaluations:
        predict = evaluation.predict
        assert isinstance(predict, TensorPredict)

        def counted(network: Any, batch: Any, predict: TensorPredict = predict) -> Any:
            sizes.append((len(batch["image"]), isinstance(batch["image"], list)))
            return predict.tensors(network, batch)

        score(subject, replace(evaluation, predict=TensorPredict(counted, predict.together)))
    assert sizes == [(IMAGES, True), (IMAGES, False)]


def test_what_the_device_works_on_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than two batches wait to be read."""
    monkeypatch.setattr(evaluating, "stays_on", lambda device: True)
    subject, (evaluation, *_) = evaluations_of("imagenet-linear")
    predictor = subject.predictor
    scorer = predictor.scorer(replace(evaluation, batch_size=1), torch.device("cpu"))
    missing = []
    for index in range(IMAGES):
        image = torch.rand(1, 3, *subject.image_size)
        with torch.inference_mode():
            scorer.add({"image": image, "label": [1], "index": [index]})
        missing.append(index + 1 - len(scorer.rows))
    assert missing == [1, 2, 2, 2, 2]
    scorer.finish()
    assert [row["index"] for row in scorer.rows] == list(range(IMAGES))
