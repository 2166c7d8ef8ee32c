"""The levels of a pyramid (ResNet, Swin) that a head on four maps reads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from croco_bench.contracts import FeatureSpec
from croco_bench.errors import FitError


def coarsest_levels(spec: FeatureSpec, head: str) -> tuple[int, ...]:
    """Indices of the four coarsest outputs of different resolution, finest first.

    Raises:
        FitError: there are fewer than four.
    """
    if len(spec.levels) < 4:
        raise FitError(f"the {head} head needs four resolutions, but the backbone has {len(spec.levels)}")
    return spec.levels[-4:]


def check_levels(spec: FeatureSpec, hooks: Sequence[int]) -> None:
    """Checks that each of the hooked outputs of a pyramid is twice as coarse as the one before.

    Raises:
        FitError: it isn't.
    """
    strides = [spec.stride_of(hook) for hook in hooks]
    if any(coarse != 2 * fine for fine, coarse in pairwise(strides)):
        raise FitError(
            f"head.hooks={list(hooks)} have strides of {', '.join(map(str, strides))} pixels, but each should be twice the "
            "one before",
            f"the outputs have strides of {', '.join(map(str, spec.strides))}",
        )
