"""What a number means. Imports nothing heavy: tables and catalogues need no numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One number a task reports.

    `average` says what each member of the final mean is: every valid pixel of the set, an image, a pair, a class or a
    scene. `formula` is one line, in the notation of the field; `label` is the column title.
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
