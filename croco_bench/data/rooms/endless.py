"""An endless training set: pairs of views of rooms, rendered on demand in the data loader's workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from croco_bench.data.rooms.generator import make_scene, room_seed
from croco_bench.data.rooms.render import RenderedViews, make_pair
from croco_bench.files import fingerprint
from croco_bench.seeding import make_rng


@dataclass(frozen=True)
class RenderedPair:
    """Two rendered views: a `croco_bench.data.pairs.Pair`."""

    views: RenderedViews

    def image(self, number: int) -> NDArray[np.uint8]:
        """View 1 or 2 as (H, W, 3) RGB."""
        return (self.views.view1 if number == 1 else self.views.view2).rgb

    def name(self, number: int) -> str:
        """See `croco_bench.data.pairs.Pair.name`."""
        return f"view {number} of a rendered pair"


class EndlessRooms:
    """A reader of `{"pair": Pair}`: item i is a pair of square views of its own room, a function of (seed, i).

    Args:
        side: side of the views in pixels.
        count: number of items in one pass.
        seed: seed of all rooms.
    """

    dataset, split, miniature = "rooms", "train", True

    def __init__(self, side: int, count: int = 1_000_000, seed: int = 0) -> None:
        self._side, self.available, self._seed = side, count, seed

    def __len__(self) -> int:
        return self.available

    def __getitem__(self, index: int) -> dict[str, Any]:
        scene = make_scene(room_seed(self._seed, "endless", index))
        size = (self._side, self._side)
        return {"pair": RenderedPair(make_pair(scene, size, make_rng(self._seed, "endless", index, "pair")))}

    @property
    def groups(self) -> Sequence[str]:
        """One group per pair, as each has its own room."""
        return [str(index) for index in range(self.available)]

    def fingerprint(self) -> str:
        """Hash of the settings."""
        return fingerprint(f"rooms/{self._side}/{self.available}/{self._seed}")
