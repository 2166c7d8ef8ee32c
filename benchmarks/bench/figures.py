"""What a measurement gives, as a row of the table and of the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """Time of one piece of work beside its floor.

    Attributes:
        piece: what is done: `encoder forward`, `pre-training step`, `fine-tuning step`, `evaluation`, `loader`.
        name: task and recipe, or the network.
        precision: of matrix products: fp32, tf32, bf16, fp16.
        items: images, or pairs, of one call.
        unit: `image` or `pair`.
        flops: operations of one call; None where none are counted.
        moved_bytes: bytes that one call has to move at least, beside those of its products: the optimiser's.
        seconds: of one call.
        floor_seconds: operations at the measured rate, and bytes at that of a copy.
        memory_mb: peak, in MB.
        note: what else is to be said.
        extra: further numbers by name.
        failed: the error, where nothing was measured.
    """

    piece: str
    name: str
    precision: str
    items: int = 0
    unit: str = "image"
    flops: float | None = None
    moved_bytes: float = 0.0
    seconds: float | None = None
    floor_seconds: float | None = None
    memory_mb: float | None = None
    note: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    failed: str = ""

    @property
    def per_second(self) -> float | None:
        """Items per second."""
        return self.items / self.seconds if self.seconds else None

    @property
    def floor_share(self) -> float | None:
        """The floor's share of the time: 1 is as fast as the device can be."""
        return self.floor_seconds / self.seconds if self.seconds and self.floor_seconds else None

    def utilization(self, rates: dict[str, float]) -> float | None:
        """The share of the device's measured rate of matrix products that was reached."""
        rate = rates.get(self.precision)
        return self.flops / self.seconds / rate if self.flops and self.seconds and rate else None
