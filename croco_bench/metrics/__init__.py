"""The description of a metric. Imports no numpy, which tables and catalogues don't need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A metric that a task reports.

    Attributes:
        name: key in result files.
        label: column title.
        unit: unit of the value; empty for a ratio or a count.
        better: which values are better.
        average: members of the final mean: every valid pixel of the set, an image, a pair, a class or a scene.
        digits: decimals shown.
        formula: one line in the notation of the field.
    """

    name: str
    label: str
    unit: Literal["", "%", "m", "px", "deg"]
    better: Literal["higher", "lower"]
    average: Literal["pixel", "image", "pair", "class", "scene"]
    digits: int
    formula: str

    @property
    def higher_is_better(self) -> bool:
        """True where a larger value wins."""
        return self.better == "higher"
