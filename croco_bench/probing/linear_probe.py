"""Linear probes on cached features: a grid of rates and poolings, then logistic regression and nearest neighbours."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from croco_bench.config.recipe import Probe
from croco_bench.contracts import Evaluation, PooledHead
from croco_bench.engine.dataloading import upload
from croco_bench.engine.evaluate import EvalResult, Scores
from croco_bench.engine.train import FineTuneJob, TrainResult
from croco_bench.engine.training_log import RunLog
from croco_bench.errors import DivergedError
from croco_bench.metrics.meter import stack
from croco_bench.probing.feature_cache import CachedFeatures, FeatureCache
from croco_bench.probing.knn import knn_scores
from croco_bench.probing.logistic import MAX_ITERATIONS, fit_logistic
from croco_bench.progress import Bar, log
from croco_bench.seeding import derive, make_rng
from croco_bench.types import Array

# Rows of features that are read at once where all are needed.
_CHUNK = 8192
_CITATIONS = {
    "logistic": "logistic regression by L-BFGS on the same vectors; its cost is chosen on the selection split",
    "knn": "weighted k nearest neighbours by cosine on the same vectors, as DINO; k is chosen on the selection split",
}


@dataclass(frozen=True)
class Classifier:
    """A linear classifier of standardised features: x (B, C) -> ((x - mean) / deviation) weight^T + bias."""

    pooling: str
    mean: Tensor
    variance: Tensor
    weight: Tensor
    bias: Tensor

    def __call__(self, vectors: Tensor) -> Tensor:
        """(B, C) -> (B, classes)."""
        return standardized(vectors, self.mean, self.variance) @ self.weight.T + self.bias


@dataclass(frozen=True)
class _Features:
    """Cached features of all three splits."""

    train: CachedFeatures
    select: CachedFeatures
    test: CachedFeatures
    device: torch.device


def standardized(vectors: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """What a BatchNorm without scale computes in eval mode."""
    return (vectors - mean) / (variance + 1e-6).sqrt()


def probe(job: FineTuneJob, cache: FeatureCache, test: Evaluation, accelerator: Accelerator) -> TrainResult:
    """Extracts features of all three splits, fits classifiers, chooses on the selection split, scores the test split.

    The head takes over the best classifier of the grid; `TrainResult.others` are logistic regression and nearest
    neighbours. Every process fits the same grid; the choice of the first one counts.

    Raises:
        DivergedError: no rate gave a classifier of finite weights.
    """
    settings, began = job.recipe.probe, time.monotonic()
    assert settings is not None
    features = _extract(job, cache, test, accelerator)
    classifier, grid_choice = _choose(job, settings, features, accelerator)
    logistic, logistic_choice = _logistic(settings, classifier, features)
    knn, knn_choice = _neighbors(settings, classifier, features)
    return TrainResult(
        plan=job.plan,
        step=job.plan.steps,
        metric=job.task.selection_metric,
        value=grid_choice["select_top1"],
        weights={name: tensor.detach().cpu().clone() for name, tensor in job.network.state_dict().items()},
        seconds=time.monotonic() - began,
        images_per_s=len(features.train) / features.train.seconds if features.train.seconds else 0.0,
        chosen={"grid": grid_choice, "logistic": logistic_choice, "knn": knn_choice},
        others=(
            _result("logistic", test, features.test, logistic),
            _result("knn", test, features.test, knn),
        ),
        notes=(
            *at_the_edge("rate of the linear probe", grid_choice["rate"], settings.rates),
            *_not_converged(logistic_choice),
            *at_the_edge("cost of logistic regression", logistic_choice["cost"], settings.costs),
            *at_the_edge("k of nearest neighbours", knn_choice["k"], _possible_ks(settings, features)),
        ),
    )


def at_the_edge(what: str, chosen: float, tried: Sequence[float]) -> list[str]:
    """A note where the best value is the smallest or the largest of those tried, so that a better one may lie beyond."""
    if len(set(tried)) < 2 or chosen not in (min(tried), max(tried)):
        return []
    which = "smallest" if chosen == min(tried) else "largest"
    return [f"the chosen {what}, {chosen:g}, is the {which} of those tried: a better one may lie beyond"]


def _extract(job: FineTuneJob, cache: FeatureCache, test: Evaluation, accelerator: Accelerator) -> _Features:
    """Features of all splits, without augmentation."""
    select = job.task.selection(job.splits.select)
    evaluations = (replace(select, reader=job.splits.train), select, test)
    images = sum(len(evaluation.reader) for evaluation in evaluations)
    with Bar("extract", images, shown=accelerator.is_main_process) as bar:
        counting = replace(cache, advance=bar.advance)
        train, selecting, tested = (counting.extract_or_load(evaluation) for evaluation in evaluations)
    return _Features(train, selecting, tested, accelerator.device)


def _choose(
    job: FineTuneJob, settings: Probe, features: _Features, accelerator: Accelerator
) -> tuple[Classifier, dict[str, Any]]:
    """Fits the grid, gives the best classifier to the head, and returns it with its settings."""
    head, device = job.network.head, accelerator.device
    assert isinstance(head, PooledHead)
    grid = train_grid(job, features.train, head.linear.out_features, device)
    accuracies = [
        top1(apply(one, features.select.vectors[one.pooling], device), features.select.labels) for one, _ in grid
    ]
    (index,) = broadcast_object_list([int(np.argmax(accuracies))])  # of equals the first
    best, rate = grid[index]
    if not (best.weight.isfinite().all() and best.bias.isfinite().all()):  # then none of them is
        raise DivergedError(
            f"no classifier stayed finite with the rates {', '.join(f'{one:g}' for one in settings.rates)}",
            "give lower ones with --set probe.rates=[…]",
        )
    if accelerator.is_main_process:
        _log(job, grid, accuracies)
    head.load_probe(best.pooling, best.mean, best.variance, best.weight, best.bias)
    return best, {"rate": rate, "pooling": best.pooling, "select_top1": accuracies[index]}


def train_grid(
    job: FineTuneJob, features: CachedFeatures, classes: int, device: torch.device
) -> list[tuple[Classifier, float]]:
    """A classifier for each pooling and rate, with its rate: SGD with momentum, cosine to 0, no weight decay.

    Features are standardised with mean and variance of the whole training split. The classifiers of a pooling are
    independent, but one matrix product serves all of them.
    """
    settings = job.recipe.probe
    assert settings is not None
    grid = []
    for how, vectors in features.vectors.items():
        mean, variance = moments(vectors, device)
        weights, biases = _sgd(job, settings, how, features, mean, variance, classes)
        grid += [
            (Classifier(how, mean, variance, weight.T.contiguous(), bias[0]), rate)
            for weight, bias, rate in zip(weights, biases, settings.rates, strict=True)
        ]
    return grid


def _sgd(
    job: FineTuneJob,
    settings: Probe,
    how: str,
    features: CachedFeatures,
    mean: Tensor,
    variance: Tensor,
    classes: int,
) -> tuple[Tensor, Tensor]:
    """Weights (R, C, classes) and biases (R, 1, classes) of all R rates of one pooling."""
    vectors, batch_size, plan, device = features.vectors[how], job.recipe.train.batch_size, job.plan, mean.device
    rates = torch.tensor(settings.rates, device=device) * batch_size / 256
    labels = torch.from_numpy(features.labels).to(device)
    generator = torch.Generator().manual_seed(derive(job.seed, "probe", how))
    start = torch.randn(vectors.shape[1], classes, generator=generator).mul_(0.01).to(device)
    weight, bias = start.expand(len(rates), -1, -1).clone(), torch.zeros(len(rates), 1, classes, device=device)
    momenta = [torch.zeros_like(weight), torch.zeros_like(bias)]
    order: Array = np.empty(0, dtype=np.int64)
    for step in range(plan.steps):
        epoch, position = divmod(step, plan.steps_per_epoch)
        if position == 0:
            order = make_rng(job.seed, "order", epoch).permutation(len(features))
        rows = np.sort(order[position * batch_size :][:batch_size])
        batch = standardized(upload(vectors[rows], device).float(), mean, variance)
        # Gradient of the mean cross-entropy.
        gradient = torch.baddbmm(bias, batch.expand(len(rates), -1, -1), weight).softmax(dim=-1)
        gradient[:, torch.arange(len(rows), device=device), labels[upload(rows, device)]] -= 1
        gradient /= len(rows)
        slopes = (batch.T.expand(len(rates), -1, -1) @ gradient, gradient.sum(dim=1, keepdim=True))
        size = rates * 0.5 * (1 + np.cos(np.pi * step / plan.steps))
        for parameter, momentum, slope in zip((weight, bias), momenta, slopes, strict=True):
            momentum.mul_(settings.momentum).add_(slope)
            parameter.sub_(size[:, None, None] * momentum)
    return weight, bias


def moments(vectors: Array, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and variance (C,) over all rows, summed in float64."""
    total, squares = np.zeros(vectors.shape[1]), np.zeros(vectors.shape[1])
    for first in range(0, len(vectors), _CHUNK):
        part = vectors[first : first + _CHUNK].astype(np.float64)
        total += part.sum(axis=0)
        squares += (part**2).sum(axis=0)
    mean = total / len(vectors)
    variance = np.maximum(squares / len(vectors) - mean**2, 0)
    return torch.from_numpy(mean).float().to(device), torch.from_numpy(variance).float().to(device)


def apply(classifier: Callable[[Tensor], Tensor], vectors: Array, device: torch.device) -> Array:
    """Scores (N, classes) of cached features, chunk by chunk."""
    parts = []
    for first in range(0, len(vectors), _CHUNK):
        part = torch.from_numpy(np.array(vectors[first : first + _CHUNK])).to(device).float()
        parts.append(classifier(part).float().cpu().numpy())
    return np.concatenate(parts)


def top1(scores: Array, labels: Array) -> float:
    """Accuracy in percent; scores that aren't finite are wrong."""
    return 100.0 * float(((scores.argmax(axis=1) == labels) & np.isfinite(scores).all(axis=1)).mean())


def _log(job: FineTuneJob, grid: list[tuple[Classifier, float]], accuracies: list[float]) -> None:
    """One line per classifier: its rate, and its accuracy on the selection split under its pooling's name."""
    run_log = RunLog(job.folder, start=0, tracker=job.recipe.train.tracker, settings=job.recipe.model_dump(mode="json"))
    for i, ((classifier, rate), accuracy) in enumerate(zip(grid, accuracies, strict=True)):
        run_log.add(i, lr=rate, **{f"select/top1_{classifier.pooling}": accuracy})
    run_log.close()


def _logistic(
    settings: Probe, start: Classifier, features: _Features, max_iterations: int = MAX_ITERATIONS
) -> tuple[Array, dict[str, Any]]:
    """Test scores of the best cost and its settings. Each fit starts from the previous one, from small costs to large."""
    how, device = start.pooling, features.device
    vectors, labels = features.train.vectors[how], torch.from_numpy(features.train.labels).to(device)
    standardize = partial(standardized, mean=start.mean, variance=start.variance)
    weights, bias = np.zeros(start.weight.shape), np.zeros(start.bias.shape)
    best: tuple[float, float, Classifier] | None = None
    unfinished = []
    for cost in sorted(settings.costs):
        fit = fit_logistic(vectors, labels, standardize, cost, (weights, bias), max_iterations)
        weights, bias = fit.weights, fit.bias
        unfinished += [] if fit.converged else [cost]
        parts = (torch.from_numpy(part).to(device, torch.float32) for part in (weights, bias))
        classifier = Classifier(how, start.mean, start.variance, *parts)
        accuracy = top1(apply(classifier, features.select.vectors[how], device), features.select.labels)
        if best is None or accuracy > best[0]:
            best = accuracy, cost, classifier
    assert best is not None
    scores = apply(best[2], features.test.vectors[how], device)
    return scores, {"cost": best[1], "pooling": how, "select_top1": best[0], "unfinished": unfinished}


def _not_converged(choice: Mapping[str, Any]) -> list[str]:
    """A note, logged as well, where logistic regression stopped before its minimum."""
    if not choice["unfinished"]:
        return []
    costs = ", ".join(f"{cost:g}" for cost in choice["unfinished"])
    note = f"logistic regression stopped before its minimum at cost {costs}: its numbers depend on where it stopped"
    log(f"note: {note}")
    return [note]


def _neighbors(settings: Probe, best: Classifier, features: _Features) -> tuple[Array, dict[str, Any]]:
    """Test scores of the best k and its settings."""
    how, train, ks = best.pooling, features.train, _possible_ks(settings, features)

    def scores_of(queries: Array, ks: list[int]) -> list[Array]:
        bank = train.vectors[how]
        return knn_scores(bank, train.labels, len(best.bias), queries, ks, settings.temperature, features.device)

    accuracies = [top1(scores, features.select.labels) for scores in scores_of(features.select.vectors[how], ks)]
    index = int(np.argmax(accuracies))
    (scores,) = scores_of(features.test.vectors[how], [ks[index]])
    return scores, {"k": ks[index], "pooling": how, "select_top1": accuracies[index]}


def _possible_ks(settings: Probe, features: _Features) -> list[int]:
    """The numbers of neighbours to try, ascending: no more than there are training images."""
    return sorted({min(k, len(features.train)) for k in settings.neighbours})


def _result(name: str, test: Evaluation, features: CachedFeatures, scores: Array) -> EvalResult:
    """Scores (N, classes) of the test split, measured as the protocol `name`."""
    began = time.monotonic()
    rows = stack(
        [
            {**test.meter.measure(one, {"label": label}), "index": float(index)}
            for index, (one, label) in enumerate(zip(scores, features.labels, strict=True))
        ]
    )
    evaluation = replace(test, prefix=name, citation=_CITATIONS[name], deviations=())
    return EvalResult("selected", evaluation, Scores(rows, test.meter.reduce(rows), time.monotonic() - began))
