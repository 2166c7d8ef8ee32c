"""The description of a metric. Imports no numpy, which tables and catalogues don't need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "neither"]
ARROWS: dict[Better, str] = {"higher": "↑", "lower": "↓", "neither": ""}


@dataclass(frozen=True)
class Metric:
    """A metric that a task reports.

    Attributes:
        name: key in result files.
        label: column title.
        unit: unit of the value; empty for a ratio or a count.
        better: which values are better; neither of a count that describes the set.
        average: members of the final mean: every valid pixel or point of the set, an image, a pair, a class or a scene.
        digits: decimals shown.
        formula: one line in the notation of the field.
    """

    name: str
    label: str
    unit: Literal["", "%", "m", "px", "deg"]
    better: Better
    average: Literal["pixel", "point", "image", "pair", "class", "scene"]
    digits: int
    formula: str

    @property
    def higher_is_better(self) -> bool:
        """True where a larger value wins."""
        return self.better == "higher"

    @property
    def arrow(self) -> str:
        """The direction as a sign; empty where there is none."""
        return ARROWS[self.better]


def better_of(higher_is_better: bool | None) -> Better:
    """The direction that a result file gives."""
    return "neither" if higher_is_better is None else "higher" if higher_is_better else "lower"
