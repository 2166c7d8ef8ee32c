"""Writes image pairs as square crops in CroCo v2's layout: `listing.txt`, `<stem>_1.jpg` and `<stem>_2.jpg`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from pathlib import Path

import cv2

from croco_bench.data.formats.images import read_rgb
from croco_bench.errors import DataError
from croco_bench.files import atomic
from croco_bench.types import Array

_PAIRS_PER_FOLDER, _MAX_LEVELS = 500, 5
_CHUNK = 64
_QUALITY = 95


@dataclass(frozen=True)
class _CropJob:
    """Some pairs for one worker: (stem, image 1, image 2), images relative to `root`."""

    root: Path
    out: Path
    side: int
    pairs: Sequence[tuple[str, str, str]]


def write_crops(
    root: Path,
    pairs: Sequence[tuple[str, str]],
    out: Path,
    side: int,
    pool: Executor,
    advance: Callable[[int], None],
) -> None:
    """Writes the central squares of image pairs, resized; existing files are kept.

    Args:
        root: folder to which the paths in `pairs` are relative.
        pairs: image paths.
        out: folder of the new training set.
        side: side of the written images in pixels.
        pool: runs the jobs.
        advance: called with the number of pairs written.

    Raises:
        DataError: an image can't be read, or a crop can't be written.
    """
    stems = stems_of(len(pairs))
    named = [(stem, *pair) for stem, pair in zip(stems, pairs, strict=True)]
    jobs = [_CropJob(root, out, side, named[first : first + _CHUNK]) for first in range(0, len(named), _CHUNK)]
    for done in as_completed([pool.submit(_write_some, job) for job in jobs]):
        advance(done.result())
    with atomic(out / "listing.txt") as temporary:
        temporary.write_text("".join(f"{line}\n" for line in ("# pair_path", *stems)), encoding="utf-8")


def stems_of(count: int) -> list[str]:
    """Hexadecimal paths of `count` pairs: about 500 pairs per folder, up to five levels, the index as the file name."""
    levels = next((n for n in range(1, _MAX_LEVELS) if _PAIRS_PER_FOLDER**n >= count), _MAX_LEVELS)
    base = max(round(count ** (1 / levels)), 1)
    while base**levels < count:
        base += 1
    stems = []
    for index in range(count):
        folders = [index // base**level % base for level in range(levels - 1, 0, -1)]
        stems.append("/".join(f"{number:x}" for number in (*folders, index)))
    return stems


def _write_some(job: _CropJob) -> int:
    """Writes the crops of a job; returns the number of pairs."""
    for stem, *images in job.pairs:
        for number, image in enumerate(images, start=1):
            target = job.out / f"{stem}_{number}.jpg"
            if not _is_whole(target):
                _write_square(job.root / image, target, job.side)
    return len(job.pairs)


def _is_whole(crop: Path) -> bool:
    """Whether a crop of an earlier call is there, up to its end marker: a power loss can leave a part of it."""
    try:
        with crop.open("rb") as stream:
            stream.seek(-2, os.SEEK_END)
            return stream.read() == b"\xff\xd9"
    except OSError:
        return False


def middle_square(picture: Array) -> Array:
    """The largest central square of an image (H, W, ...)."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return picture[top : top + side, left : left + side]


def _write_square(image: Path, target: Path, side: int) -> None:
    square = middle_square(read_rgb(image))
    way = cv2.INTER_AREA if len(square) > side else cv2.INTER_CUBIC
    resized = cv2.resize(square, (side, side), interpolation=way)
    content = cv2.imencode(".jpg", resized[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(content.tobytes())
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except OSError as error:
        raise DataError(f"{target} can't be written ({error.strerror or error})", "free space and go on") from error
