"""Samples of any dataset as pictures: images, targets in colors, and which pixels count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from croco_bench.data.transforms.colormaps import colored, unit_range
from croco_bench.types import Array, Sample

Picture = NDArray[np.uint8]
_UNLABELED = 255


def panels_of(sample: Sample) -> dict[str, Picture]:
    """Titled pictures (H, W, 3) uint8 of a raw sample, for the keys that `croco_bench.contracts.Reader` names."""
    return {title: picture for title, picture in _panels(sample) if picture.size}


def caption_of(sample: Sample) -> str:
    """The id, the class of a whole image, and the motion between two views."""
    words = [str(sample.get("id", ""))]
    if "label" in sample and np.ndim(sample["label"]) == 0:
        words.append(f"class {int(sample['label'])}")
    if "relative" in sample:
        motion = _first(np.asarray(sample["relative"]), 2)
        turn = np.degrees(np.arccos(np.clip((np.trace(motion[:3, :3]) - 1) / 2, -1, 1)))
        words.append(f"{np.linalg.norm(motion[:3, 3]):.2f} m, {turn:.0f} deg")
    return "  ".join(word for word in words if word)


def _panels(sample: Sample) -> Iterator[tuple[str, Picture]]:
    yield from _images(sample)
    valid = sample.get("valid")
    for key, values in sample.items():
        if key in ("depth_m", "disparity_px", "depth"):
            yield _with_range(key.replace("_", ", "), values, valid, cv2.COLORMAP_TURBO)
        elif key == "target":
            yield _target("target", values, valid)
        elif key == "normals":
            yield _target(key, (values + 1) / 2, valid)
        elif key == "flow_px":
            yield "flow, right red, down green", _flow_colors(values, valid)
        elif key in ("label", "semseg") and np.ndim(values) == 2:
            yield f"classes {', '.join(map(str, _largest(values)))}", _class_colors(values)
    for key in ("valid", "occluded", "invalid"):
        if key in sample:
            yield f"{key}: {np.mean(sample[key]):.0%}", _gray(255 * np.asarray(sample[key], dtype=np.uint8))


def _images(sample: Sample) -> Iterator[tuple[str, Picture]]:
    """The images of a sample, whatever it calls them."""
    for key in ("image", "image1", "image2"):
        if key in sample:
            yield key, _first(sample[key], 3)
    if "pair" in sample:
        yield from ((f"image{number}", sample["pair"].image(number)) for number in (1, 2))
    for name, images in sample.get("passes", {}).items():
        yield from ((f"{name}, image{number}", image) for number, image in enumerate(images, start=1))


def _first(values: Array, dimensions: int) -> Array:
    """The array, or the first of a stack of such."""
    return values if values.ndim <= dimensions else _first(values[0], dimensions)


def _with_range(title: str, values: Array, valid: Array | None, colormap: int) -> tuple[str, Picture]:
    known = np.ones(values.shape, dtype=bool) if valid is None else valid
    span = unit_range(values[known])
    return f"{title}: {span[0]:.3g} to {span[1]:.3g}", colored(values, span, colormap, known)


def _target(title: str, values: Array, valid: Array | None) -> tuple[str, Picture]:
    """One channel in false colors; more as red, green and blue."""
    if values.shape[2] == 1:
        return _with_range(title, values[:, :, 0], valid, cv2.COLORMAP_VIRIDIS)
    shown = np.zeros((*values.shape[:2], 3))
    shown[:, :, : values.shape[2]] = np.clip(values, 0, 1)
    return title, (255 * (shown if valid is None else np.where(valid[:, :, None], shown, 0.4))).astype(np.uint8)


def _flow_colors(flow: Array, valid: Array | None) -> Picture:
    """Right more red, down more green, on one scale; unknown pixels are black."""
    known = np.ones(flow.shape[:2], dtype=bool) if valid is None else valid
    longest = max(float(np.percentile(np.abs(flow[known]), 99)), 1e-6) if known.any() else 1.0
    level = np.clip(flow / longest, -1, 1) * 127 + 128
    picture = np.dstack([level, np.full(flow.shape[:2], 128.0)])
    return np.where(known[:, :, None], picture, 0).astype(np.uint8)


def _class_colors(label: Array) -> Picture:
    """A fixed color for each class; unlabelled pixels are gray."""
    colors = np.random.default_rng(0).integers(40, 256, (256, 3), dtype=np.uint8)
    colors[_UNLABELED] = 96
    picture: Picture = colors[np.asarray(label, dtype=np.uint8)]
    return picture


def _largest(label: Array) -> list[int]:
    """The three classes with the largest areas."""
    numbers, counts = np.unique(label[label != _UNLABELED], return_counts=True)
    return [int(number) for number in numbers[np.argsort(-counts)[:3]]]


def _gray(values: Any) -> Picture:
    return np.repeat(values[:, :, None], 3, axis=2)
