"""Readers of stereo.

Samples: `image1` left and `image2` right, (H, W, 3) uint8 RGB; `disparity_px` (H, W) float32: what the left view shows at x,
the right one shows at x - d; 0 where unknown; `valid` (H, W) bool, where it is known; `id` str. Where a dataset says so, also
`occluded` (H, W) bool, what the right view doesn't show. A split whose truth is withheld has images alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from croco_bench.data.datasets.matching.image_pairs import MatchingReader, ViewPair
from croco_bench.data.formats.disparity import read_pfm_disparity
from croco_bench.data.formats.images import read_gray
from croco_bench.types import Sample

_SEEN_TWICE = 255


class DisparityReader(MatchingReader):
    """Pairs of rectified views with the disparity of the left one."""


def masked_truth(base: Path, pair: ViewPair) -> Sample:
    """Disparity in a .pfm, and what both views see in a mask, as MiddEval3 and ETH3D have it."""
    disparity, valid = read_pfm_disparity(base / str(pair.truth))
    sample: Sample = {"disparity_px": disparity, "valid": valid}
    if pair.occluded is not None:
        seen = read_gray(base / pair.occluded, np.uint8) == _SEEN_TWICE
        # Of two sizes, the reader will say so.
        sample["occluded"] = valid & ~seen if seen.shape == valid.shape else ~seen
    return sample
