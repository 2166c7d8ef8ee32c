"""The endless training set of rendered rooms."""

from typing import Any

import numpy as np

from croco_bench.data.rooms.endless import EndlessRooms


def test_rooms_are_a_function_of_seed_and_index() -> None:
    def views(seed: int, index: int) -> np.ndarray[Any, Any]:
        pair = EndlessRooms(16, count=10, seed=seed)[index]["pair"]
        return np.stack([pair.image(1), pair.image(2)])

    first = views(0, 3)
    assert (first.dtype, first.shape) == (np.uint8, (2, 16, 16, 3))
    assert np.array_equal(first, views(0, 3))
    assert not np.array_equal(first, views(0, 4))
    assert not np.array_equal(first, views(1, 3))
    assert not np.array_equal(first[0], first[1])


def test_rooms_say_what_they_are() -> None:
    prints = {EndlessRooms(side, count, seed).fingerprint() for side in (16, 24) for count in (5, 6) for seed in (0, 1)}
    assert len(prints) == 8
    rooms = EndlessRooms(16, count=6)
    assert len(set(rooms.groups)) == len(rooms) == 6
    assert rooms.miniature
