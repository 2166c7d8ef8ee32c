"""Readers of optical flow.

Samples: `image1`, `image2` (H, W, 3) uint8 RGB; `flow_px` (H, W, 2) float32 from the first to the second, u right, v down,
0 where unknown; `valid` (H, W) bool, where it is known; `id` str. Where a dataset says so, also `occluded` (H, W) bool, what
the second view doesn't show, and `invalid` (H, W) bool, where the truth isn't to be relied on. A split whose truth is
withheld has images alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from croco_bench.contracts import Sample
from croco_bench.data.flow_formats import Flow
from croco_bench.data.matching import MatchingReader, Truth, ViewPair, read_mask


class FlowReader(MatchingReader):
    """Pairs of images with the flow between them."""


def plain(read: Callable[[Path], Flow]) -> Truth:
    """Flow in a file of one format, and masks in 8-bit images."""
    return partial(_plain, read)


def _plain(read: Callable[[Path], Flow], base: Path, pair: ViewPair) -> Sample:
    flow, valid = read(base / str(pair.truth))
    sample: Sample = {"flow_px": flow, "valid": valid}
    if pair.occluded is not None:
        sample["occluded"] = read_mask(base / pair.occluded)
    if pair.invalid is not None:
        sample["invalid"] = read_mask(base / pair.invalid)
    return sample
