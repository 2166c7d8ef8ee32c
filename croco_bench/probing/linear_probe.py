"""Linear probes on kept vectors: a grid of rates and poolings at once, logistic regression and nearest neighbours beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from croco_bench.config.recipe import Probe
from croco_bench.contracts import Evaluation, PooledHead
from croco_bench.engine.evaluate import EvalResult, Scores
from croco_bench.engine.train import Job, TrainResult
from croco_bench.engine.training_log import RunLog
from croco_bench.errors import DivergedError
from croco_bench.metrics.meter import stack
from croco_bench.probing.feature_cache import CachedFeatures, FeatureCache
from croco_bench.probing.knn import neighbor_scores
from croco_bench.progress import Bar
from croco_bench.seeding import derive, make_rng
from croco_bench.types import Array

# Rows of vectors that are taken from disk at once where all are needed.
_CHUNK = 8192


@dataclass(frozen=True)
class Classifier:
    """Scores of normed vectors: x (B, C) -> ((x - mean) / deviation) weight^T + bias."""

    pooling: str
    mean: Tensor
    variance: Tensor
    weight: Tensor
    bias: Tensor

    def __call__(self, vectors: Tensor) -> Tensor:
        """(B, C) -> (B, classes)."""
        return normed(vectors, self.mean, self.variance) @ self.weight.T + self.bias


def normed(vectors: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """As a BatchNorm without scale sees them after training."""
    return (vectors - mean) / (variance + 1e-6).sqrt()


def probe(job: Job, cache: FeatureCache, test: Evaluation, accelerator: Accelerator) -> TrainResult:
    """Extracts vectors of all three parts, trains on them, chooses on the selection part; the test part is only scored.

    Every process trains the same grid; the first one's choice counts.

    Raises:
        DivergedError: no rate gave a classifier of finite weights.
    """
    settings, began = job.recipe.probe, time.monotonic()
    assert settings is not None
    images = sum(len(reader) for reader in (job.splits.train, job.splits.select, test.reader))
    select = job.task.selection(job.splits.select)
    with Bar("extract", images, shown=accelerator.is_main_process) as bar:
        counted = replace(cache, advance=bar.advance)
        parts = [counted.extract_or_load(one) for one in (replace(select, reader=job.splits.train), select, test)]
    trained, chosen_by, tested = parts
    head = job.network.head
    assert isinstance(head, PooledHead)
    grid = train_grid(job, trained, head.linear.out_features, accelerator.device)
    accuracies = [
        top1(apply(one, chosen_by.vectors[one.pooling], accelerator.device), chosen_by.labels) for one, _ in grid
    ]
    (index,) = broadcast_object_list([int(np.argmax(accuracies))])  # of equals the first
    (classifier, rate), accuracy = grid[index], accuracies[index]
    if not (classifier.weight.isfinite().all() and classifier.bias.isfinite().all()):  # then none of them is
        raise DivergedError(
            f"no classifier stayed finite with the rates {', '.join(f'{one:g}' for one in settings.rates)}",
            "give lower ones with --set probe.rates=[…]",
        )
    if accelerator.is_main_process:
        _log(job, grid, accuracies)
    head.load_probe(classifier.pooling, classifier.mean, classifier.variance, classifier.weight, classifier.bias)
    chosen: dict[str, Any] = {"grid": {"rate": rate, "pooling": classifier.pooling, "select_top1": accuracy}}
    others = []
    for name, (scores, facts) in {
        "logistic": _logistic(settings, classifier, trained, chosen_by, tested, accelerator.device),
        "knn": _neighbors(settings, classifier, trained, chosen_by, tested, accelerator.device),
    }.items():
        chosen[name] = facts
        beside = replace(test, prefix=name, citation=_CITATIONS[name], deviations=())
        others.append(EvalResult("selected", beside, _scores(test, tested, scores)))
    seconds = time.monotonic() - began
    weights = {name: tensor.detach().cpu().clone() for name, tensor in job.network.state_dict().items()}
    return TrainResult(
        plan=job.plan,
        step=job.plan.steps,
        metric=job.task.selection_metric,
        value=accuracy,
        weights=weights,
        seconds=seconds,
        images_per_s=len(trained) / trained.seconds if trained.seconds else 0.0,
        chosen=chosen,
        others=tuple(others),
    )


_CITATIONS = {
    "logistic": "logistic regression by L-BFGS on the same vectors; its cost is chosen on the selection split",
    "knn": "weighted k nearest neighbours by cosine on the same vectors, as DINO; k is chosen on the selection split",
}


def train_grid(job: Job, kept: CachedFeatures, classes: int, device: torch.device) -> list[tuple[Classifier, float]]:
    """A classifier per pooling and rate, with the rate. Heads don't touch each other: one product serves all of a pooling.

    Vectors are normed with mean and variance of the whole training split. SGD with momentum, cosine to 0, no decay.
    """
    settings, plan = job.recipe.probe, job.plan
    assert settings is not None
    rates = torch.tensor(settings.rates, device=device) * job.recipe.train.batch_size / 256
    labels = torch.from_numpy(kept.labels).to(device)
    found = []
    for how, vectors in kept.vectors.items():
        mean, variance = moments(vectors, device)
        draw = torch.Generator().manual_seed(derive(job.seed, "probe", how))
        start = torch.randn(vectors.shape[1], classes, generator=draw).mul_(0.01).to(device)
        weight, bias = start.expand(len(rates), -1, -1).clone(), torch.zeros(len(rates), 1, classes, device=device)
        momenta = [torch.zeros_like(weight), torch.zeros_like(bias)]
        order: Array = np.empty(0, dtype=np.int64)
        for step in range(plan.steps):
            epoch, position = divmod(step, plan.steps_per_epoch)
            if position == 0:
                order = make_rng(job.seed, "order", epoch).permutation(len(kept))
            rows = np.sort(order[position * job.recipe.train.batch_size :][: job.recipe.train.batch_size])
            batch = normed(torch.from_numpy(vectors[rows]).to(device).float(), mean, variance)
            gradient = torch.baddbmm(bias, batch.expand(len(rates), -1, -1), weight).softmax(dim=-1)
            gradient[:, torch.arange(len(rows)), labels[rows]] -= 1
            gradient /= len(rows)
            slopes = (batch.T.expand(len(rates), -1, -1) @ gradient, gradient.sum(dim=1, keepdim=True))
            size = rates * 0.5 * (1 + np.cos(np.pi * step / plan.steps))
            for parameter, momentum, slope in zip((weight, bias), momenta, slopes, strict=True):
                momentum.mul_(settings.momentum).add_(slope)
                parameter.sub_(size[:, None, None] * momentum)
        for number, rate in enumerate(settings.rates):
            found.append((Classifier(how, mean, variance, weight[number].T.contiguous(), bias[number, 0]), rate))
    return found


def moments(vectors: Array, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and variance (C,) over all rows, added up in float64."""
    total, squares = np.zeros(vectors.shape[1]), np.zeros(vectors.shape[1])
    for first in range(0, len(vectors), _CHUNK):
        part = vectors[first : first + _CHUNK].astype(np.float64)
        total += part.sum(axis=0)
        squares += (part**2).sum(axis=0)
    mean = total / len(vectors)
    variance = np.maximum(squares / len(vectors) - mean**2, 0)
    return torch.from_numpy(mean).float().to(device), torch.from_numpy(variance).float().to(device)


def apply(classifier: Callable[[Tensor], Tensor], vectors: Array, device: torch.device) -> Array:
    """Scores (N, classes) of kept vectors, chunk by chunk."""
    parts = []
    for first in range(0, len(vectors), _CHUNK):
        part = torch.from_numpy(np.array(vectors[first : first + _CHUNK])).to(device).float()
        parts.append(classifier(part).float().cpu().numpy())
    return np.concatenate(parts)


def top1(scores: Array, labels: Array) -> float:
    """Percent; scores that aren't finite are wrong."""
    return 100.0 * float(((scores.argmax(axis=1) == labels) & np.isfinite(scores).all(axis=1)).mean())


def _log(job: Job, grid: list[tuple[Classifier, float]], accuracies: list[float]) -> None:
    """A line per classifier: its rate, and its accuracy on the selection split under its pooling's name."""
    log = RunLog(job.folder, start=0, tracker=job.recipe.train.tracker)
    for number, ((one, rate), accuracy) in enumerate(zip(grid, accuracies, strict=True)):
        log.add(number, lr=rate, **{f"select/top1_{one.pooling}": accuracy})
    log.close()


def _logistic(
    settings: Probe,
    start: Classifier,
    trained: CachedFeatures,
    select: CachedFeatures,
    test: CachedFeatures,
    device: torch.device,
) -> tuple[Array, dict[str, Any]]:
    """Test scores of the best cost; each begins where the one before ended, from strong to weak regularisation."""
    vectors, how = trained.vectors[start.pooling], start.pooling
    labels = torch.from_numpy(trained.labels).to(device)
    weight, bias = torch.zeros_like(start.weight), torch.zeros_like(start.bias)
    best: tuple[float, float, Classifier] | None = None
    for cost in sorted(settings.costs):
        weight, bias = _fit(vectors, labels, start, weight, bias, cost)
        one = Classifier(how, start.mean, start.variance, weight, bias)
        accuracy = top1(apply(one, select.vectors[how], device), select.labels)
        if best is None or accuracy > best[0]:
            best = accuracy, cost, one
    assert best is not None
    return apply(best[2], test.vectors[how], device), {"cost": best[1], "pooling": how, "select_top1": best[0]}


def _fit(
    vectors: Array, labels: Tensor, scale: Classifier, weight: Tensor, bias: Tensor, cost: float
) -> tuple[Tensor, Tensor]:
    """Minimises mean cross-entropy + |weight|² / (2 cost N)."""
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    count = len(labels)
    solver = torch.optim.LBFGS([weight, bias], max_iter=100, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> float:
        solver.zero_grad()
        total = 0.0
        for first in range(0, count, _CHUNK):
            part = torch.from_numpy(np.array(vectors[first : first + _CHUNK])).to(weight.device).float()
            scores = normed(part, scale.mean, scale.variance) @ weight.T + bias
            loss = torch.nn.functional.cross_entropy(scores, labels[first : first + _CHUNK], reduction="sum") / count
            torch.autograd.backward(loss)
            total += float(loss.detach())
        decay = (weight**2).sum() / (2 * cost * count)
        torch.autograd.backward(decay)
        return total + float(decay.detach())

    step: Callable[[Callable[[], float]], Any] = solver.step
    step(closure)
    return weight.detach(), bias.detach()


def _neighbors(
    settings: Probe,
    like: Classifier,
    trained: CachedFeatures,
    select: CachedFeatures,
    test: CachedFeatures,
    device: torch.device,
) -> tuple[Array, dict[str, Any]]:
    """Test scores with the best number of neighbours."""
    how, classes = like.pooling, len(like.bias)
    counts = sorted({min(count, len(trained)) for count in settings.neighbours})
    library = trained.vectors[how], trained.labels, classes
    tried = neighbor_scores(*library, select.vectors[how], counts, settings.temperature, device)
    found = [top1(scores, select.labels) for scores in tried]
    index = int(np.argmax(found))
    (scores,) = neighbor_scores(*library, test.vectors[how], counts[index : index + 1], settings.temperature, device)
    return scores, {"k": counts[index], "pooling": how, "select_top1": found[index]}


def _scores(test: Evaluation, kept: CachedFeatures, scores: Array) -> Scores:
    """Rows and metrics of the test split's scores (N, classes)."""
    began = time.monotonic()
    rows = [
        {**test.meter.measure(one, {"label": label}), "index": float(index)}
        for index, (one, label) in enumerate(zip(scores, kept.labels, strict=True))
    ]
    table = stack(rows)
    return Scores(table, test.meter.reduce(table), time.monotonic() - began)
