"""Readers of optical flow.

Samples: `image1`, `image2` (H, W, 3) uint8 RGB; `flow_px` (H, W, 2) float32 from the first to the second, u right, v down,
0 where unknown; `valid` (H, W) bool, where it is known; `id` str. Where a dataset says so, also `occluded` (H, W) bool, what
the second view doesn't show, and `invalid` (H, W) bool, where the truth isn't to be relied on. A split whose truth is
withheld has images alone.
"""

from __future__ import annotations

from croco_bench.data.datasets.matching.image_pairs import MatchingReader


class FlowReader(MatchingReader):
    """Pairs of images with the flow between them."""
