"""Taskonomy's eight regression domains, in MultiMAE's folders by domain or in the released folders by building.

Samples: `image` (H, W, 3) uint8 RGB, `target` (H, W, C) float32 as MultiMAE decodes it, `valid` (H, W) bool, `id` str.
Pixels are valid where `mask_valid` is 255. A view without a mask is an error: targets are noise in holes of the scan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from croco_bench.data.checks.run_check import Finding, run_check
from croco_bench.data.datasets.taskonomy_lists import LINK, LISTS, KnownLayout, Row, Split, read_list
from croco_bench.data.folders import is_miniature, size_of_release
from croco_bench.data.formats.images import read_any, read_rgb
from croco_bench.data.splitting import spread_indices
from croco_bench.errors import DataError, UsageError, unknown
from croco_bench.files import fingerprint
from croco_bench.types import Array, Sample

Layout = Literal["auto", "tasks", "buildings"]
# Rows of MultiMAE's lists; the length of its training list isn't known here, of which it uses 800.
VIEWS: dict[Split, int | None] = {"train": None, "val": 35_774, "test": 54_514}
_VIEWS_LOOKED_AT = 5
# Depth and invalid pixels of one view share a file name.
_MASK, _MASK_NAME = "mask_valid", "depth_zbuffer"
_IMAGE = "rgb"
# The fingerprint includes the file sizes of this many rows, spread over the split.
_ROWS_WITH_SIZES = 16


@dataclass(frozen=True)
class Domain:
    """One target: its files hold `stored` channels of `bits`, of which the first `channels` are used.

    A number x becomes min(x / (2^bits - 1), limit) / limit. `folder` is the name of the folder and of the files.
    """

    folder: str
    channels: int
    bits: Literal[8, 16]
    limit: float = 1.0
    stored: int = 1

    def decode(self, numbers: Array) -> Array:
        """File content (H, W) or (H, W, stored) -> target (H, W, channels) float32 in [0, 1]."""
        whole = numbers.reshape(*numbers.shape[:2], -1)[:, :, : self.channels]
        shares: Array = np.minimum(whole / np.float64(2**self.bits - 1), self.limit) / self.limit
        return shares.astype(np.float32)


# The third channel of principal curvature has no meaning; depth is in 1/512 m, clipped at 8000 of them (15.6 m).
DOMAINS: dict[str, Domain] = {
    "curvature": Domain("principal_curvature", 2, 8, stored=3),
    "depth": Domain("depth_zbuffer", 1, 16, limit=8000 / 65535),
    "edges": Domain("edge_texture", 1, 16, limit=0.25),
    "keypoints2d": Domain("keypoints2d", 1, 16),
    "keypoints3d": Domain("keypoints3d", 1, 16),
    "normals": Domain("normal", 3, 8, stored=3),
    "occlusion": Domain("edge_occlusion", 1, 16),
    "reshading": Domain("reshading", 1, 8),
}


class TaskonomyReader:
    """Views of one split with one domain's targets."""

    dataset = "taskonomy"

    def __init__(
        self, root: Path, split: Split, domain: str, rows: Sequence[Row], layout: KnownLayout, available: int
    ) -> None:
        self._root, self._rows, self._domain, self._by_task = root, list(rows), DOMAINS[domain], layout == "tasks"
        self.split: str = split
        self.available, self.miniature = available, is_miniature(root)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def groups(self) -> Sequence[str]:
        """The buildings."""
        return [building for building, _, _ in self._rows]

    def fingerprint(self) -> str:
        """Hash of the rows, the domain, and the sizes of a few files; equal in both layouts."""
        indices = spread_indices(len(self), _ROWS_WITH_SIZES)
        paths = [self.path(i, folder) for i in indices for folder in (_IMAGE, self._domain.folder)]
        sizes = [str(path.stat().st_size if path.is_file() else "absent") for path in paths]
        text = "\n".join([self.split, self._domain.folder, *sizes, *(f"{a},{b},{c}" for a, b, c in self._rows)])
        return fingerprint(text)

    def path(self, index: int, folder: str, name: str | None = None) -> Path:
        """The file of row `index` in `folder`; its name ends with `name`, or by default with the folder's name."""
        building, point, view = self._rows[index]
        base = self._root / folder / building if self._by_task else self._root / building / folder
        return base / f"point_{point}_view_{view}_domain_{name or folder}.png"

    def check_files(self) -> None:
        """Fails early if any file of the split is missing; lists folders rather than asking for every file.

        Raises:
            DataError: some are.
        """
        listed: dict[Path, set[str]] = {}
        absent: list[Path] = []
        for folder, name in ((_IMAGE, None), (self._domain.folder, None), (_MASK, _MASK_NAME)):
            for index in range(len(self)):
                path = self.path(index, folder, name)
                parent = path.parent
                if parent not in listed:
                    listed[parent] = {entry.name for entry in parent.iterdir()} if parent.is_dir() else set()
                if path.name not in listed[parent]:
                    absent.append(path)
        if absent:
            raise DataError(
                f"there is no {absent[0]}, and {len(absent)} of {3 * len(self)} files of the {self.split} split are absent",
                f"get them from {LINK}, or take lists of the views that are there",
            )

    def __getitem__(self, index: int) -> Sample:
        path = self.path(index, self._domain.folder)
        image, target = read_rgb(self.path(index, _IMAGE)), self._domain.decode(_read(path, self._domain))
        mask = self.path(index, _MASK, _MASK_NAME)
        valid = _read_mask(mask)
        for other, what in ((path, target), (mask, valid)):
            if what.shape[:2] != image.shape[:2]:
                raise DataError(
                    f"{other} is {what.shape[0]}x{what.shape[1]}, but its image is {image.shape[0]}x{image.shape[1]}",
                    "get both again",
                )
        building, point, view = self._rows[index]
        return {"image": image, "target": target, "valid": valid, "id": f"{building}/point_{point}_view_{view}"}


def _read(path: Path, domain: Domain) -> Array:
    """File content in RGB order, of the domain's depth."""
    numbers = read_any(path)
    stored = 1 if numbers.ndim == 2 else numbers.shape[2]
    if numbers.dtype.itemsize * 8 != domain.bits or stored < domain.stored:
        raise DataError(
            f"{path} should have {domain.bits} bits and {domain.stored} channel(s), but has "
            f"{numbers.dtype.itemsize * 8} and {stored}",
            f"it isn't Taskonomy's {domain.folder} image",
        )
    return numbers


def _read_mask(path: Path) -> Array:
    """Valid pixels (H, W)."""
    numbers = read_any(path)
    if numbers.dtype != np.uint8:
        raise DataError(
            f"{path} should have 8 bits, 255 where valid, but is {numbers.dtype}", "it isn't Taskonomy's mask"
        )
    valid: Array = numbers.reshape(*numbers.shape[:2], -1)[:, :, 0] == 255
    return valid


def open_split(
    root: Path, split: Split, *, domain: str, rows: int | None = None, layout: Layout = "auto"
) -> TaskonomyReader:
    """A split with the targets of one domain; the first `rows` rows of its list (MultiMAE's 800 and 200), or all.

    Raises:
        DataError: no list, a list that can't be read, or files that aren't there.
        UsageError: no such domain.
    """
    if domain not in DOMAINS:
        raise unknown("domain", domain, DOMAINS)
    if rows is not None and rows < 1:
        raise UsageError(f"{rows} rows of the {split} list leave nothing to do", "give at least 1")
    known_layout = layout_of(root) if layout == "auto" else layout
    listed = read_list(root, split, known_layout)
    available = size_of_release(root, len(listed), VIEWS[split])
    reader = TaskonomyReader(root, split, domain, listed[:rows], known_layout, available)
    reader.check_files()
    return reader


def layout_of(root: Path) -> KnownLayout:
    """The layout under `root`: domains that hold buildings ("tasks"), or buildings that hold domains.

    Raises:
        DataError: neither.
    """
    if (root / "rgb").is_dir():
        return "tasks"
    if any(root.glob("*/rgb")):
        return "buildings"
    tars = sorted(root.glob("*.tar"))
    if tars:
        raise DataError(
            f"{root} holds archives such as {tars[0].name}",
            f"unpack each <building>_<domain>.tar into {root}/<building>/<domain>/",
        )
    raise DataError(f"{root} has neither rgb/<building>/ nor <building>/rgb/", f"get Taskonomy from {LINK}")


def block_dilated(valid: Array) -> Array:
    """Valid pixels (H, W) without the blocks of 4x4 (smaller at the border) that have an invalid one, as in MultiMAE."""
    height, width = valid.shape
    tall, wide = -(-height // 4) * 4, -(-width // 4) * 4
    padded = np.pad(valid, ((0, tall - height), (0, wide - width)), constant_values=True)
    blocks = padded.reshape(tall // 4, 4, wide // 4, 4).all(axis=(1, 3))
    kept: Array = blocks.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]
    return kept


def softened(target: Array) -> Array:
    """(H, W, C) filtered by a 3x3 Gaussian of sigma 1, as MultiMAE softens occlusion edges after resizing."""
    blurred: Array = cv2.GaussianBlur(target, (3, 3), 1.0, borderType=cv2.BORDER_REFLECT_101)
    return blurred.reshape(target.shape)


def check(root: Path) -> list[Finding]:
    """Findings on the lists, and on a few views of every split and domain."""
    return run_check(root, _look)


def _look(root: Path) -> Iterator[Finding]:
    layout = layout_of(root)
    yield Finding(
        True, f"layout: {'domains that hold buildings' if layout == 'tasks' else 'buildings that hold domains'}"
    )
    buildings: dict[Split, set[str]] = {}
    for split, expected in VIEWS.items():
        reader = open_split(root, split, domain="depth", layout=layout)
        buildings[split] = set(reader.groups)
        yield Finding(
            reader.miniature or expected is None or len(reader) == expected,
            f"{split}: {len(reader)} views of {len(buildings[split])} buildings",
            f"the published protocol has {expected}; take its list from {LISTS}",
        )
        for domain in DOMAINS:
            yield _look_at(open_split(root, split, domain=domain), f"{split} {domain}")
    shared = buildings["test"] & (buildings["train"] | buildings["val"])
    yield Finding(
        not shared,
        f"{len(shared)} buildings of the test list are in another list",
        f"the splits should be of different buildings; take the lists from {LISTS}",
    )


def _look_at(reader: TaskonomyReader, title: str) -> Finding:
    samples = [reader[i] for i in spread_indices(len(reader), _VIEWS_LOOKED_AT)]
    known = np.concatenate([sample["target"][sample["valid"]].ravel() for sample in samples])
    share = float(np.mean([sample["valid"].mean() for sample in samples]))
    varied = bool(known.size) and float(np.ptp(known)) > 0
    return Finding(
        varied and share > 0.2,
        f"{title}: {share:.0%} valid, mean {known.mean() if known.size else float('nan'):.3f}",
        "expected more than 20 % valid pixels and a target that varies; get the files again",
    )
