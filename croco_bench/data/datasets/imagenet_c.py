"""ImageNet-C (Hendrycks 2019): ImageNet's validation images under 15 corruptions of five severities.

Samples: those of ImageNet, with `corruption` (index in `CORRUPTIONS`) and `severity` (1 to 5), int.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from croco_bench.data.checks.run_check import Finding, run_check
from croco_bench.data.datasets.imagenet_files.archives import CLASSES
from croco_bench.data.datasets.imagenet_files.class_folders import same_classes
from croco_bench.data.datasets.imagenet_files.flat import images_in
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.images import read_pillow
from croco_bench.data.formats.layout import is_litter, size_of
from croco_bench.data.splitting import spread_indices
from croco_bench.errors import DataError
from croco_bench.files import fingerprint
from croco_bench.types import Sample

LINK = "https://zenodo.org/records/2235448"
CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
SEVERITIES = (1, 2, 3, 4, 5)
# Images of a corruption and severity.
IMAGES = 50_000
_IMAGES_LOOKED_AT = 20


@dataclass(frozen=True)
class _Item:
    path: Path
    name: str
    label: int
    corruption: int
    severity: int
    size: int


class ImageNetCReader:
    """Images of all corruptions that are there, in the order of `CORRUPTIONS`, then by severity, class and name."""

    dataset, split = "imagenet_c", "corrupted"

    def __init__(self, root: Path, classes: Sequence[str], items: Sequence[_Item]) -> None:
        self.classes, self._items = list(classes), list(items)
        self.corruptions = tuple(CORRUPTIONS[index] for index in sorted({item.corruption for item in items}))
        self.miniature = is_miniature(root)
        whole = len(CORRUPTIONS) * len(SEVERITIES) * IMAGES
        self.available = len(items) if self.miniature or len(self.classes) != CLASSES else max(whole, len(items))
        self._fingerprint = fingerprint("\n".join([*self.classes, *(f"{item.name}:{item.size}" for item in items)]))

    def __len__(self) -> int:
        return len(self._items)

    @property
    def groups(self) -> Sequence[str]:
        """Name of the undistorted image, which all its corruptions share."""
        return [item.name.split("/", 2)[2] for item in self._items]

    def fingerprint(self) -> str:
        """Hash of the names and sizes of all files."""
        return self._fingerprint

    def __getitem__(self, index: int) -> Sample:
        item = self._items[index]
        image = np.asarray(read_pillow(item.path).convert("RGB"))
        where = {"corruption": item.corruption, "severity": item.severity}
        return {"image": image, "label": item.label, "id": item.name, **where}


def open_corrupted(root: Path, classes: Sequence[str] | None = None) -> ImageNetCReader:
    """`<corruption>/<severity>/<wnid>/*.JPEG`, also below the folders of the archives (`noise/`, `blur/`, …).

    Args:
        root: the folder of the dataset.
        classes: names of the classes in the order of the labels, as in ImageNet's folder; None: the folders of the first
            corruption, sorted.

    Raises:
        DataError: no corruption is there, or one that is there lacks a severity, a class or images.
    """
    found = [(index, folder) for index, name in enumerate(CORRUPTIONS) for folder in _folders(root, name)[:1]]
    if not found:
        raise DataError(f"{root} has no folder of a corruption, such as {CORRUPTIONS[0]}/1/", f"get it from {LINK}")
    there = _class_folders(found[0][1] / "1")
    names = there if classes is None else list(classes)
    if set(names) != set(there) and (same := same_classes(root, names, there)):  # words or numbers in ImageNet's folder
        names = [same[name] for name in names]
    items = [
        item
        for index, folder in found
        for severity in SEVERITIES
        for item in _items(folder / str(severity), names, index, severity)
    ]
    return ImageNetCReader(root, names, items)


def _folders(root: Path, corruption: str) -> list[Path]:
    """Folders of a corruption; the first is the one to read."""
    below = sorted(root.glob(f"*/{corruption}")) if root.is_dir() else []
    return [folder for folder in (root / corruption, *below) if folder.is_dir()]


def _class_folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError(f"{folder} is missing", f"unpack it from {LINK}")
    return sorted(item.name for item in folder.iterdir() if item.is_dir() and not is_litter(item.name))


def _items(folder: Path, classes: Sequence[str], corruption: int, severity: int) -> list[_Item]:
    there = _class_folders(folder)
    if lacking := sorted(set(classes) - set(there)):
        raise DataError(f"{folder} lacks the class folder: {lacking[0]}", f"unpack the rest of {LINK}")
    if beyond := sorted(set(there) - set(classes)):
        raise DataError(
            f"{folder} has a class folder too many: {beyond[0]}",
            "all corruptions and the images to train on should be of the same classes: move the others away",
        )
    prefix = f"{CORRUPTIONS[corruption]}/{severity}"
    found = []
    for label, name in enumerate(classes):
        images = images_in(folder / name)
        if not images:
            raise DataError(f"{folder / name} holds no image", f"unpack it from {LINK}")
        found += [
            _Item(Path(one.path), f"{prefix}/{name}/{one.name}", label, corruption, severity, size_of(one))
            for one in images
        ]
    return found


def check(root: Path) -> list[Finding]:
    """Findings on the corruptions that are there, the number of images, and the sizes of a few."""
    return run_check(root, _look_at)


def _look_at(root: Path) -> Iterator[Finding]:
    reader = open_corrupted(root)
    lacking = [name for name in CORRUPTIONS if name not in reader.corruptions]
    missing = f" (not {', '.join(lacking)})" if lacking else ""
    yield Finding.count(
        reader.miniature or not lacking,
        f"{len(reader.corruptions)} of {len(CORRUPTIONS)} corruptions are there{missing}",
        f"means are over those that are there; the others are at {LINK}",
    )
    each = IMAGES * len(SEVERITIES) * len(reader.corruptions)
    yield Finding.count(
        reader.miniature or len(reader.classes) != CLASSES or len(reader) == each,
        f"{len(reader)} images of {len(reader.classes)} classes",
        f"there should be {each} ({LINK})",
        reader,
    )
    sides = [min(reader[i]["image"].shape[:2]) for i in spread_indices(len(reader), _IMAGES_LOOKED_AT)]
    yield Finding(True, f"shorter sides of {len(sides)} images are {min(sides)} to {max(sides)} pixels")
