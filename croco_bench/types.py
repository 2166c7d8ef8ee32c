"""Types that many modules share. Imports numpy only."""

from __future__ import annotations

from typing import Any, Literal

from numpy.typing import NDArray

Array = NDArray[Any]
# (height, width) in pixels, or in patches.
Size = tuple[int, int]
# How a network knows where a patch lies: as a part of its token, or in attention alone.
PositionKind = Literal["absolute", "rotary"]
# One item of a dataset, and a batch of them: arrays or tensors by name, and what identifies them.
Sample = dict[str, Any]
Batch = dict[str, Any]
