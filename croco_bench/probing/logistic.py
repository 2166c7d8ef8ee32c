"""Multinomial logistic regression on cached features, to the minimum of its convex objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from croco_bench.types import Array

# Rows of features that are read at once.
_CHUNK = 8192
# Where the solver stops: largest slope, and relative decrease of the objective in one iteration. On 1797 images of digits
# the objective is then within 1e-6 of its minimum.
_SLOPE, _DECREASE = 1e-6, 1e-10
# Sums in float32, on GPUs, can end the line search above that slope.
_CONVERGED_SLOPE = 1e-4
MAX_ITERATIONS = 5000


@dataclass(frozen=True)
class LogisticFit:
    """Weights (classes, C) and bias (classes,) in float64, and how the solver ended.

    Attributes:
        weights: of the standardised features.
        bias: of the classes.
        objective: value of the objective.
        iterations: of the solver.
        converged: whether it reached the minimum.
    """

    weights: Array
    bias: Array
    objective: float
    iterations: int
    converged: bool


def fit_logistic(
    vectors: Array,
    labels: Tensor,
    standardize: Callable[[Tensor], Tensor],
    cost: float,
    start: tuple[Array, Array],
    max_iterations: int = MAX_ITERATIONS,
) -> LogisticFit:
    """Minimises mean cross-entropy + |weights|² / (2 cost N) by L-BFGS.

    `cost` means what C means in scikit-learn. For two classes that is a single row of weights, the difference of the two
    rows here; their squares are therefore counted twice.

    Args:
        vectors: features (N, C).
        labels: classes (N,), on the device that computes.
        standardize: makes standardised features (B, C) of some rows.
        cost: inverse weight of the regularisation.
        start: weights (classes, C) and bias (classes,) to begin with.
        max_iterations: of the solver.
    """
    # Imported by every run, but needed by few.
    from scipy.optimize import minimize

    shape = start[0].shape
    decay = (2 if shape[0] == 2 else 1) / (cost * len(vectors))

    def objective(flat: Array) -> tuple[float, Array]:
        weights, bias = _unflatten(flat, shape)
        loss, slope = _cross_entropy(vectors, labels, standardize, weights, bias)
        slope[:, :-1] += decay * weights
        return loss + decay * float((weights**2).sum()) / 2, _flatten(slope[:, :-1], slope[:, -1])

    found = minimize(
        objective,
        _flatten(*start),
        jac=True,
        method="L-BFGS-B",
        options={
            "maxiter": max_iterations,
            "maxfun": 2 * max_iterations,
            "gtol": _SLOPE,
            "ftol": _DECREASE,
            "maxcor": 20,
        },
    )
    converged = bool(found.success) or float(np.abs(found.jac).max()) <= _CONVERGED_SLOPE
    return LogisticFit(*_unflatten(found.x, shape), float(found.fun), int(found.nit), converged)


def _flatten(weights: Array, bias: Array) -> Array:
    return np.concatenate([weights.ravel(), bias]).astype(np.float64)


def _unflatten(flat: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    return flat[: -shape[0]].reshape(shape), flat[-shape[0] :]


def _cross_entropy(
    vectors: Array, labels: Tensor, standardize: Callable[[Tensor], Tensor], weights: Array, bias: Array
) -> tuple[float, Array]:
    """Mean cross-entropy and its slope (classes, C + 1), the bias's last.

    In float64 on CPUs; elsewhere, where that may be slow, chunks in float32 and their sum in float64.
    """
    device, count = labels.device, len(vectors)
    precision = torch.float64 if device.type == "cpu" else torch.float32
    weight, shift = (torch.from_numpy(part).to(device, precision) for part in (weights, bias))
    loss, slope = 0.0, np.zeros((weights.shape[0], weights.shape[1] + 1))
    for first in range(0, count, _CHUNK):
        features = standardize(torch.from_numpy(np.array(vectors[first : first + _CHUNK])).to(device, precision))
        target = labels[first : first + _CHUNK, None]
        logs = (features @ weight.T + shift).log_softmax(dim=1)
        loss -= float(logs.gather(1, target).sum(dtype=torch.float64))
        excess = logs.exp().scatter_add_(1, target, torch.full_like(logs[:, :1], -1.0))
        slope[:, :-1] += (excess.T @ features).double().cpu().numpy()
        slope[:, -1] += excess.sum(dim=0, dtype=torch.float64).cpu().numpy()
    return loss / count, slope / count
