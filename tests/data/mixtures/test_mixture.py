"""Mixtures of readers: weights, order and fingerprint."""

from collections import Counter
from typing import Any

from croco_bench.data.mixtures.mixture import Mixture


class Numbers:
    """A reader of its own name and indices."""

    split, miniature = "train", False

    def __init__(self, name: str, count: int) -> None:
        self.dataset, self.available = name, count
        self.groups = [f"{name}{index // 2}" for index in range(count)]

    def __len__(self) -> int:
        return self.available

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"id": (self.dataset, index), "group": self.groups[index]}

    def fingerprint(self) -> str:
        return f"{self.dataset}{self.available}"


def test_weights_say_how_often_a_set_comes_up() -> None:
    mixture = Mixture([Numbers("a", 10), Numbers("b", 7), Numbers("c", 8), Numbers("d", 6)], [1, 2, 0.5, 1.5], seed=0)
    assert len(mixture) == mixture.available == 10 + 14 + 4 + 9
    items = [mixture[index] for index in range(len(mixture))]
    counts = Counter(item["id"] for item in items)
    by_set = {name: sorted(count for (of, _), count in counts.items() if of == name) for name in "abcd"}
    assert by_set == {"a": [1] * 10, "b": [2] * 7, "c": [1] * 4, "d": [1, 1, 1, 2, 2, 2]}
    assert [group.partition("/")[2] for group in mixture.groups] == [item["group"] for item in items]
    assert mixture.dataset == "a+2*b+0.5*c+1.5*d"


def test_mixtures_are_the_same_everywhere_and_say_what_they_hold() -> None:
    def order(weights: list[float], seed: int = 0) -> list[Any]:
        mixture = Mixture([Numbers("a", 9), Numbers("b", 9)], weights, seed)
        return [mixture[index]["id"] for index in range(len(mixture))]

    assert order([1, 0.5]) == order([1, 0.5])
    assert order([1, 0.5]) != order([1, 0.5], seed=1)
    prints = {
        Mixture([Numbers("a", 9), Numbers("b", 9)], weights, 0).fingerprint()
        for weights in ([1, 1], [1, 2], [2, 1], [1, 0.5])
    }
    assert len(prints) == 4
    assert len(Mixture([Numbers("a", 9)], [0.01], 0)) == 1
