"""NAVI (Jampani et al. 2023): objects photographed from all sides, in one place (`multiview`) or in many (`wild_set`).

Samples: `image1`, `image2` (H, W, 3) uint8 RGB, upright; `depth1_m`, `depth2_m` (H, W) float32 along the optical axis, NaN
beside the object; `K1`, `K2` (3, 3) float64 in pixels, centers at integers; `relative` (4, 4) float64, which maps points of
camera 2 into camera 1, in metres, if the object stays where it is; `scene`, the object; `id`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from croco_bench.data.checks.run_check import Finding, run_check
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.arrays import read_small
from croco_bench.data.formats.images import read_gray, read_rgb
from croco_bench.data.formats.layout import is_litter
from croco_bench.data.splitting import spread_indices
from croco_bench.errors import AbsentError, DataError
from croco_bench.files import fingerprint, parse_json
from croco_bench.seeding import make_rng
from croco_bench.types import Array, Sample, Size

Split = Literal["train", "select", "test"]
LINK = "https://github.com/google/navi"
ARCHIVES = ("navi_v1.5", "navi_v1", "navi_v1.0")
# Objects of the release that have a collection of each kind.
OBJECTS = 35
# Of a file's numbers and of depth in millimetres, as NAVI's `decode_depth` says.
_DISPARITY_MM = 65535 * 10
# The last tenth of an object's multiview collections selects, as in probe3d; cameras of a pair are turned by at most this.
_TRAIN_SHARE, _MOST_DEG = 0.9, 120.0
# Smaller copies that probe3d's script writes beside the files.
_SMALL = "downsampled_"
_LOOKED_AT = 4
# EXIF's orientation -> what makes the stored image (H, W, 3) upright.
_TURNS: dict[int, Callable[[Array], Array]] = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
_UNPACK = f"unpack {LINK} again"


@dataclass(frozen=True)
class NaviView:
    """A photograph of an object.

    Attributes:
        folder: of the collection, relative to the dataset's.
        name: of the image and of the depth map, without ending.
        focal_px: focal length for images of `size`.
        size: (H, W) of the release's image.
        object2camera: (4, 4), metres.
    """

    folder: str
    name: str
    focal_px: float
    size: Size
    object2camera: Array

    def intrinsics(self, size: Size) -> Array:
        """(3, 3) for an image of `size`, the principal point in its middle."""
        focal = self.focal_px * min(size) / min(self.size)
        return np.array([[focal, 0, (size[1] - 1) / 2], [0, focal, (size[0] - 1) / 2], [0, 0, 1]])


class NaviReader:
    """Each view with another one of its collection, turned by at most 120 degrees: a `croco_bench.contracts.Reader`.

    `test` are the collections in many places, `train` and `select` those in one place; the latter is the last tenth of an
    object's, as in probe3d. Opening it reads annotations, but no image.

    Raises:
        DataError: there is no object with both kinds of collections, or an annotation is damaged.
    """

    dataset = "navi"
    split: str

    def __init__(self, root: Path, split: Split) -> None:
        self.split, self.miniature = split, is_miniature(root)
        self._base, objects = find_objects(root)
        self._pairs: list[tuple[str, NaviView, NaviView]] = []
        for name, collections in objects.items():
            for folder in _of_split(collections, split):
                views = read_annotations(self._base, f"{name}/{folder}")
                self._pairs += [(name, *pair) for pair in _paired(views)]
        if not self._pairs:
            raise DataError(f"{self._base} holds no two views for the {split} split", _UNPACK)
        self.available = len(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    @property
    def groups(self) -> Sequence[str]:
        """The object of each pair."""
        return [name for name, _, _ in self._pairs]

    def __getitem__(self, index: int) -> Sample:
        name, one, two = self._pairs[index]
        sample: Sample = {"relative": one.object2camera @ np.linalg.inv(two.object2camera)}
        for number, view in ((1, one), (2, two)):
            image, depth_m = self._read(view)
            sample |= {f"image{number}": image, f"depth{number}_m": depth_m}
            sample[f"K{number}"] = view.intrinsics((image.shape[0], image.shape[1]))
        return {**sample, "scene": name, "id": f"{one.folder}/{one.name} {two.name}"}

    def _read(self, view: NaviView) -> tuple[Array, Array]:
        """Image and depth, of the smaller copies where both are there."""
        folder = self._base / view.folder
        small, whole = (
            (folder / f"images/{prefix}{view.name}.jpg", folder / f"depth/{prefix}{view.name}.png")
            for prefix in (_SMALL, "")
        )
        image_path, depth_path = small if all(path.is_file() for path in small) else whole
        image, depth_m = read_upright(image_path), read_depth_m(depth_path)
        if image.shape[:2] != depth_m.shape:
            raise DataError(
                f"{image_path} is of {image.shape[1]}x{image.shape[0]} pixels, but {depth_path} of "
                f"{depth_m.shape[1]}x{depth_m.shape[0]}",
                _UNPACK,
            )
        if abs(image.shape[1] * view.size[0] - image.shape[0] * view.size[1]) > 0.01 * image.shape[0] * view.size[1]:
            raise DataError(
                f"{image_path} is of {image.shape[1]}x{image.shape[0]} pixels, but its annotation says "
                f"{view.size[1]}x{view.size[0]}",
                "was it turned, or cropped?",
            )
        return image, depth_m

    def origin_m(self, index: int) -> float:
        """The distance of the first camera of a pair from the object's origin."""
        return float(np.linalg.norm(self._pairs[index][1].object2camera[:3, 3]))

    def missing(self) -> list[str]:
        """Images and depth maps of the release that aren't there."""
        wanted = dict.fromkeys(
            f"{view.folder}/{kind}/{view.name}{ending}"
            for _, *views in self._pairs
            for view in views
            for kind, ending in (("images", ".jpg"), ("depth", ".png"))
        )
        return [path for path in wanted if not (self._base / path).is_file()]

    def fingerprint(self) -> str:
        """Hash of the pairs, their poses and focal lengths."""
        views = [view for _, *pair in self._pairs for view in pair]
        numbers = np.concatenate([np.append(view.object2camera, view.focal_px) for view in views])
        names = "\n".join(f"{view.folder}/{view.name}" for view in views)
        return fingerprint(f"{self.dataset}:{self.split}", numbers.tobytes(), names)


def find_objects(root: Path) -> tuple[Path, dict[str, list[str]]]:
    """The folder of the objects, and the sorted collections of each that has both kinds.

    Raises:
        AbsentError: there is none.
    """
    for base in (root, *(root / name for name in ARCHIVES)):
        found: dict[str, list[str]] = {}
        for path in sorted(base.glob("*/*/annotations.json")):
            if not is_litter(path.parents[1].name) and path.parent.name.startswith(("multiview", "wild_set")):
                found.setdefault(path.parents[1].name, []).append(path.parent.name)
        both = {name: some for name, some in found.items() if "wild_set" in some and len(some) > 1}
        if both:
            return base, both
    raise AbsentError(
        f"{root} holds no object with a wild_set and a multiview collection, directly or in {' or '.join(ARCHIVES)}",
        f"unpack {LINK} there",
    )


def _of_split(collections: Sequence[str], split: Split) -> list[str]:
    if split == "test":
        return ["wild_set"]
    multiview = [name for name in collections if name != "wild_set"]
    last = int(_TRAIN_SHARE * len(multiview))
    return multiview[:last] if split == "train" else multiview[last:]


def read_annotations(base: Path, folder: str) -> list[NaviView]:
    """The views of a collection, sorted by name.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = base / folder / "annotations.json"
    try:
        views = [_view(folder, entry) for entry in parse_json(read_small(path))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} holds no annotations of views ({type(error).__name__}: {error})", _UNPACK) from error
    return sorted(views, key=lambda view: view.name)


def _view(folder: str, entry: Any) -> NaviView:
    """Raises `ValueError` or the like where the entry of a view has no camera."""
    camera, (height, width) = entry["camera"], (int(side) for side in entry["image_size"])
    q, t = (np.array(camera[key], dtype=np.float64) for key in ("q", "t"))
    focal, name = float(camera["focal_length"]), str(entry["filename"])
    if q.shape != (4,) or t.shape != (3,) or not (np.isfinite([*q, *t, focal]).all() and q.any()):
        raise ValueError(f"{name} has no camera")
    if min(focal, height, width) <= 0 or "/" in name:
        raise ValueError(f"{name} has focal length {focal:g} and size {height}x{width}")
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_quat(np.roll(q, -1)).as_matrix(), t / 1000
    return NaviView(folder, name.rpartition(".")[0], focal, (height, width), pose)


def _paired(views: Sequence[NaviView]) -> list[tuple[NaviView, NaviView]]:
    """Each view with one drawn from those that are turned against it by at most `_MOST_DEG`, if there is any."""
    if not views:
        return []
    rng = make_rng(0, "navi pairs", views[0].folder)
    rotations = np.stack([view.object2camera[:3, :3] for view in views])
    pairs = []
    for index, view in enumerate(views):
        traces = np.einsum("ij,nij->n", rotations[index], rotations)
        angles = np.degrees(np.arccos(np.clip((traces - 1) / 2, -1, 1)))
        near = [other for other in np.flatnonzero(angles <= _MOST_DEG).tolist() if other != index]
        if near:
            pairs.append((view, views[int(rng.choice(near))]))
    return pairs


def read_depth_m(path: Path) -> Array:
    """Depth (H, W) float32 in metres from disparities of 16 bits, NaN where there is no object.

    Raises:
        DataError: the file is missing, damaged, or of another kind.
    """
    values = read_gray(path, np.uint16).astype(np.float32)
    return np.where(values > 0, _DISPARITY_MM / 1000 / np.maximum(values, 1), np.float32(np.nan)).astype(np.float32)


def read_upright(path: Path) -> Array:
    """An image (H, W, 3) uint8, turned as its EXIF data say: poses and depth are those of the upright image.

    Raises:
        DataError: the file is missing or damaged.
    """
    image: Array = read_rgb(path)
    try:
        with Image.open(path) as opened:
            orientation = int(opened.getexif().get(0x0112, 1))
    except Exception:  # Pillow raises all kinds of errors for damaged EXIF data, without which the image is as stored
        return image
    turn = _TURNS.get(orientation)
    return image if turn is None else np.ascontiguousarray(turn(image))


def check(root: Path) -> list[Finding]:
    """Findings on the number of objects, on all annotations, on the presence of all files, and on some pairs of each split."""
    return run_check(root, _look_at_objects, _Look("train"), _Look("select"), _Look("test"))


def _look_at_objects(root: Path) -> Iterator[Finding]:
    _, objects = find_objects(root)
    what = f"{len(objects)} objects with collections of both kinds"
    yield Finding.count(is_miniature(root) or len(objects) == OBJECTS, what, f"the release has {OBJECTS}")


@dataclass(frozen=True)
class _Look:
    """A look at a split."""

    split: Split

    def __call__(self, root: Path) -> Iterator[Finding]:
        """Its findings."""
        reader = NaviReader(root, self.split)
        yield Finding(True, f"{self.split}: {len(reader)} pairs of {len(set(reader.groups))} objects", reader=reader)
        missing = reader.missing()
        what = f"{self.split}: {len(missing)} files are missing" + (f", such as {missing[0]}" if missing else "")
        yield Finding(not missing, what, _UNPACK)
        for index in spread_indices(len(reader), _LOOKED_AT) if not missing else ():
            yield _look_at(reader, index)


def _look_at(reader: NaviReader, index: int) -> Finding:
    try:
        sample = reader[index]
    except DataError as error:
        return Finding.from_error(error, _UNPACK)
    depth_m = sample["depth1_m"]
    known = np.isfinite(depth_m)
    if not known.any():
        return Finding(False, f"{sample['id']}: the depth map shows no object", _UNPACK, stops=False)
    near = float(np.median(depth_m[known]))
    away = reader.origin_m(index)
    what = f"{sample['id']}: the object is {near:.2f} m away, and its origin {away:.2f} m"
    return Finding(0.2 < near / away < 2, what, "are lengths in millimetres?", stops=False)
