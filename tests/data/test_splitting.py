"""Splits by scene, limited runs, and evenly spaced indices."""

import pickle
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from croco_bench.data.splitting import Subset, limit, split_by_group, spread_indices, take_share
from croco_bench.errors import DataError, UsageError


class Items:
    dataset, split, miniature = "things", "train", False

    def __init__(self, groups: Sequence[str]) -> None:
        self.groups, self.available = groups, len(groups)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"id": index, "group": self.groups[index]}

    def fingerprint(self) -> str:
        return "whole"


def scenes(count: int, each: int) -> list[str]:
    return [f"scene_{index % count:03d}" for index in range(count * each)]


def test_no_scene_is_on_both_sides_and_none_is_lost() -> None:
    reader = Items(scenes(50, 8))
    train, select = split_by_group(reader, 0.1, seed=0)
    assert not set(train.groups) & set(select.groups)
    assert len(train) + len(select) == 400
    assert len(select) == 40
    seen = [part[index]["id"] for part in (train, select) for index in range(len(part))]
    assert sorted(seen) == list(range(400))
    assert [select[index]["group"] for index in range(len(select))] == list(select.groups)
    assert (train.split, select.split, select.available) == ("train", "select (of train)", 400)


def test_the_choice_depends_on_names_and_seed_only() -> None:
    names = scenes(50, 8)
    chosen = set(split_by_group(Items(names), 0.1, seed=0)[1].groups)
    assert set(split_by_group(Items(names[::-1]), 0.1, seed=0)[1].groups) == chosen
    assert set(split_by_group(Items(names), 0.1, seed=1)[1].groups) != chosen
    assert chosen <= set(split_by_group(Items(names), 0.3, seed=0)[1].groups)


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.999])
def test_both_sides_keep_a_scene(fraction: float) -> None:
    for names in (["a", "b"], scenes(5, 3), ["big"] * 99 + ["small"]):
        train, select = split_by_group(Items(names), fraction, seed=0)
        assert len(train)
        assert len(select)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, float("nan")])
def test_impossible_shares_are_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match="from 0 to 1"):
        split_by_group(Items(["a", "b"]), fraction, seed=0)


def test_one_scene_can_not_be_carved() -> None:
    with pytest.raises(DataError, match="1 scene"):
        split_by_group(Items(["a"] * 9), 0.1, seed=0)


def test_fingerprints_tell_choices_apart_and_subsets_can_be_pickled() -> None:
    reader = Items(scenes(4, 2))
    one, two = Subset(reader, [0, 1], "x"), Subset(reader, [0, 2], "x")
    assert len({one.fingerprint(), two.fingerprint(), reader.fingerprint()}) == 3
    again = pickle.loads(pickle.dumps(two))
    assert again.fingerprint() == two.fingerprint()
    assert again[1]["id"] == 2
    with pytest.raises(IndexError):
        two[2]


def test_a_limit_draws_from_everywhere_and_remembers_the_whole() -> None:
    reader = Items(scenes(100, 10))
    some = limit(reader, 50, seed=3)
    places = [some[index]["id"] for index in range(50)]
    assert places == sorted(set(places))
    assert places[0] < 200
    assert places[-1] > 800
    assert (len(some), some.available) == (50, 1000)
    assert limit(reader, 50, seed=3).fingerprint() == some.fingerprint()
    assert limit(reader, 50, seed=4).fingerprint() != some.fingerprint()
    assert limit(reader, 1000, seed=3) is reader
    with pytest.raises(UsageError, match="at least 1"):
        limit(reader, 0, seed=3)


def test_smaller_shares_are_parts_of_larger_ones() -> None:
    reader = Items(scenes(10, 4))
    tenth, half = (take_share(reader, share, seed=3) for share in (0.1, 0.5))
    assert isinstance(tenth, Subset) and isinstance(half, Subset)
    assert (len(tenth), len(half)) == (round(0.1 * len(reader)), round(0.5 * len(reader)))
    assert set(tenth.indices) < set(half.indices)
    assert list(half.indices) == sorted(half.indices)
    assert take_share(reader, 0.5, seed=4).fingerprint() != half.fingerprint()
    assert take_share(reader, 1.0, seed=3) is reader
    assert len(take_share(reader, 1e-9, seed=3)) == 1


@pytest.mark.parametrize("n", [0, 1, 2, 7, 100, 795])
@pytest.mark.parametrize("count", [1, 2, 5, 8, 256])
def test_spread_indices_are_evenly_spaced_from_first_to_last(n: int, count: int) -> None:
    found = spread_indices(n, count)
    assert found == sorted(set(found)) and len(found) == min(n, count)
    if n:
        assert found[0] == 0 and (count == 1 or found[-1] == n - 1)
    gaps = {after - before for before, after in pairwise(found)}
    assert not gaps or max(gaps) - min(gaps) <= 1
