"""Which sequences select weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench.data.posed.reader import PosedViews, PoseReader
from croco_bench.data.posed.selection import holdout
from croco_bench.data.splitting import Subset
from croco_bench.errors import BenchError, DataError, UsageError

FRAMES = 10


def reader(sequences: dict[str, int], *, across: bool = True) -> PoseReader:
    """Scenes with so many sequences of ten frames; all pairs of a scene's frames, or all of a sequence's."""
    names = [
        f"{scene}/seq-{one:02d}/{frame}.png"
        for scene, n in sequences.items()
        for one in range(n)
        for frame in range(FRAMES)
    ]
    scenes = [name.partition("/")[0] for name in names]
    groups = scenes if across else [name.rpartition("/")[0] for name in names]
    pairs = [(i, j) for i in range(len(names)) for j in range(len(names)) if i != j and groups[i] == groups[j]]
    void = np.zeros((len(names), 1))
    views = PosedViews(Path("nowhere"), tuple(names), tuple(scenes), void, void, void)
    references, queries = np.array(pairs).T
    return PoseReader(views, references, queries, dataset="7scenes", split="train")


def sequences_of(pairs: PoseReader, part: Subset, side: str) -> set[str]:
    rows = getattr(pairs, side)[part.indices]
    return {pairs.views.names[row].rpartition("/")[0] for row in rows}


def frames_of(pairs: PoseReader, part: Subset, side: str) -> set[str]:
    return {pairs.views.names[row] for row in getattr(pairs, side)[part.indices]}


@pytest.mark.parametrize(("fraction", "held"), [(0.01, 1), (0.1, 2), (0.2, 3), (0.9, 4)])
def test_whole_sequences_are_held_out_one_per_scene(fraction: float, held: int) -> None:
    """Of 120 frames, ten a sequence: more than one per scene are never taken."""
    pairs = reader({"chess": 2, "office": 5, "pumpkin": 3, "stairs": 2})
    train, select = holdout(pairs, fraction, max_pairs=10_000, seed=0)
    queries = sequences_of(pairs, select, "queries")
    assert len(queries) == len({name.partition("/")[0] for name in queries}) == held
    seen = sequences_of(pairs, train, "queries") | sequences_of(pairs, train, "references")
    assert not seen & queries and not sequences_of(pairs, select, "references") & queries
    assert len(seen) == 12 - held
    assert (train.split, select.split) == ("train", "select (of train)")


def test_of_a_scene_with_one_sequence_the_last_fifth_may_be_held_out() -> None:
    pairs = reader({"heads": 1})
    train, select = holdout(pairs, 0.1, max_pairs=10_000, seed=0)
    assert frames_of(pairs, select, "queries") == {"heads/seq-00/8.png", "heads/seq-00/9.png"}
    assert frames_of(pairs, select, "references") == {f"heads/seq-00/{frame}.png" for frame in range(8)}
    assert frames_of(pairs, train, "queries") == frames_of(pairs, select, "references")
    assert (len(train), len(select)) == (8 * 7, 2 * 8)


def test_the_choice_depends_on_names_and_seed_alone() -> None:
    pairs = reader({"chess": 3, "office": 3, "stairs": 3})
    found = [holdout(pairs, 0.1, max_pairs=40, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert all(len(select) == 40 for _, select in found)
    prints = [select.fingerprint() for _, select in found]
    assert prints[0] == prints[1] and len(set(prints)) > 2
    assert found[0][0].fingerprint() == found[1][0].fingerprint()
    assert np.ptp(found[0][1].indices) > 45, "drawn from all, not the first"


def test_sequences_that_see_nothing_of_others_are_passed_over() -> None:
    """Of scenes whose sequences are islands only the end of a single one can be compared with what is trained on."""
    pairs = reader({"heads": 1, "chess": 2, "office": 2, "stairs": 2}, across=False)
    for seed in range(5):
        train, select = holdout(pairs, 0.01, max_pairs=100, seed=seed)
        assert sequences_of(pairs, select, "queries") == {"heads/seq-00"}
        assert len(sequences_of(pairs, train, "queries")) == 7
    with pytest.raises(DataError, match=r"are left to train on and 0 to select weights on") as caught:
        holdout(reader({"chess": 2, "office": 2}, across=False), 0.1, max_pairs=100, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{"fraction": 0.0}, {"fraction": 1.0}, {"fraction": float("nan")}, {"max_pairs": 0}]
)
def test_wrong_settings_are_one_sentence(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"select_fraction=.*select_pairs=") as caught:
        holdout(reader({"chess": 2}), **{"fraction": 0.1, "max_pairs": 9, "seed": 0, **changes})
    assert isinstance(caught.value, BenchError) and "\n" not in str(caught.value)
