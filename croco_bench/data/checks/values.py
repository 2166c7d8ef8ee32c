"""Values that a dataset's format can't mean, noticed in a few samples before anything is trained or scored on them.

A look takes a reader and samples of it, and returns what is unusual in them as a clause, or None. The keys of the samples
decide which looks apply; `croco_bench.contracts.Reader` says what the keys hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from croco_bench.data.checks.image_pairs import better_reading
from croco_bench.data.checks.run_check import Finding
from croco_bench.data.posed.matrices import is_rigid
from croco_bench.data.splitting import spread_indices
from croco_bench.errors import DataError
from croco_bench.types import Array, Sample

if TYPE_CHECKING:
    from croco_bench.contracts import Reader

LOOKED_AT = 5
_ACCEPT = "if the values are right, --set data.unusual=note accepts them, and the result says so"
# How much larger or smaller than usual a median may be because of a unit, and what then happened.
_UNITS = {
    1000.0: "millimeters read as meters",
    1 / 1000: "meters read as millimeters",
    5.0: "1/5000 m read as millimeters",
    1 / 5: "millimeters read as 1/5000 m",
    100.0: "centimeters read as meters",
    1 / 100: "meters read as centimeters",
}
_UNLABELED = 255
# Cameras of one pair stand at most so far apart in the median; more is another unit.
_FARTHEST_M = 100.0
# Half of a camera's view, in degrees, and how far pixels may be from squares.
_HALF_VIEW_DEG, _ASPECT = (3.0, 85.0), (0.5, 2.0)
_GRAY_LEVELS = 1.0


@dataclass(frozen=True)
class Unusual:
    """What is unusual in samples of a reader: `what` names them; `advice` says what can be done."""

    what: str
    advice: str


def unusual_values(reader: Reader, classes: int | None = None) -> list[Unusual]:
    """Looks at a few samples, spread over the reader; of a mixture, over each of its readers.

    Args:
        reader: the split.
        classes: number of classes of its labels, if these are known.

    Raises:
        DataError: a sample can't be read.
    """
    found: list[Unusual] = []
    for part in getattr(reader, "readers", (reader,)):
        samples = [part[i] for i in spread_indices(len(part), LOOKED_AT)]
        looks: list[Look] = [*_LOOKS, lambda part, samples: _labels(samples, classes)]
        said = (look(part, samples) for look in looks)
        found += [Unusual(f"{part.dataset}: {what}", _advice(part)) for what in said if what]
    return found


def require_usual(readers: Iterable[Reader], *, classes: int | None = None, accept: bool = False) -> tuple[str, ...]:
    """Refuses unusual values in any of the readers; with `accept`, returns a note on each instead.

    Raises:
        DataError: a sample can't be read or, without `accept`, has values that its format can't mean.
    """
    notes: list[str] = []
    for reader in readers:
        for one in unusual_values(reader, classes):
            if not accept:
                raise DataError(one.what, one.advice)
            notes.append(f"{one.what} (accepted by data.unusual=note)")
    return tuple(dict.fromkeys(notes))


def look_at_values(findings: Iterable[Finding]) -> list[Finding]:
    """Findings on unusual values in the parts that other findings name: runs refuse them."""
    found: list[Finding] = []
    for finding in findings:
        if finding.reader is None:
            continue
        try:
            said = unusual_values(finding.reader)
        except DataError as error:
            found.append(Finding.from_error(error))
        else:
            found += [Finding(False, one.what, one.advice) for one in said]
    known = {finding.what for finding in findings if not finding.ok}
    return [one for one in dict.fromkeys(found) if one.what not in known]


def unit_of(median: float, usual: tuple[float, float]) -> str:
    """Which unit would bring a median into its usual range, as " (…? Then it is …)"; empty where none would."""
    low, high = usual
    fits = ((factor, what) for factor, what in _UNITS.items() if low < median / factor < high)
    return next((f" ({what}? Then it is {median / factor:.3g})" for factor, what in fits), "")


def _advice(reader: Reader) -> str:
    return f"croco-bench data check {reader.dataset} says more; {_ACCEPT}"


def _ids(samples: Sequence[Sample]) -> str:
    return ", ".join(str(sample["id"]) for sample in samples if "id" in sample) or f"looked at, {len(samples)}"


def _matching(reader: Reader, samples: Sequence[Sample]) -> str | None:
    """Flow or disparity that fits the images in another convention."""
    with_truth = [
        _one_pass(sample) for sample in samples if "valid" in sample and {"flow_px", "disparity_px"} & sample.keys()
    ]
    other = better_reading(with_truth) if any(sample["valid"].any() for sample in with_truth) else None
    return other and f"the truth of the pairs {_ids(with_truth)} fits the images {other}"


def _one_pass(sample: Sample) -> Sample:
    """The sample; where its images are there in several renderings (Sintel's passes), with those of the first."""
    first = next(iter(sample.get("passes", {}).values()), None)
    return sample if first is None else {**sample, "image1": first[0], "image2": first[1]}


def _known(reader: Reader, samples: Sequence[Sample]) -> str | None:
    """Targets that are known nowhere."""
    masks = [sample for sample in samples if "valid" in sample]
    if not masks or any(sample["valid"].any() for sample in masks):
        return None
    what = "pairs" if "image1" in masks[0] else "images"
    return f"none of the {what} {_ids(masks)} has a known value, so none can be learned or scored"


def _medians(reader: Reader, samples: Sequence[Sample]) -> str | None:
    """Values far from those that the reader calls usual, as of another unit."""
    ranges: Mapping[str, tuple[float, float]] = getattr(reader, "usual", {})
    for key, (low, high) in ranges.items():
        known = [sample for sample in samples if key in sample and sample["valid"].any()]
        if not known:
            continue
        median = float(np.median([np.median(sample[key][sample["valid"]]) for sample in known]))
        if not low < median < high:
            return (
                f"{_words(key)} of {_ids(known)} is {median:.4g} in the median, but {low:g} to {high:g} is usual"
                f"{unit_of(median, (low, high))}"
            )
    return None


def _words(key: str) -> str:
    """`depth_m` -> depth in m."""
    name, _, unit = key.rpartition("_")
    return f"{name} in {unit}" if name else key


def _varied(reader: Reader, samples: Sequence[Sample]) -> str | None:
    """Maps that hold one value everywhere."""
    for key in ("depth_m", "target", "depth"):
        known = [
            sample[key][sample["valid"]] if "valid" in sample else sample[key] for sample in samples if key in sample
        ]
        values = np.unique(np.concatenate([one.ravel() for one in known])) if known else np.arange(2)
        if len(values) == 1:
            return f"{_words(key)} of {_ids(samples)} is {values[0]:g} everywhere"
    return None


def _blank(reader: Reader, samples: Sequence[Sample]) -> str | None:
    """Images of one color."""
    for key in ("image", "image1", "image2"):
        images = [sample[key] for sample in samples if key in sample]
        if images and all(float(np.std(image)) < _GRAY_LEVELS for image in images):
            return f"all images looked at ({_ids(samples)}) are of one color"
    return None


def _labels(samples: Sequence[Sample], classes: int | None) -> str | None:
    """Classes beyond those that there are; annotations without any label."""
    labels = [np.asarray(sample["label"]) for sample in samples if "label" in sample]
    if not labels:
        return None
    if labels[0].ndim == 2 and all((label == _UNLABELED).all() for label in labels):
        return f"no pixel of the annotations {_ids(samples)} has a label"
    highest = max(int(label[label != _UNLABELED].max(initial=0)) for label in labels)
    if classes is not None and highest >= classes:
        return f"the labels of {_ids(samples)} go up to {highest}, but there are {classes} classes, 0 to {classes - 1}"
    return None


def _cameras(reader: Reader, samples: Sequence[Sample]) -> str | None:
    """Intrinsics that don't belong to their image."""
    for sample in samples:
        for view in "12":
            if f"K{view}" not in sample:
                continue
            height, width = sample[f"image{view}"].shape[-3:-1]
            for K in np.reshape(sample[f"K{view}"], (-1, 3, 3)):
                why = _odd_camera(K, height, width)
                if why:
                    return f"the intrinsics of view {view} of {sample['id']} don't fit its image of {width}x{height}: {why}"
    return None


def _odd_camera(K: Array, height: int, width: int) -> str | None:
    if not np.isfinite(K).all():
        return "they aren't finite"
    (fx, fy), (cx, cy) = (K[0, 0], K[1, 1]), (K[0, 2], K[1, 2])
    if min(fx, fy) <= 0:
        return f"focal lengths of {fx:g} and {fy:g} pixels"
    if not (0 <= cx <= width and 0 <= cy <= height):
        return f"the principal point ({cx:g}, {cy:g}) is outside"
    half = np.degrees(np.arctan(np.array([width / fx, height / fy]) / 2))
    if half.min() < _HALF_VIEW_DEG[0] or half.max() > _HALF_VIEW_DEG[1]:
        return f"it would show {2 * half[0]:.3g} by {2 * half[1]:.3g} degrees"
    return None if _ASPECT[0] < fx / fy < _ASPECT[1] else f"focal lengths of {fx:g} and {fy:g} pixels"


def _poses(reader: Reader, samples: Sequence[Sample]) -> str | None:
    """Poses that are no rigid motions, or in another unit."""
    posed = [sample for sample in samples if "relative" in sample]
    for sample in posed:
        motions = np.asarray(sample["relative"], dtype=np.float64)
        if not np.isfinite(motions).all():
            return f"the relative pose of {sample['id']} isn't finite"
        if not is_rigid(motions).all():
            return f"the relative pose of {sample['id']} isn't a rigid motion (rotation, translation, last row 0 0 0 1)"
    apart = [np.linalg.norm(np.asarray(sample["relative"])[..., :3, 3], axis=-1) for sample in posed]
    median = float(np.median(np.concatenate([np.ravel(one) for one in apart]))) if apart else 0.0
    if median <= _FARTHEST_M:
        return None
    return f"the cameras of {_ids(posed)} are {median:.4g} m apart in the median{unit_of(median, (0, _FARTHEST_M))}"


def _same_view(reader: Reader, samples: Sequence[Sample]) -> str | None:
    """Pairs that show one image twice."""
    pairs = [sample["pair"] for sample in samples if "pair" in sample]
    if pairs and all(np.array_equal(pair.image(1), pair.image(2)) for pair in pairs):
        return (
            f"both views of all pairs looked at, such as {pairs[0].name(1)} and {pairs[0].name(2)}, are the same image"
        )
    return None


Look = Callable[["Reader", Sequence[Sample]], "str | None"]
_LOOKS: tuple[Look, ...] = (_known, _matching, _medians, _varied, _blank, _cameras, _poses, _same_view)
