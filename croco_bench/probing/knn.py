"""Weighted k nearest neighbours (Wu 2018), as DINO evaluates frozen features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from croco_bench.types import Array

# Rows of queries and of the bank whose similarities are in memory at once.
_QUERIES, _BANK = 1024, 65536


def knn_scores(
    bank: Array,
    labels: Array,
    classes: int,
    queries: Array,
    ks: Sequence[int],
    temperature: float,
    device: torch.device,
) -> list[Array]:
    """Class scores (N, classes) of the queries for each k: every neighbour adds exp(cosine / temperature) to its class.

    Args:
        bank: training vectors (M, C).
        labels: their classes (M,).
        classes: number of classes.
        queries: vectors to classify (N, C).
        ks: numbers of neighbours.
        temperature: the smaller, the more the nearest ones count.
        device: where similarities are computed.
    """
    scores = [np.empty((len(queries), classes), dtype=np.float32) for _ in ks]
    bank_labels = torch.from_numpy(labels).to(device)
    for first in range(0, len(queries), _QUERIES):
        part = _unit_rows(queries, first, _QUERIES, device)
        cosines, neighbors = _nearest(bank, part, max(ks), device)
        weights = (
            (cosines - cosines[:, :1]) / temperature
        ).exp()  # relative to the nearest: no overflow, the same order
        for i, k in enumerate(ks):
            votes = torch.zeros(len(part), classes, device=device)
            votes.scatter_add_(1, bank_labels[neighbors[:, :k]], weights[:, :k])
            scores[i][first : first + len(part)] = votes.cpu().numpy()
    return scores


def _nearest(bank: Array, queries: Tensor, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The `count` largest cosines (B, count), descending, and their indices in the bank."""
    cosines = torch.full((len(queries), 0), -torch.inf, device=device)
    neighbors = torch.zeros((len(queries), 0), dtype=torch.int64, device=device)
    for first in range(0, len(bank), _BANK):
        part = _unit_rows(bank, first, _BANK, device)
        rows = torch.arange(first, first + len(part), device=device).expand(len(queries), -1)
        cosines, neighbors = torch.cat([cosines, queries @ part.T], dim=1), torch.cat([neighbors, rows], dim=1)
        cosines, order = cosines.topk(min(count, cosines.shape[1]), dim=1)
        neighbors = neighbors.gather(1, order)
    return cosines, neighbors


def _unit_rows(vectors: Array, first: int, count: int, device: torch.device) -> Tensor:
    """Some rows in float32, scaled to length 1."""
    return F.normalize(torch.from_numpy(np.array(vectors[first : first + count])).to(device).float(), dim=1)
