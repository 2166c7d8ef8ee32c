"""Color, depth and classes of images in MultiMAE's folders: reader and check.

Raw samples: `image` (H, W, 3) uint8 RGB, `depth` (H, W) uint8 or uint16 in the file's own units, `semseg` (H, W) uint8 ids,
`id` str.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from croco_bench.data.checks.run_check import Finding, run_check
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.images import read_pillow
from croco_bench.data.formats.layout import is_litter, kinds_in
from croco_bench.data.splitting import spread_indices
from croco_bench.errors import DataError
from croco_bench.files import fingerprint
from croco_bench.types import Array, Sample

# The fingerprint includes the file sizes of this many images, spread over the split.
_IMAGES_WITH_SIZES = 5
_IMAGES_LOOKED_AT = 5
KINDS = ("rgb", "depth", "semseg")
_ENDINGS = {"jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp", "jpx", "jp2"}
_MODES = {"depth": ("L", "I;16", "I;16B", "I;16L", "I"), "semseg": ("L", "P")}
_EXPECTED = {"depth": "depth in one channel of 8 or 16 bits", "semseg": "class ids in one channel of 8 bits"}


class MultimaeReader:
    """One split. The constructor lists and compares the three trees; images are opened on access.

    The folder is `<root>/<split>/{rgb,depth,semseg}/<class>/<file>`, or with modality above split. Files belong together
    when class and name are equal, endings aside, so that a missing one can't pair others wrongly.
    """

    dataset = "multimae"

    def __init__(self, root: Path, split: str = "train", *, classes: int | None = None) -> None:
        """`classes`: the number of class ids, compared with each image that is read; default: not compared.

        Raises:
            DataError: a tree is missing or empty, or the three don't hold the same names.
        """
        self.root, self.split, self.classes = root, split, classes
        self.folders = {kind: _tree(root, split, kind) for kind in KINDS}
        self._names, others = _list(self.folders)
        self.assumptions = (f"files whose ending is no image's are left out: {others}",) if others else ()
        self.miniature, self.available = is_miniature(root), len(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        """One raw sample.

        Raises:
            DataError: a file is gone, damaged or of another kind, or sizes or class ids don't fit.
        """
        paths = self.paths(index)
        image = np.array(read_pillow(paths["rgb"]).convert("RGB"))
        maps = {kind: _one_channel(kind, paths[kind]) for kind in KINDS[1:]}
        for kind, values in maps.items():
            if values.shape != image.shape[:2]:
                raise DataError(
                    f"{paths[kind]} has {values.shape[0]}x{values.shape[1]} pixels, but {paths['rgb']} has "
                    f"{image.shape[0]}x{image.shape[1]}",
                    "all modalities of an image must have one size: make them again",
                )
        highest = int(maps["semseg"].max())
        if self.classes is not None and highest >= self.classes:
            raise DataError(
                f"{paths['semseg']} holds class id {highest}, but the settings have {self.classes} classes, 0 to "
                f"{self.classes - 1}",
                f"set classes to at least {highest + 1}",
            )
        return {"image": image, **maps, "id": self._names.stem(index)}

    @property
    def groups(self) -> Sequence[str]:
        """The class folder of each image; in the miniature, the room."""
        return [self._names.stem(index).rpartition("/")[0] for index in range(len(self))]

    def paths(self, index: int) -> dict[str, Path]:
        """The three files of one image."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return {kind: self.folders[kind] / self._names.file(index, column) for column, kind in enumerate(KINDS)}

    def fingerprint(self) -> str:
        """Hash of the split, all names with endings, and the sizes of a few files."""
        indices = spread_indices(len(self), _IMAGES_WITH_SIZES)
        sizes = [path.stat().st_size for i in indices for path in self.paths(i).values()]
        names = self._names
        facts = repr((self.split, sizes, names.endings))
        return fingerprint(facts, names.text, names.ends.tobytes(), names.which.tobytes())


@dataclass(frozen=True)
class _Names:
    """All names "<class>/<stem>" in one string of bytes, and the index of the ending of each in each tree.

    A million names take about 30 MB, which forked workers share; Python strings would be copied when they are counted.
    """

    text: bytes
    ends: Array
    endings: tuple[str, ...]
    which: Array

    def __len__(self) -> int:
        return len(self.ends)

    def stem(self, index: int) -> str:
        first = int(self.ends[index - 1]) if index else 0
        return os.fsdecode(self.text[first : int(self.ends[index])])

    def file(self, index: int, column: int) -> str:
        return f"{self.stem(index)}.{self.endings[self.which[index, column]]}"


def _tree(root: Path, split: str, kind: str) -> Path:
    for folder in (root / split / kind, root / kind / split):
        if folder.is_dir():
            return folder
    raise DataError(
        f"there is no folder {root / split / kind}",
        f"the layout is <split>/{{{','.join(KINDS)}}}/<class>/<file>, with equal names in the three",
    )


def _list(folders: dict[str, Path]) -> tuple[_Names, str]:
    """The names of all images, sorted; and what is left out because of its ending, in words.

    Raises:
        DataError: the trees differ.
    """
    groups = {kind: set(_class_folders(folder)) for kind, folder in folders.items()}
    _check_equal(folders, groups, "")
    text, ends, which, endings = bytearray(), array("q"), bytearray(), dict[str, int]()
    others: list[str] = []
    for group in sorted(groups["rgb"]):
        trees = {kind: _files(folder / group, others) for kind, folder in folders.items()}
        _check_equal(folders, {kind: set(files) for kind, files in trees.items()}, f"{group}/")
        columns = tuple(trees.values())
        for stem in sorted(columns[0]):
            text += os.fsencode(f"{group}/{stem}")
            ends.append(len(text))
            for files in columns:
                which.append(endings.setdefault(files[stem], len(endings)))
    if not ends:
        but = f", but {kinds_in(others)}" if others else ""
        raise DataError(
            f"{folders['rgb']} holds no images{but}", "expected <class>/<file> with an ending such as .jpg or .png"
        )
    table = np.frombuffer(bytes(which), dtype=np.uint8).reshape(-1, len(KINDS))
    return _Names(bytes(text), np.array(ends, dtype=np.int64), tuple(endings), table), kinds_in(others)


def _class_folders(folder: Path) -> list[str]:
    return [entry.name for entry in os.scandir(folder) if entry.is_dir() and not is_litter(entry.name)]


def _files(folder: Path, others: list[str]) -> dict[str, str]:
    """Images at any depth below a class's folder: path without ending -> ending. Other files are added to `others`.

    Links to a folder above aren't followed.
    """
    endings: dict[str, str] = {}
    for base, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not _leads_up(Path(base), name)]
        inner = "" if base == str(folder) else os.path.relpath(base, folder) + "/"
        for name in names:
            stem, _, ending = name.rpartition(".")
            if is_litter(name):
                continue
            if ending.lower() not in _ENDINGS:
                others.append(name)
                continue
            stem = inner + stem
            if stem in endings:
                raise DataError(f"{folder} holds both {stem}.{endings[stem]} and {stem}.{ending}", "keep one of them")
            endings[stem] = ending
    return endings


def _leads_up(base: Path, name: str) -> bool:
    """Whether an entry of a folder is a link to that folder, or to one above it."""
    path = base / name
    return path.is_symlink() and base.resolve().is_relative_to(path.resolve())


def _check_equal(folders: dict[str, Path], names: dict[str, set[str]], group: str) -> None:
    """Names the first file that one tree has and another lacks.

    Raises:
        DataError: there is one.
    """
    for kind in KINDS[1:]:
        for has, lacks in (("rgb", kind), (kind, "rgb")):
            missing = names[has] - names[lacks]
            if missing:
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise DataError(
                    f"{folders[lacks]} lacks {group}{min(missing)}{more}, which {folders[has]} has",
                    "all modalities must hold the same names: add what is missing, or remove the rest",
                )


def _one_channel(kind: str, path: Path) -> Array:
    """(H, W) uint8 or uint16; palette images give their indices."""
    image = read_pillow(path)
    if image.mode not in _MODES[kind]:
        raise DataError(f"{path} should hold {_EXPECTED[kind]}, but is an image of mode {image.mode}")
    values = np.array(image)  # a writable copy, which torch needs
    return values if values.dtype == np.uint8 else values.astype(np.uint16)


def check(root: Path) -> list[Finding]:
    """Findings on the three trees of the training split, and on a few images."""
    return run_check(root, _look)


def _look(root: Path) -> Iterator[Finding]:
    try:
        reader = MultimaeReader(root)
    except DataError as error:
        yield Finding.from_error(error, "croco-bench data list says what the folder should hold")
        return
    yield Finding(True, f"{len(reader)} images of the training split, each with depth and classes", reader=reader)
    for note in reader.assumptions:
        yield Finding(False, note, "give them an image's ending where they are images", stops=False)
    for i in spread_indices(len(reader), _IMAGES_LOOKED_AT):
        yield _look_at(reader, i)


def _look_at(reader: MultimaeReader, i: int) -> Finding:
    try:
        sample = reader[i]
    except DataError as error:
        return Finding.from_error(error, "make or unpack this image's files again")
    height, width = sample["depth"].shape
    zeros = float((sample["depth"] == 0).mean())
    content = f"{height}x{width} pixels, {zeros:.0%} without depth (0), class ids up to {sample['semseg'].max()}"
    return Finding(zeros < 1, f"{sample['id']}: {content}", "a depth map of zeros says nothing", stops=False)
