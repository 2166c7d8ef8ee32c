"""Logistic regression against scikit-learn's, which is run until nothing moves any more."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from croco_bench.config.recipe import Probe
from croco_bench.probing import linear_probe
from croco_bench.probing.feature_cache import CachedFeatures
from croco_bench.probing.linear_probe import Classifier, moments, standardized
from croco_bench.probing.logistic import LogisticFit, fit_logistic

CPU = torch.device("cpu")


def digits(classes: int) -> tuple[Any, Any]:
    vectors, labels = load_digits(return_X_y=True)
    kept = labels < classes
    return vectors[kept].astype(np.float16), labels[kept]


def standardized_by_hand(vectors: Any) -> Any:
    vectors = vectors.astype(np.float64)
    return (vectors - vectors.mean(axis=0)) / np.sqrt(vectors.var(axis=0) + 1e-6)


def fitted(vectors: Any, labels: Any, cost: float, **limits: int) -> LogisticFit:
    mean, variance = moments(vectors, CPU)
    classes = len(set(labels))
    start = np.zeros((classes, vectors.shape[1])), np.zeros(classes)
    standardize = partial(standardized, mean=mean, variance=variance)
    return fit_logistic(vectors, torch.from_numpy(labels), standardize, cost, start, **limits)


def cross_entropy(scores: Any, labels: Any) -> float:
    scores = scores - scores.max(axis=1, keepdims=True)
    return float((np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(labels)), labels]).mean())


@pytest.mark.parametrize("cost", [1e-3, 0.1, 10.0])
def test_ten_classes_are_at_scikit_learns_minimum(cost: float) -> None:
    vectors, labels = digits(10)
    data, fit = standardized_by_hand(vectors), fitted(vectors, labels, cost)
    best = LogisticRegression(C=cost, tol=1e-8, max_iter=10_000).fit(data, labels)
    objectives = [
        cross_entropy(data @ weights.T + bias, labels) + (weights**2).sum() / (2 * cost * len(labels))
        for weights, bias in ((fit.weights, fit.bias), (best.coef_, best.intercept_))
    ]
    assert objectives[0] == pytest.approx(objectives[1], abs=1e-6)
    assert fit.objective == pytest.approx(objectives[0], abs=1e-6) and fit.converged


@pytest.mark.parametrize("cost", [1e-3, 0.1, 10.0])
def test_cost_means_the_same_for_two_classes(cost: float) -> None:
    """scikit-learn has one row of weights there, the difference of the two rows here."""
    vectors, labels = digits(2)
    data, fit = standardized_by_hand(vectors), fitted(vectors, labels, cost)
    best = LogisticRegression(C=cost, tol=1e-8, max_iter=10_000).fit(data, labels)
    assert fit.weights[1] - fit.weights[0] == pytest.approx(best.coef_[0], abs=2e-3)
    assert fit.bias[1] - fit.bias[0] == pytest.approx(best.intercept_[0], abs=1e-2)


def test_a_fit_that_was_stopped_says_so() -> None:
    vectors, labels = digits(10)
    assert not fitted(vectors, labels, 10.0, max_iterations=5).converged


@pytest.mark.parametrize("limit", [3, 5000])
def test_the_probe_notes_costs_that_did_not_converge(limit: int, capsys: pytest.CaptureFixture[str]) -> None:
    vectors, labels = digits(3)
    part = CachedFeatures({"mean": vectors}, labels, 0.0)
    mean, variance = moments(vectors, CPU)
    start = Classifier("mean", mean, variance, torch.zeros(3, 64), torch.zeros(3))
    features = linear_probe._Features(part, part, part, CPU)
    _, choice = linear_probe._logistic(Probe(rates=(1.0,), costs=(1.0, 10.0)), start, features, limit)
    notes = linear_probe._not_converged(choice)
    assert [("at cost 1, 10" in note) for note in notes] == ([True] if limit == 3 else [])
    assert ("stopped before its minimum" in capsys.readouterr().err) is (limit == 3)
