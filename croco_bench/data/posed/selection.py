"""Which pairs of training frames select weights: queries of sequences that are held out, as test queries are of unseen ones."""

from __future__ import annotations

import hashlib
from collections import defaultdict

import numpy as np

from croco_bench.data.posed.reader import PosedViews, PoseReader
from croco_bench.data.splitting import Subset
from croco_bench.errors import DataError, UsageError
from croco_bench.seeding import make_rng
from croco_bench.types import Array

# Of a scene's only sequence, its last part of this share takes the place of a second one.
_END = 0.2


def holdout(pairs: PoseReader, fraction: float, *, max_pairs: int, seed: int) -> tuple[Subset, Subset]:
    """Training and selection parts of pairs; no frame of a held-out sequence is trained on.

    Held out are about `fraction` of the frames, at least one sequence and at most one per scene, in an order that depends
    on names and `seed` alone. A scene with a single sequence would give its last fifth. Selection pairs have a query that
    is held out and a reference that is not, at most `max_pairs` of them, drawn from all; the other pairs with a held-out frame
    are left out.

    Raises:
        UsageError: `fraction` isn't between 0 and 1, or `max_pairs` isn't positive.
        DataError: one of the two parts would be empty.
    """
    if not 0 < fraction < 1 or max_pairs < 1:
        raise UsageError(f"select_fraction={fraction:g} should be from 0 to 1, and select_pairs={max_pairs} at least 1")
    rows = np.unique(np.concatenate([pairs.references, pairs.queries]))
    held, selecting = np.zeros(len(pairs.views), dtype=bool), np.empty(0, dtype=np.int64)
    for part in _candidates(pairs.views, rows, seed):
        held[part] = True
        found = np.flatnonzero(held[pairs.queries] & ~held[pairs.references])
        if found.size == selecting.size:  # it sees nothing that other sequences see
            held[part] = False
            continue
        selecting = found
        if held.sum() >= fraction * len(rows):
            break
    training = np.flatnonzero(~held[pairs.queries] & ~held[pairs.references])
    if not (selecting.size and training.size):
        raise DataError(
            f"{pairs.dataset}: of {len(pairs)} training pairs, {training.size} are left to train on and {selecting.size} to "
            "select weights on, when whole sequences are held out",
            "more scenes or longer sequences are needed",
        )
    return Subset(pairs, training.tolist(), pairs.split), _selection(pairs, selecting, max_pairs, seed)


def selection_pairs(pairs: PoseReader, *, max_pairs: int, seed: int) -> Subset:
    """At most `max_pairs` of all pairs, drawn; for networks that are trained on none of them.

    Raises:
        UsageError: `max_pairs` isn't positive.
    """
    if max_pairs < 1:
        raise UsageError(f"select_pairs={max_pairs} should be at least 1")
    return _selection(pairs, np.arange(len(pairs)), max_pairs, seed)


def _selection(pairs: PoseReader, rows: Array, max_pairs: int, seed: int) -> Subset:
    if rows.size > max_pairs:
        rows = np.sort(make_rng(seed, "selection pairs").choice(rows, max_pairs, replace=False))
    return Subset(pairs, rows.tolist(), f"select (of {pairs.split})")


def _candidates(views: PosedViews, rows: Array, seed: int) -> list[Array]:
    """Rows of one sequence per scene that may be held out, in order of preference."""
    scenes: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row in rows.tolist():
        scenes[views.scenes[row]][views.names[row].rpartition("/")[0]].append(row)
    chosen: dict[str, Array] = {}
    for sequences in scenes.values():
        name = min(sequences, key=lambda name: _lot(seed, name))
        frames = np.array(sequences[name])
        chosen[name] = frames[-max(round(_END * len(frames)), 1) :] if len(sequences) == 1 else frames
    return [chosen[name] for name in sorted(chosen, key=lambda name: _lot(seed, name))]


def _lot(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()
