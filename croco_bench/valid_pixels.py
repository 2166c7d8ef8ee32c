"""Losses over the valid pixels of a batch."""

from __future__ import annotations

import torch
from torch import Tensor


def packed_on(device: torch.device) -> bool:
    """Whether valid values are packed densely on this device.

    Packed arrays save a CPU work. Their length depends on the data: a GPU would have to finish all queued work first, so that
    there values that aren't valid are masked instead.
    """
    return device.type == "cpu"


class ValidPixels:
    """The valid pixels of a batch, over which losses are averaged; without any, a mean is 0 and so is its gradient.

    Values that aren't valid may be anything, NaN as well.
    """

    def __init__(self, mask: Tensor) -> None:
        """`mask` (B, H, W) is bool."""
        self._mask, self._packed = mask, packed_on(mask.device)

    @property
    def count(self) -> Tensor:
        """Number of valid pixels, int64, on the device of the mask."""
        return self._mask.sum()

    def of(self, values: Tensor) -> Tensor:
        """Values (B, H, W, ...) -> the valid ones (N, ...), or on a GPU (B, H, W, ...) with zeros where they aren't valid."""
        if not self._packed:
            return torch.where(self._beside(values), values, 0.0)
        # The slope of an index costs ten times as much on CPUs as that of `masked_select`.
        return values.masked_select(self._mask) if values.ndim == self._mask.ndim else values[self._mask]

    def mean(self, values: Tensor) -> Tensor:
        """The mean over valid pixels and all channels of values made from those of `of`."""
        if self._packed:
            return values.mean() if values.numel() else values.sum()
        channels = values.numel() // max(self._mask.numel(), 1)
        return self._total(values) / (self.count * channels).clamp(min=1)

    def variance(self, values: Tensor) -> Tensor:
        """The unbiased variance over valid pixels of values without channels made from those of `of`; 0 of fewer than two."""
        if self._packed:
            return values.var() if values.numel() > 1 else values.sum() * 0.0
        return self._total((values - self.mean(values)).square()) / (self.count - 1).clamp(min=1)

    def largest(self, values: Tensor) -> Tensor:
        """The largest of values made from those of `of`, which aren't negative; 0 without any."""
        if self._packed:
            return values.max() if values.numel() else values.sum()
        return torch.where(self._beside(values), values, 0.0).max()

    def _total(self, values: Tensor) -> Tensor:
        return torch.where(self._beside(values), values, 0.0).sum()

    def _beside(self, values: Tensor) -> Tensor:
        """The mask, with a dimension for each of the channels' of `values`."""
        return self._mask.view(*self._mask.shape, *[1] * (values.ndim - self._mask.ndim))
