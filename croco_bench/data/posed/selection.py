"""Selection pairs taken out of training pairs: their queries are from held-out sequences, as test queries are."""

from __future__ import annotations

import hashlib
from collections import defaultdict

import numpy as np

from croco_bench.data.posed.reader import PosedViews, PoseReader
from croco_bench.data.splitting import Subset
from croco_bench.errors import DataError, UsageError
from croco_bench.seeding import make_rng
from croco_bench.types import Array

# Share of frames held out at the end of a sequence that is the only one of its scene.
_END = 0.2


def holdout(pairs: PoseReader, fraction: float, *, max_pairs: int, seed: int) -> tuple[Subset, Subset]:
    """Splits pairs into a training and a selection part; no frame of a held-out sequence is trained on.

    Sequences are held out until they have `fraction` of the frames: at least one, at most one per scene, in an order that
    depends only on their names and `seed`. Of a scene with a single sequence, its last fifth counts as one. A selection
    pair has a held-out query and a reference that isn't held out. Other pairs with a held-out frame are dropped.

    Args:
        pairs: all training pairs.
        fraction: share of frames to hold out, between 0 and 1.
        max_pairs: maximum number of selection pairs, drawn at random.
        seed: for the choice of sequences and pairs.

    Raises:
        UsageError: `fraction` isn't between 0 and 1, or `max_pairs` isn't positive.
        DataError: one of the two parts would be empty.
    """
    if not 0 < fraction < 1 or max_pairs < 1:
        raise UsageError(f"select_fraction={fraction:g} should be from 0 to 1, and select_pairs={max_pairs} at least 1")
    rows = np.unique(np.concatenate([pairs.references, pairs.queries]))
    held, selecting = np.zeros(len(pairs.views), dtype=bool), np.empty(0, dtype=np.int64)
    for frames in _candidates(pairs.views, rows, seed):
        held[frames] = True
        with_it = np.flatnonzero(held[pairs.queries] & ~held[pairs.references])
        if with_it.size == selecting.size:  # none of these frames overlaps one that isn't held out
            held[frames] = False
            continue
        selecting = with_it
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
    """At most `max_pairs` of all pairs, drawn at random; for networks trained on other datasets.

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
    """Rows of one sequence per scene that may be held out, in a random order that depends on names and `seed`."""
    scenes: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row in rows.tolist():
        scenes[views.scenes[row]][views.names[row].rpartition("/")[0]].append(row)
    candidates: dict[str, Array] = {}
    for sequences in scenes.values():
        name = min(sequences, key=lambda name: _random_key(seed, name))
        frames = np.array(sequences[name])
        candidates[name] = frames[-max(round(_END * len(frames)), 1) :] if len(sequences) == 1 else frames
    return [candidates[name] for name in sorted(candidates, key=lambda name: _random_key(seed, name))]


def _random_key(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()
