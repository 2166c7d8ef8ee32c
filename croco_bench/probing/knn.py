"""Weighted k nearest neighbours (Wu 2018, as DINO uses them)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from croco_bench.types import Array

# Similarities in memory at once.
_QUERIES, _LIBRARY = 1024, 65536


def neighbor_scores(
    library: Array,
    labels: Array,
    classes: int,
    queries: Array,
    counts: Sequence[int],
    temperature: float,
    device: torch.device,
) -> list[Array]:
    """Votes (N, classes) for each number of neighbours k in `counts`.

    The k training vectors of highest cosine vote for their classes with weight exp(cosine / temperature).

    Args:
        library: training vectors (M, C).
        labels: their classes (M,), of so many `classes`.
        queries: vectors to classify (N, C).
    """
    votes = [np.empty((len(queries), classes), dtype=np.float32) for _ in counts]
    known = torch.from_numpy(labels).to(device)
    for first in range(0, len(queries), _QUERIES):
        part = F.normalize(torch.from_numpy(np.array(queries[first : first + _QUERIES])).to(device).float(), dim=1)
        near, which = _nearest(library, part, max(counts), device)
        weights = ((near - near[:, :1]) / temperature).exp()  # relative to the nearest: no overflow, the same order
        for place, count in enumerate(counts):
            voted = torch.zeros(len(part), classes, device=device)
            voted.scatter_add_(1, known[which[:, :count]], weights[:, :count])
            votes[place][first : first + len(part)] = voted.cpu().numpy()
    return votes


def _nearest(
    library: Array, queries: torch.Tensor, count: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Highest cosines (B, count), falling, and whose they are."""
    near = torch.full((len(queries), 0), -torch.inf, device=device)
    which = torch.zeros((len(queries), 0), dtype=torch.int64, device=device)
    for first in range(0, len(library), _LIBRARY):
        part = F.normalize(torch.from_numpy(np.array(library[first : first + _LIBRARY])).to(device).float(), dim=1)
        cosines = queries @ part.T
        numbers = torch.arange(first, first + len(part), device=device).expand(len(queries), -1)
        near, which = torch.cat([near, cosines], dim=1), torch.cat([which, numbers], dim=1)
        near, places = near.topk(min(count, near.shape[1]), dim=1)
        which = which.gather(1, places)
    return near, which
