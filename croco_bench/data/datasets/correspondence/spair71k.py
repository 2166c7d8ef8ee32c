"""SPair-71k (Min et al. 2019): keypoints of two objects of one class.

Samples: `image1`, `image2` (H, W, 3) uint8 RGB; `keypoints1`, `keypoints2` (K, 2) float64, pixels (x, y) that correspond;
`box2` (4,) float64, the object's box in image 2 as left, top, right, bottom; `difficulty`, the change of viewpoint from 0 (easy)
to 2 (hard); `scene`, the class; `id`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from croco_bench.data.checks.run_check import Finding, run_check
from croco_bench.data.folders import is_miniature, size_of_release
from croco_bench.data.formats.arrays import read_small
from croco_bench.data.formats.images import read_rgb
from croco_bench.data.formats.layout import base_of
from croco_bench.data.splitting import spread_indices
from croco_bench.errors import DataError
from croco_bench.files import fingerprint, parse_json
from croco_bench.types import Array, Sample

Split = Literal["train", "select", "test"]
LINK = "https://cvlab.postech.ac.kr/research/SPair-71k"
ARCHIVES = ("SPair-71k",)
# The layout's names of the splits, and their pairs in the release.
FILES: dict[Split, str] = {"train": "trn", "select": "val", "test": "test"}
PAIRS: dict[Split, int] = {"train": 53_340, "select": 5_384, "test": 12_234}
CLASSES = 18
# Of one pair, in the release.
MOST_KEYPOINTS = 30
_LOOKED_AT = 200
_DIFFICULTIES = 3


class SPairReader:
    """The pairs that `Layout/large` lists: a `croco_bench.contracts.Reader`. Opening it reads this list alone.

    Raises:
        DataError: the list is missing, empty, or holds something else.
    """

    dataset = "spair71k"
    split: str

    def __init__(self, root: Path, split: Split) -> None:
        self.split, self.miniature = split, is_miniature(root)
        self._base = base_of(root, ARCHIVES, "PairAnnotation", LINK)
        listing = self._base / "Layout" / "large" / f"{FILES[split]}.txt"
        self._text = read_small(listing)
        self._names = [line.strip() for line in self._text.decode("utf-8", "replace").splitlines() if line.strip()]
        if not self._names:
            raise DataError(f"{listing} lists no pairs", f"unpack {LINK} again")
        self._parts = [_parts_of(name, listing) for name in self._names]
        self._annotations = self._base / "PairAnnotation" / FILES[split]
        self.available = size_of_release(root, len(self), PAIRS[split])

    def __len__(self) -> int:
        return len(self._names)

    @property
    def groups(self) -> Sequence[str]:
        """The class of each pair."""
        return [category for _, _, category in self._parts]

    def __getitem__(self, index: int) -> Sample:
        one, two, category = self._parts[index]
        path = self._annotations / f"{self._names[index]}.json"
        images = self._base / "JPEGImages" / category
        return {
            "image1": read_rgb(images / f"{one}.jpg"),
            "image2": read_rgb(images / f"{two}.jpg"),
            **read_annotation(path),
            "scene": category,
            "id": self._names[index],
        }

    def missing(self) -> list[Path]:
        """Files that the list names and that aren't there."""
        wanted = dict.fromkeys(
            path
            for name, (one, two, category) in zip(self._names, self._parts, strict=True)
            for path in (
                self._annotations / f"{name}.json",
                self._base / "JPEGImages" / category / f"{one}.jpg",
                self._base / "JPEGImages" / category / f"{two}.jpg",
            )
        )
        return [path for path in wanted if not path.is_file()]

    def fingerprint(self) -> str:
        """Hash of the list."""
        return fingerprint(f"{self.dataset}:{self.split}", self._text)


def _parts_of(name: str, listing: Path) -> tuple[str, str, str]:
    """Image 1, image 2 and class of a name such as `000001-2008_000585-2008_002221:aeroplane`."""
    numbered, _, category = name.partition(":")
    parts = numbered.split("-")
    if len(parts) != 3 or not category or "/" in name or ".." in name:
        raise DataError(
            f"{listing}: {name[:60]!r} names no pair", "expected number-image-image:class; unpack the archive again"
        )
    return parts[1], parts[2], category


def read_annotation(path: Path) -> Sample:
    """Keypoints, box and difficulty of a pair.

    Raises:
        DataError: the file is missing or damaged, or its keypoints don't correspond.
    """
    advice = f"unpack {LINK} again"
    try:
        content = parse_json(read_small(path))
        one, two = (np.array(content[key], dtype=np.float64).reshape(-1, 2) for key in ("src_kps", "trg_kps"))
        box = np.array(content["trg_bndbox"], dtype=np.float64).reshape(4)
        difficulty = int(content["viewpoint_variation"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no annotation of a pair ({type(error).__name__}: {error})", advice) from error
    if not 0 < len(one) == len(two) <= MOST_KEYPOINTS or not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise DataError(
            f"{path} should have 1 to {MOST_KEYPOINTS} finite keypoints in both images, but has {len(one)} and {len(two)}",
            advice,
        )
    if not (np.isfinite(box).all() and box[2] > box[0] and box[3] > box[1]) or difficulty not in range(_DIFFICULTIES):
        raise DataError(f"{path}: box {box.tolist()} or viewpoint_variation {difficulty} can't be", advice)
    return {"keypoints1": one, "keypoints2": two, "box2": box, "difficulty": difficulty}


def check(root: Path) -> list[Finding]:
    """Findings on the lists, on the presence of all files that they name, and on some pairs of each split."""
    return run_check(root, *(lambda folder, split=split: _look(folder, split) for split in PAIRS))


def _look(root: Path, split: Split) -> Iterator[Finding]:
    reader = SPairReader(root, split)
    classes = len(set(reader.groups))
    as_released = reader.miniature or (len(reader) == PAIRS[split] and classes == CLASSES)
    what = f"{FILES[split]}: {len(reader)} pairs of {classes} classes"
    yield Finding.count(as_released, what, f"the release has {PAIRS[split]} of {CLASSES}", reader)
    missing = reader.missing()
    what = f"{FILES[split]}: {len(missing)} files are missing" + (f", such as {missing[0]}" if missing else "")
    yield Finding(not missing, what, f"unpack {LINK} again")
    if not missing:
        outside = sum(_is_outside(reader[index]) for index in spread_indices(len(reader), _LOOKED_AT))
        what = f"{FILES[split]}: {outside} of {min(_LOOKED_AT, len(reader))} pairs have keypoints outside their images"
        yield Finding(not outside, what, "are images of another size in their place?", stops=False)


def _is_outside(sample: Sample) -> bool:
    """Whether a keypoint lies outside its image."""
    return any(_beyond(sample[f"keypoints{i}"], sample[f"image{i}"]) for i in (1, 2))


def _beyond(points: Array, image: Array) -> bool:
    height, width = image.shape[:2]
    return bool(((points < -1) | (points > (width, height))).any())
