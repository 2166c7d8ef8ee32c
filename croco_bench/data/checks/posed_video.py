"""Depth of posed video in another unit than its layout's 16-bit millimeters, noticed before pairs are mined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from croco_bench.data.checks.values import LOOKED_AT, unit_of
from croco_bench.data.posed.video import PosedSequence
from croco_bench.data.splitting import spread_indices
from croco_bench.types import Array

# Range of the median depth of rooms.
_USUAL_M = (0.3, 8.0)


def unusual_depth(sequences: Sequence[PosedSequence]) -> str | None:
    """What is unusual about the depth of a few frames, spread over the sequences; None where nothing is.

    Raises:
        DataError: a pose or a depth map can't be read.
    """
    chosen = [sequences[i] for i in spread_indices(len(sequences), LOOKED_AT)]
    frames = [frame for sequence in chosen if (frame := sequence.frame(len(sequence) // 2)) is not None]
    depths = {str(frame.depth): known for frame in frames if (known := _known(frame.depth_m())).size}
    if not depths:
        return f"no depth is known in the frames looked at, such as {frames[0].depth}" if frames else None
    median = float(np.median([np.median(known) for known in depths.values()]))
    if _USUAL_M[0] < median < _USUAL_M[1]:
        return None
    return (
        f"the depth of frames such as {next(iter(depths))} is {median:.4g} m in the median, but {_USUAL_M[0]:g} to "
        f"{_USUAL_M[1]:g} is usual for 16-bit millimeters{unit_of(median, _USUAL_M)}"
    )


def _known(depth_m: Array) -> Array:
    known: Array = depth_m[np.isfinite(depth_m) & (depth_m > 0)]
    return known
