"""ADE20K's scene parsing benchmark of 150 classes (Zhou et al. 2017), in its official layout.

Samples: `image` (H, W, 3) uint8 RGB, `label` (H, W) uint8 with classes 0 to 149 and 255 where unlabelled, `id` str.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from croco_bench.data.checks.run_check import Finding, run_check
from croco_bench.data.folders import is_miniature, size_of_release
from croco_bench.data.formats.arrays import unreadable
from croco_bench.data.formats.images import read_gray, read_rgb
from croco_bench.data.formats.layout import is_litter, kinds_of
from croco_bench.data.splitting import spread_indices
from croco_bench.errors import DataError
from croco_bench.files import fingerprint
from croco_bench.types import Sample

Split = Literal["train", "test"]
FOLDER = "ADEChallengeData2016"
LINK = "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip"
UNLABELED = 255
# The layout's names of the splits: there are no labels for its own "testing" images.
PARTS: dict[Split, str] = {"train": "training", "test": "validation"}
IMAGES: dict[Split, int] = {"train": 20_210, "test": 2_000}
_IMAGES_LOOKED_AT = 8

# In the order of objectInfo150.txt, the first of its synonyms; class k of the files (from 1) is NAMES[k - 1].
_NAMES = """
wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door,
table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, armchair,
seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard, chest of drawers,
counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, pool table, pillow,
screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop,
stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light, truck,
tower, chandelier, awning, streetlight, booth, television receiver, airplane, dirt track, apparel, pole, land,
bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt, canopy, washer,
plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step, tank,
trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic
light, tray, ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock, flag
"""
NAMES = tuple(" ".join(_NAMES.split()).split(", "))

# The colours of the benchmark's development kit, as RRGGBB.
_COLORS = """
787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846 08ff33 ff0652 8fff8c
ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff 08ffd6 07ffe0 ffb806 0aff47
ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14 ff0829 ff0599 0633ff eb0cff a09614 00a3ff 8c8c8c fa0a0f 14ff00
1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff 0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300
ff6600 c2ff00 008fff 33ff00 0052ff 00ff29 00ffad 0a00ff adff00 00ff99 ff5c00 ff00ff ff00f5 ff0066 ffad00 ff0014 ffb8b8
001fff 00ff3d 0047ff ff00cc 00ffc2 00ff52 000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff
a3ff00 ffeb00 08b8aa 8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070 5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00
ff00a3 ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 0abed4 d6ff00 00ccff 1400ff ffff00 0099ff 0029ff 00ffcc
2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8 005cff b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff
"""
PALETTE: NDArray[np.uint8] = np.array([list(bytes.fromhex(color)) for color in _COLORS.split()], dtype=np.uint8)


class ADE20KReader:
    """`{images,annotations}/{training,validation}/ADE_*.{jpg,png}`; 0 in a file is unlabelled, k is class k - 1.

    The photographs show independent scenes, so each is a group of its own.
    """

    dataset = "ade20k"

    def __init__(self, root: Path, split: Split) -> None:
        base = base_of(root)
        self._images, self._labels = (base / kind / PARTS[split] for kind in ("images", "annotations"))
        images, labels = _sizes(self._images, ".jpg"), _sizes(self._labels, ".png")
        without = images.keys() ^ labels.keys()
        if without:
            name = min(without)
            lacking = self._labels / f"{name}.png" if name in images else self._images / f"{name}.jpg"
            raise DataError(
                f"there is no {lacking}, and {len(without)} in all are without image or annotation",
                f"unpack the rest of {LINK}, or move the file without a partner away",
            )
        self.split, self.ids = PARTS[split], sorted(images)
        self.miniature, self.available = is_miniature(root), size_of_release(root, len(images), IMAGES[split])
        text = "\n".join([self.split, *(f"{name}:{images[name]}:{labels[name]}" for name in self.ids)])
        self._fingerprint = fingerprint(text)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def groups(self) -> Sequence[str]:
        """The ids."""
        return self.ids

    def fingerprint(self) -> str:
        """Hash of the names and sizes of all files."""
        return self._fingerprint

    def __getitem__(self, index: int) -> Sample:
        name = self.ids[index]
        path = self._labels / f"{name}.png"
        image, numbers = read_rgb(self._images / f"{name}.jpg"), read_gray(path, np.uint8)
        if image.shape[:2] != numbers.shape:
            (height, width), (label_height, label_width) = image.shape[:2], numbers.shape
            raise DataError(
                f"{path} is {label_height}x{label_width}, but its image is {height}x{width}",
                f"one of them was resized or turned: take both from one copy of {LINK}",
            )
        if numbers.max(initial=0) > len(NAMES):
            raise DataError(
                f"{path} has class {numbers.max()}, expected 0 (unlabelled) to {len(NAMES)}",
                f"use the annotations of {LINK}",
            )
        # In uint8, 0 - 1 is 255.
        return {"image": image, "label": numbers - np.uint8(1), "id": name}


def base_of(root: Path) -> Path:
    """The folder with `images` and `annotations`: `root`, or `ADEChallengeData2016` in it.

    Raises:
        DataError: neither is.
    """
    for base in (root / FOLDER, root):
        if (base / "images").is_dir() and (base / "annotations").is_dir():
            return base
    raise DataError(f"{root} holds neither {FOLDER} nor images and annotations", f"unpack {LINK} (923 MB) there")


def _sizes(folder: Path, suffix: str) -> dict[str, int]:
    """Name without suffix -> size in bytes, for the files in a folder with this suffix."""
    try:
        with os.scandir(folder) as entries:
            files = [item for item in entries if item.name.endswith(suffix) and not is_litter(item.name)]
            sizes = {item.name.removesuffix(suffix): item.stat().st_size for item in files}
    except OSError as error:
        raise unreadable(folder, error, f"unpack {LINK} there") from error
    if not sizes:
        raise DataError(f"{folder} holds no {suffix} file{kinds_of(folder)}", f"unpack {LINK} there")
    return sizes


def check(root: Path) -> list[Finding]:
    """Findings on both splits: their images and annotations, and the classes of a few."""
    return run_check(root, lambda folder: (finding for split in IMAGES for finding in _look_at(folder, split)))


def _look_at(root: Path, split: Split) -> Iterator[Finding]:
    reader = ADE20KReader(root, split)
    as_released = reader.miniature or len(reader) == IMAGES[split]
    what = f"{reader.split}: {len(reader)} images and annotations"
    yield Finding.count(as_released, what, f"the release ({LINK}) has {IMAGES[split]}", reader)
    areas = np.zeros(UNLABELED + 1, dtype=np.int64)
    indices = spread_indices(len(reader), _IMAGES_LOOKED_AT)
    for i in indices:
        sample = reader[i]
        areas += np.bincount(sample["label"].ravel(), minlength=len(areas))
        if sample["image"].std() < 1:
            yield Finding(False, f"{sample['id']} is a blank image", "look at it", stops=False)
    classes, labeled = areas[: len(NAMES)], 1 - areas[UNLABELED] / areas.sum()
    common = ", ".join(NAMES[k] for k in classes.argsort()[::-1][:3] if classes[k])
    yield Finding(
        bool(labeled > 0.5),
        f"{reader.split}: {labeled:.0%} of {len(indices)} annotations labelled, mostly {common or 'nothing'}",
        "annotations should count classes from 1 and label nearly every pixel",
        stops=False,
    )
