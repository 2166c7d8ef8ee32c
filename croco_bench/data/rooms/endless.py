"""Pairs of views of rooms, rendered when they are asked for: data that never ends, made by the loader's own workers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from croco_bench.data.rooms.render import RenderedViews, make_pair
from croco_bench.data.rooms.scene import make_scene
from croco_bench.seeding import derive, make_rng


@dataclass(frozen=True)
class RenderedPair:
    """Two rendered views."""

    views: RenderedViews

    def image(self, number: int) -> NDArray[np.uint8]:
        """View 1 or 2 as (H, W, 3) RGB."""
        return (self.views.view1 if number == 1 else self.views.view2).rgb

    def name(self, number: int) -> str:
        """See `croco_bench.data.pairs.Pair.name`."""
        return f"view {number} of a rendered pair"


class EndlessRooms:
    """A reader of `{"pair": Pair}`: item i is a pair of square views in a room of its own, a function of (seed, i).

    `count` is how many items make one pass; it costs nothing.
    """

    dataset, split, miniature = "rooms", "train", True

    def __init__(self, side: int, count: int = 1_000_000, seed: int = 0) -> None:
        self._side, self.available, self._seed = side, count, seed

    def __len__(self) -> int:
        return self.available

    def __getitem__(self, index: int) -> dict[str, Any]:
        scene = make_scene(derive(self._seed, "endless", index) % 2**32)
        size = (self._side, self._side)
        return {"pair": RenderedPair(make_pair(scene, size, make_rng(self._seed, "endless", index, "pair")))}

    @property
    def groups(self) -> Sequence[str]:
        """Every pair has its own room."""
        return [str(index) for index in range(self.available)]

    def fingerprint(self) -> str:
        """Of the settings."""
        return hashlib.sha256(f"rooms/{self._side}/{self.available}/{self._seed}".encode()).hexdigest()[:16]
