"""Checks image pairs: counts, and whether the second image, warped along the flow or disparity, looks like the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np

from croco_bench.data.checks.run_check import Finding, optional, run_check
from croco_bench.data.splitting import spread_indices
from croco_bench.types import Array, Sample

if TYPE_CHECKING:
    from croco_bench.contracts import Reader

Split = TypeVar("Split", bound=str)
_PAIRS_LOOKED_AT = 5
# The largest plausible share of occluded or invalid pixels, in the mean.
_MAX_MASKED = 0.5


@dataclass(frozen=True)
class Part:
    """A split, or a part of one: how it is opened, and its number of pairs in the release (None: unknown).

    `optional`: runs can do without it, so it is no fault if it isn't there.
    """

    title: str
    open: Callable[[], Reader]
    pairs: int | None
    optional: bool = True


def check_splits(
    root: Path, link: str, open_split: Callable[[Path, Split], Reader], pairs: Mapping[Split, int | None]
) -> list[Finding]:
    """Findings on whole splits: `pairs` maps each to its number of pairs in the release (None: unknown).

    All but the first are optional.
    """
    first = next(iter(pairs))
    parts = [Part(split, partial(open_split, root, split), n, split != first) for split, n in pairs.items()]
    return check_parts(root, link, parts)


def check_parts(root: Path, link: str, parts: Sequence[Part]) -> list[Finding]:
    """Findings on all parts of a dataset, each up to its first fault. `link`: where to get the dataset."""
    looks = [(partial(_look, part=part, link=link), part.optional) for part in parts]
    return run_check(root, *(optional(look) if can_lack else look for look, can_lack in looks))


def _look(root: Path, *, part: Part, link: str) -> Iterator[Finding]:
    return look_at(part, link)


def look_at(part: Part, link: str) -> Iterator[Finding]:
    """Findings on one part: its count, and a few pairs spread over it.

    Raises:
        DataError: it can't be opened, or a pair can't be read.
    """
    reader = part.open()
    as_released = reader.miniature or part.pairs is None or len(reader) == part.pairs
    what = f"{part.title}: {len(reader)} pairs of {len(set(reader.groups))} scenes"
    yield Finding.count(as_released, what, f"expected {part.pairs}; get {link}", reader)
    samples = [reader[i] for i in spread_indices(len(reader), _PAIRS_LOOKED_AT)]
    for sample in samples:
        if min(sample["image1"].std(), sample["image2"].std()) < 1:
            what = f"{part.title}: {sample['id']} has a blank image"
            yield Finding(False, what, "nothing can be matched in it", stops=False)
    with_truth = [sample for sample in samples if "valid" in sample]
    if with_truth:
        yield _look_at_truth(part, with_truth)
        yield from _look_at_masks(part, with_truth)


def _look_at_truth(part: Part, samples: Sequence[Sample]) -> Finding:
    known = float(np.mean([sample["valid"].mean() for sample in samples]))
    lengths = np.concatenate([np.linalg.norm(motion_of(sample), axis=2)[sample["valid"]] for sample in samples])
    median = float(np.median(lengths)) if lengths.size else np.nan
    warped, unwarped = np.mean([differences(sample, motion_of(sample)) for sample in samples], axis=0)
    other = better_reading(samples)
    reason = f"they fit {other}" if other else "the truth may be of other pairs, or the images in another order"
    if not lengths.size:
        reason = "no pixel of these pairs has a known value"
    return Finding(
        bool(known > 0.01 and warped <= unwarped and not other),
        f"{part.title}: {known:.0%} known, {median:.1f} pixels in the median; grey values differ by {warped:.1f} along it, "
        f"by {unwarped:.1f} without",
        f"the second view should look more like the first along the truth: {reason}",
        stops=bool(other) or not lengths.size,
    )


# Other ways to read the truth, and the factors of (u, v), or their exchange.
_OTHERWISE: dict[str, Callable[[Array], Array]] = {
    "with the other sign, as if the truth led from the second view to the first": lambda motion: -motion,
    "with u and v exchanged": lambda motion: motion[:, :, ::-1],
    "with v upwards": lambda motion: motion * np.array([1, -1], dtype=np.float32),
}
# Another reading is better where grey values differ by less than this share.
_MUCH_BETTER = 0.6


def better_reading(samples: Sequence[Sample]) -> str | None:
    """In which other way the truth fits the images much better than as it is, if in any."""
    as_is, unwarped = np.mean([differences(sample, motion_of(sample)) for sample in samples], axis=0)
    if as_is < _MUCH_BETTER * unwarped:
        return None
    ways = {
        name: np.mean([_difference(sample, read(motion_of(sample))) for sample in samples])
        for name, read in _OTHERWISE.items()
        if "disparity_px" not in samples[0] or "sign" in name
    }
    best = min(ways, key=lambda name: ways[name])
    return best if ways[best] < _MUCH_BETTER * min(as_is, unwarped) else None


def _difference(sample: Sample, motion: Array) -> float:
    """Difference along the motion; infinite where it leads out of the image everywhere."""
    along, unmoved = differences(sample, motion)
    return along if along or unmoved else float("inf")


def _look_at_masks(part: Part, samples: Sequence[Sample]) -> Iterator[Finding]:
    for key in ("occluded", "invalid"):
        masks = [sample[key] for sample in samples if key in sample]  # some pairs of a release can lack theirs
        if masks:
            share = float(np.mean([mask.mean() for mask in masks]))
            yield Finding(
                share < _MAX_MASKED,
                f"{part.title}: {share:.1%} {key}",
                "expected less than half; the mask may be the other way round",
                stops=False,
            )


def motion_of(sample: Sample) -> Array:
    """Displacement from the first image to the second, (H, W, 2) in pixels: the flow, or the disparity to the left."""
    if "disparity_px" in sample:
        disparity = sample["disparity_px"]
        return np.stack([-disparity, np.zeros_like(disparity)], axis=2)
    flow: Array = sample["flow_px"]
    return flow


def differences(sample: Sample, motion: Array) -> tuple[float, float]:
    """Mean absolute differences of grey values between the images: along the motion (H, W, 2), and at equal positions.

    Both are over the pixels that are valid, seen by both images and inside the second; (0, 0) if there are none.
    """
    first, second = (cv2.cvtColor(sample[key], cv2.COLOR_RGB2GRAY).astype(np.float32) for key in ("image1", "image2"))
    height, width = first.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = columns + motion[:, :, 0], rows + motion[:, :, 1]
    seen = sample["valid"] & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    for key in ("occluded", "invalid"):
        seen &= ~sample.get(key, np.zeros_like(seen))
    if not seen.any():
        return 0.0, 0.0
    warped = cv2.remap(second, x, y, cv2.INTER_LINEAR)
    return float(np.abs(warped - first)[seen].mean()), float(np.abs(second - first)[seen].mean())
